/**
 * Control flow whose bodies are planned like graphs: Loop, Scan, and an If whose condition other nodes compute. A body
 * is a model of its own, whose values from outside are further inputs. Here it gets its types and its plan.
 */
import { BOOL, INT64 } from '../../data-types.ts';
import type { Bodies } from '../../inline/bodies.ts';
import { Branches, type Choice } from '../../inline/branches.ts';
import type { Graph, GraphNode } from '../../ir/graph.ts';
import type { Infos } from '../../ir/infer.ts';
import { type Info, type Size, type Symbols, scalarOf } from '../../ir/info.ts';
import type { Control } from '../../plan/units.ts';
import { varyingUnits } from '../../plan/varying.ts';
import type { ModelRecord } from '../../read/model.ts';
import type { ValueInfo, ValueType } from '../../read/types.ts';
import type { Draft, Drafting } from '../drafts.ts';
import { type Scanned, scannedOf } from './scanned.ts';
import { declaredOf, merged, outside, typeOfInfo, widened, withoutAxis } from './types.ts';

/** A body: its ways, if a condition is known when a pass begins. */
export interface BodyDraft {
  readonly attribute: string;
  readonly drafts: readonly Draft[];
  readonly choice: Choice;
  /** In order: first its own, then the values that it takes from outside. */
  readonly inputs: readonly string[];
  readonly captured: readonly string[];
  readonly outputs: readonly string[];
}

/** Bodies of a node. */
export interface DraftedBodies {
  /** One for a Loop or Scan; then-branch and else-branch for an If. */
  readonly bodies: readonly BodyDraft[];
  /** Of a Scan. */
  readonly scanned: Scanned | undefined;
}

export interface ControlDraft extends Control, DraftedBodies {
  readonly node: GraphNode;
}

/** The drafts of a model and its branches. */
export interface Drafted {
  readonly drafts: readonly Draft[];
  readonly choice: Choice;
  /** Why ONNX Runtime runs all of it, if it does. */
  readonly reason: string | undefined;
}

export type DraftAll = (branches: Branches, drafting: Drafting) => Drafted;

/**
 * Levels of bodies in bodies. Deeper ones are nodes, because each level is drafted again for every try of the one
 * around it.
 */
const MAX_DEPTH = 3;
/**
 * Tries until types of carried values are the same before and after a pass. After that, nothing about them is assumed.
 */
const MAX_TRIES = 8;
/** The number of passes that is assumed if only a run can know it. */
export const TYPICAL_PASSES = 16;
const MAX_PASSES = 1024;

/** Where a node stands, and what drafting needs. */
export interface Place {
  readonly node: GraphNode;
  readonly graph: Graph;
  readonly infos: Infos;
  readonly symbols: Symbols;
  readonly bodies: Bodies;
  readonly drafting: Drafting;
  readonly draftAll: DraftAll;
}

/** What is planned, or why not; and the types of the node's results as far as they are known. */
export interface Found {
  readonly control: ControlDraft | string;
  /** Absent: its bodies cannot be read. */
  readonly drafted?: DraftedBodies;
  readonly results: readonly (Info | undefined)[];
}

/** @returns `undefined` if such a node cannot be planned */
export function draftControl(at: Place): Found | undefined {
  const { node, drafting } = at;
  const draft = node.domain === '' ? KINDS.get(node.opType) : undefined;
  if (!draft) return undefined;
  const isDeep = (drafting.body?.depth ?? 0) >= MAX_DEPTH;
  const found = isDeep ? `more than ${MAX_DEPTH} bodies in each other` : draft(at);
  return typeof found === 'string' ? { control: found, results: [] } : found;
}

const KINDS: ReadonlyMap<string, (at: Place) => Found | string> = /* @__PURE__ */ new Map([
  ['Loop', loop],
  ['Scan', scan],
  ['If', branches],
]);

function loop(at: Place): Found | string {
  const { node, bodies, infos } = at;
  const body = bodies.of(node, 'body');
  const carried = node.inputs.slice(2);
  const fits = body && body.inputs.length === 2 + carried.length && body.outputs.length > carried.length;
  if (!fits || node.outputs.length >= body.outputs.length || carried.includes(''))
    return 'its body does not fit its inputs and outputs';
  const [pass, condition] = body.inputs as [ValueInfo, ValueInfo];
  // ONNX Runtime makes a scalar or a list of one of them, as they are declared.
  const isOne = ({ kind, elemType, dims }: ValueType, wanted: number): boolean =>
    kind === 'tensor' && elemType === wanted && dims !== undefined && dims.length <= 1;
  if (!isOne(pass.type, INT64)) return 'the number of the pass is not declared as one int64';
  if (!isOne(condition.type, BOOL)) return 'the condition is not declared as one bool';
  const limit = scalarOf(infos.get(node.inputs[0] ?? ''));
  const own = [pass.type, condition.type];
  return repeated(at, { own, carried, slices: [], first: 1, passes: limit, scanned: undefined });
}

function scan(at: Place): Found | string {
  const { node, bodies, infos, graph } = at;
  const body = bodies.of(node, 'body');
  const scanned = body && scannedOf(node, body, graph.opsets.get('') ?? 1);
  if (!scanned || typeof scanned === 'string') return scanned ?? 'its body does not fit its inputs and outputs';
  const { states } = scanned;
  const carried = node.inputs.slice(0, states);
  const slices = body.inputs.slice(states).map(({ type }, i) => {
    const whole = infos.get(node.inputs[states + i]!);
    return declaredOf(type, withoutAxis(whole, scanned.inputAxes[i]!));
  });
  const dims = infos.get(node.inputs[states] ?? '')?.dims;
  const axis = scanned.inputAxes[0]!;
  const length = dims?.[axis < 0 ? axis + dims.length : axis];
  return repeated(at, { own: [], carried, slices, first: 0, passes: length, scanned });
}

/** The values that go into the body of a loop and come out of it. */
interface Passing {
  /** Types of its inputs before those that are carried. */
  readonly own: readonly ValueType[];
  /** What the first pass is given. */
  readonly carried: readonly string[];
  /** Types of its inputs behind them. */
  readonly slices: readonly ValueType[];
  /** Its outputs before those that are carried. */
  readonly first: number;
  /** As far as they are known. */
  readonly passes: Size | undefined;
  readonly scanned: Scanned | undefined;
}

function repeated(at: Place, { own, carried, slices, first, passes, scanned }: Passing): Found {
  const { node, bodies, graph, infos, symbols } = at;
  const record = bodies.standalone(node, 'body', graph);
  const inputs = record.graph.inputs.slice(0, own.length + carried.length + slices.length);
  const names = inputs.slice(own.length, own.length + carried.length);
  const given = carried.map((name) => infos.get(name));
  const outputs = record.graph.outputs.slice(first).map(({ name }) => name);
  let varying = inputs.map(({ name }) => name);
  let types = names.map(({ type }, i) => declaredOf(type, given[i]));
  let body: Body;
  for (let tries = 0; ; tries++) {
    body = bodyOf(at, 'body', record, [...own, ...types, ...slices], varying);
    const { drafts } = body;
    const next = types.map((type, i) => widened(type, names[i]!.name, outputs[i]!, drafts));
    const changing = varying.filter(
      (name) => !isHandedOn(drafts, name, outputs[names.findIndex((each) => each.name === name)]),
    );
    if (next.every((type, i) => type === types[i]) && changing.length === varying.length) break;
    types = tries < MAX_TRIES ? next : types.map((type) => ({ ...type, dims: undefined }));
    varying = changing;
  }
  const { drafts } = body;
  const known = new Set(
    [...given, ...body.captured.map((name) => infos.get(name))].flatMap((info) => info?.dims ?? []),
  );
  const results = node.outputs.map((_, i): Info => {
    const left = drafts.map(({ typed }) => typed.infos.get(outputs[i]!));
    // There may be no pass: then the value is unchanged.
    if (i < carried.length) return outside(merged([...left, given[i]]), known, symbols);
    const { elemType, dims } = outside(merged(left), new Set(), symbols);
    const axis = scanned?.outputAxes[i - carried.length] ?? 0;
    return { elemType, dims: dims?.toSpliced(axis < 0 ? axis + dims.length + 1 : axis, 0, passes ?? symbols.fresh()) };
  });
  const count = Math.min(typeof passes === 'number' ? passes : TYPICAL_PASSES, MAX_PASSES);
  return { control: controlOf(at, [body], count, scanned), drafted: { bodies: [body], scanned }, results };
}

/** Is a value the same in every pass? */
const isHandedOn = (drafts: readonly Draft[], input: string, output: string | undefined): boolean =>
  output !== undefined &&
  drafts.every(({ passed }) => {
    const from = passed.get(output);
    return output === input || (from?.kind === 'input' && from.name === input);
  });

function branches(at: Place): Found | string {
  const { node, bodies, graph, infos, symbols } = at;
  const found = ['then_branch', 'else_branch'].map((attribute) => {
    const body = bodies.of(node, attribute);
    if (!body || body.inputs.length > 0 || body.outputs.length < node.outputs.length) return undefined;
    return bodyOf(at, attribute, bodies.standalone(node, attribute, graph), [], []);
  });
  const both = found.filter((body) => body !== undefined);
  if (both.length < 2) return 'its branches do not fit its outputs';
  const known = new Set(both.flatMap(({ captured }) => captured.flatMap((name) => infos.get(name)?.dims ?? [])));
  const results = node.outputs.map((_, i) => {
    const left = both.flatMap(({ drafts, outputs }) => drafts.map(({ typed }) => typed.infos.get(outputs[i]!)));
    return outside(merged(left), known, symbols);
  });
  return { control: controlOf(at, both, 1, undefined), drafted: { bodies: both, scanned: undefined }, results };
}

type Body = BodyDraft & { readonly reason: string | undefined };

function bodyOf(
  { infos, drafting, draftAll, bodies }: Place,
  attribute: string,
  record: ModelRecord,
  own: readonly ValueType[],
  varying: readonly string[],
): Body {
  const { graph } = record;
  const inputs = graph.inputs.map(({ name }, i) => ({ name, type: own[i] ?? typeOfInfo(infos.get(name)) }));
  const branches = new Branches({ ...record, graph: { ...graph, inputs } }, bodies);
  const { drafts, choice, reason } = draftAll(branches, {
    ...drafting,
    body: { depth: (drafting.body?.depth ?? 0) + 1, varies: (typed) => varyingUnits(typed, varying) },
  });
  const names = inputs.map(({ name }) => name);
  return {
    attribute,
    drafts,
    choice,
    reason,
    inputs: names,
    captured: names.slice(own.length),
    outputs: graph.outputs.map(({ name }) => name),
  };
}

function controlOf(
  { node }: Place,
  bodies: readonly Body[],
  passes: number,
  scanned: Scanned | undefined,
): ControlDraft | string {
  const refused = bodies.find(({ drafts }) => drafts.some(({ isRefused }) => isRefused));
  if (refused) return refused.reason!;
  const [first] = bodies;
  if (bodies.every(({ reason }) => reason !== undefined)) return first!.reason!;
  const all = bodies.flatMap(({ drafts }) => drafts);
  // Of several ways one runs.
  const sum = (side: 'msd' | 'ort'): number =>
    (passes * all.reduce((total, { sides }) => total + sides!.total[side], 0)) / all.length;
  return {
    node,
    bodies,
    scanned,
    inputs: [...new Set([...node.inputs, ...bodies.flatMap(({ captured }) => captured)])].filter((name) => name !== ''),
    price: { msd: sum('msd'), ort: sum('ort') },
    isQuantized: all.some(({ sides }) =>
      sides!.regions.some(({ units }) =>
        units.some(({ match, control }) => match?.product?.quantized || control?.isQuantized),
      ),
    ),
  };
}
