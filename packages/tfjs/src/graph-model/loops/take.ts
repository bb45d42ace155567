/** Loops that become one node each. */
import { isProgram, type LoopProgram, type Place } from '../../recurrent/program.ts';
import type { NodeReport } from '../../report.ts';
import type { MatrixSpec, QuantizedSpec } from '../../spec.ts';
import type { Constants } from '../../weights/source.ts';
import { CANDIDATES, recognise, rootOf } from '../recognise.ts';
import type { Scopes } from '../scopes.ts';
import { type AttrValue, asString, type NodeDef, parseInput, type Scope } from '../topology.ts';
import { isSlice } from './columns.ts';
import { framesOf, membersOf } from './frames.ts';
import { type Loop, Refusal } from './loop.ts';
import { type LoopPlan, planOf } from './plan.ts';
import { LOOP_OP } from './steps.ts';
import { whilesOf } from './whiles.ts';

export interface FoundLoops {
  readonly plans: readonly LoopPlan[];
  readonly reports: readonly NodeReport[];
}

/** Loops that multiply with constants, and why some stay. */
export function findLoops(scopes: Scopes, constants: Constants): FoundLoops {
  const plans: LoopPlan[] = [];
  const reports: NodeReport[] = [];
  for (const loop of [...scopes.all.flatMap(framesOf), ...whilesOf(scopes)]) {
    if (!multiplies(loop, constants)) continue;
    const plan = planOf(loop, constants);
    if (plan instanceof Refusal) reports.push({ name: loop.name, op: loop.op, where: 'tfjs', reason: plan.reason });
    else plans.push(plan);
  }
  return { plans, reports };
}

function multiplies(loop: Loop, constants: Constants): boolean {
  return [...loop.inner.nodes.values()].some((node) => {
    if (!CANDIDATES.has(node.op) || (loop.inner === loop.outer && !loop.has(node))) return false;
    const weight = node.op === 'MatMul' ? loop.find(node.input?.[1] ?? '') : undefined;
    if (weight?.kind === 'node' && isSlice(weight.node)) return true;
    const found = recognise(node, loop.inner, constants);
    return !('reason' in found) && found.op === 'MsdMatMul' && !found.convolution;
  });
}

/** What products of loops meet, where a graph can be asked for it: sequences, and states that are told at each position. */
export function loopInputs(scopes: Scopes, constants: Constants): Map<string, string> {
  const inputs = new Map<string, string>();
  for (const { places, recurrent, outputs, results } of findLoops(scopes, constants).plans) {
    for (const { input, weight } of places) if (weight && input !== undefined) inputs.set(weight.node, input);
    for (const { node, from } of recurrent) {
      const told = outputs.findIndex((output) => output.kind === 'sequence' && output.place === from);
      const result = results.find((own) => own.input === told);
      if (told >= 0 && result) inputs.set(node, result.node.name);
    }
  }
  return inputs;
}

/** Is the node in a loop, whether MSD takes that or not? */
export function loopNodes({ main, bodies, all }: Scopes): (node: NodeDef, scope: Scope) => boolean {
  const merges = [...main.nodes.values()].filter(({ op }) => op === 'Merge');
  const inside = membersOf(
    main,
    merges.filter(({ input = [] }) =>
      input.some((own) => main.nodes.get(parseInput(own).node)?.op === 'NextIteration'),
    ),
  );
  const calls = all.flatMap(({ nodes }) => [...nodes.values()]).filter(({ op }) => /^(Stateless)?While$/.test(op));
  const names = new Set(calls.map(({ attr }) => attr?.body?.func?.name));
  const looped = new Set(bodies.filter(({ body }) => names.has(body.signature.name)).map(({ scope }) => scope));
  return (node, scope) => looped.has(scope) || inside.has(node);
}

export interface TakenLoop {
  readonly plan: LoopPlan;
  /** In place of what was there, or new. */
  readonly nodes: readonly NodeDef[];
  readonly report: NodeReport;
}

/**
 * @param specOf spec of a constant that has been packed
 * @param current a node of a scope as it is by now
 * @returns or why the loop stays
 */
export function takeLoop(
  plan: LoopPlan,
  specOf: (constant: string) => QuantizedSpec | undefined,
  current: (scope: Scope, name: string) => NodeDef | undefined,
): TakenLoop | NodeReport {
  const { loop, matrices } = plan;
  const stays = (reason: string): NodeReport => ({ name: loop.name, op: loop.op, where: 'tfjs', reason });
  const specs = matrices.map(specOf);
  if (specs.some((spec) => spec?.kind !== 'matrix' || spec.powers || spec.batchShape?.length))
    return stays('its recurrent weights stay floats');
  const table = plan.places.find(({ input }) => input !== undefined && specOf(rootOf(loop.outer, input) ?? input));
  if (table) return stays(`${table.input} is packed, and read in the loop`);
  const graph = new Outer(loop, current);
  const values: string[] = [];
  const valueAt = (input: string): number => {
    const named = graph.input(input);
    const at = values.indexOf(named);
    return at >= 0 ? at : values.push(named) - 1;
  };
  const places = plan.places.map(({ kind, width = 0, input = '', weight, compare }): Place => {
    if (kind === 'local') return { kind, width };
    if (kind === 'mask') return { kind, width, input: valueAt(input), ...(compare && { compare }) };
    if (kind !== 'sequence' || !weight) return { kind, width, input: valueAt(input) };
    const spec = specOf(weight.constant);
    if (spec?.kind !== 'matrix')
      return {
        kind,
        width,
        input: valueAt(input),
        weight: { input: valueAt(weight.constant), transposed: weight.transposed },
      };
    const name = graph.fresh(weight.node);
    const attr = { spec: asString(JSON.stringify(spec)) };
    graph.nodes.push({ name, op: 'MsdMatMul', input: [input, graph.input(weight.constant)], attr });
    return { kind, width, input: valueAt(name) };
  });
  const limits = plan.limits.map(valueAt);
  const { steps, outputs, limit } = plan;
  const program: LoopProgram = { limits, ...(limit !== undefined && { limit }), places, steps, outputs };
  // What damaged graphs come to.
  if (!isProgram(program, values.length, matrices.length)) return stays('no program that could run');
  const attr: Record<string, AttrValue> = {
    program: asString(JSON.stringify(program)),
    matrices: { i: matrices.length },
  };
  for (const [i, spec] of specs.entries()) attr[`spec${i}`] = asString(JSON.stringify(spec as MatrixSpec));
  const own: NodeDef = {
    name: loop.name,
    op: LOOP_OP,
    input: [...matrices.map((constant) => graph.input(constant)), ...values, ...controlsOf(loop)],
    attr,
  };
  const results = plan.results.map(
    ({ node, input }): NodeDef => ({
      name: node.name,
      op: 'Identity',
      input: [typeof input === 'string' ? input : input ? `${loop.name}:${input}` : loop.name],
      attr: {},
    }),
  );
  return {
    plan,
    nodes: [...graph.nodes, own, ...results],
    report: { name: loop.name, op: loop.op, where: 'msd', msdOp: LOOP_OP, fused: plan.ops },
  };
}

/** Names of the scope around a loop: constants of a body are brought there, new nodes get names of their own. */
class Outer {
  readonly nodes: NodeDef[] = [];
  readonly #loop: Loop;
  readonly #current: (scope: Scope, name: string) => NodeDef | undefined;

  constructor(loop: Loop, current: (scope: Scope, name: string) => NodeDef | undefined) {
    this.#loop = loop;
    this.#current = current;
  }

  #has(name: string): boolean {
    return this.#loop.outer.nodes.has(name) || this.nodes.some((node) => node.name === name);
  }

  input(name: string): string {
    const { outer, inner } = this.#loop;
    const { node } = parseInput(name);
    if (this.#has(node)) return name;
    const argument = [...outer.given].find(([, constant]) => constant === name)?.[0];
    if (argument !== undefined) return argument;
    const constant = this.#current(inner, node);
    if (constant?.op === 'Const') this.nodes.push(constant);
    return name;
  }

  fresh(name: string): string {
    const { name: loop } = this.#loop;
    let made = `${loop}/${name}/sequence`;
    while (this.#has(made)) made += '_';
    return made;
  }
}

/** What the loop waited for. */
function controlsOf(loop: Loop): string[] {
  const { outer, inner, name } = loop;
  const members =
    inner === outer ? [...outer.nodes.values()].filter((node) => loop.has(node)) : [outer.nodes.get(name)!];
  const controls = members
    .filter(({ op }) => op !== 'Exit')
    .flatMap(({ input = [] }) => input.filter((own) => own.startsWith('^')));
  return [...new Set(controls)].filter((control) => {
    const node = outer.nodes.get(parseInput(control).node);
    return node && node.op !== 'Const' && !loop.has(node);
  });
}
