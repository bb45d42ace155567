/** Control flow in a run: passes through bodies, and their results. */
import { describeNode, type GraphNode } from '../../ir/graph.ts';
import { type Info, int64Numbers } from '../../ir/info.ts';
import { createOrtTensor, type OrtModule, type OrtTensor } from '../../ort.ts';
import { keptOf } from '../kv/lazy.ts';
import { copyOfTensor } from '../snapshot.ts';
import type { Body, Running } from './body.ts';
import type { Scanned } from './scanned.ts';
import { Stack } from './stack.ts';

/** A body with what it is given from outside, and what is known of its outputs. */
export interface Inner {
  readonly body: Body;
  /** Places among what the node is given. */
  readonly captured: readonly number[];
  readonly outputs: readonly Info[];
  /** Ranks of its first inputs. */
  readonly ranks: readonly number[];
}

/** A piece of control flow in a session. */
export interface Control {
  readonly ort: OrtModule;
  readonly node: GraphNode;
  readonly bodies: readonly Inner[];
  readonly scanned: Scanned | undefined;
  /** Of each input of the node its place among what it is given; −1 if it is not there. */
  readonly inputs: readonly number[];
}

/** One that can run. */
export interface RunnableControl extends Control {
  readonly run: (given: readonly OrtTensor[], running: Running) => Promise<OrtTensor[]>;
}

/** @param given distinct values @returns results in the order of the node's outputs, each with elements of its own */
export async function runControl(
  control: Control,
  given: readonly OrtTensor[],
  running: Running,
): Promise<OrtTensor[]> {
  const { node, ort, scanned } = control;
  const operands = control.inputs.map((at) => given[at]);
  const results =
    node.opType === 'If'
      ? await branch(control, operands, given, running)
      : scanned
        ? await scan(control, scanned, operands as OrtTensor[], given, running)
        : await loop(control, operands, given, running);
  const seen = new Set(given);
  return results.slice(0, node.outputs.length).map((tensor) => {
    const own = seen.has(tensor) ? copyOfTensor(ort, tensor) : tensor;
    seen.add(own);
    return own;
  });
}

async function branch(
  { node, bodies }: Control,
  [condition]: readonly (OrtTensor | undefined)[],
  given: readonly OrtTensor[],
  running: Running,
): Promise<OrtTensor[]> {
  const { body, captured } = bodies[holds(node, condition!) ? 0 : 1]!;
  return body.run(
    captured.map((at) => given[at]!),
    running,
  );
}

async function loop(
  { ort, node, bodies }: Control,
  [limit, first, ...initial]: readonly (OrtTensor | undefined)[],
  given: readonly OrtTensor[],
  running: Running,
): Promise<OrtTensor[]> {
  const inner = bodies[0]!;
  const [passRank, conditionRank] = inner.ranks as [number, number];
  const passes = limit ? numberOf(node, limit) : Number.POSITIVE_INFINITY;
  const one = (rank: number): number[] => (rank === 0 ? [] : [1]);
  const flag = (value: boolean): OrtTensor => createOrtTensor(ort, 'bool', Uint8Array.of(+value), one(conditionRank));
  let goesOn = first === undefined || holds(node, first);
  const passing = new Passes(
    inner,
    initial as OrtTensor[],
    given,
    stacksOf(node, inner, 1 + initial.length, undefined),
  );
  for (let i = 0; goesOn && i < passes; i++) {
    const number = createOrtTensor(ort, 'int64', BigInt64Array.of(BigInt(i)), one(passRank));
    const condition = await passing.next([number, flag(true)], [], 1, running);
    goesOn = holds(node, condition!);
  }
  return passing.results(ort);
}

async function scan(
  { ort, node, bodies }: Control,
  scanned: Scanned,
  operands: readonly OrtTensor[],
  given: readonly OrtTensor[],
  running: Running,
): Promise<OrtTensor[]> {
  const { states, inputAxes, isInputReversed } = scanned;
  const inner = bodies[0]!;
  const sequences = operands.slice(states).map((tensor, i) => new Sequence(ort, node, tensor, inputAxes[i]!));
  const { length } = sequences[0]!;
  for (const [i, each] of sequences.entries())
    if (each.length !== length)
      throw new RangeError(
        `run: ${describeNode(node)}: scan input ${i}, expected ${length} positions as the first has, got ${each.length}.`,
      );
  const passing = new Passes(inner, operands.slice(0, states), given, stacksOf(node, inner, states, scanned));
  for (let i = 0; i < length; i++) {
    const slices = sequences.map((each, s) => each.at(isInputReversed[s] ? length - 1 - i : i));
    await passing.next([], slices, 0, running);
  }
  return passing.results(ort);
}

const stacksOf = (node: GraphNode, { outputs }: Inner, from: number, scanned: Scanned | undefined): Stack[] =>
  outputs.slice(from).map((info, i) => {
    const where = `${describeNode(node)}: output ${from - (scanned ? 0 : 1) + i}`;
    return new Stack(where, info, scanned?.outputAxes[i], scanned?.isOutputReversed[i]);
  });

/** Passes through one body, one after the other. */
class Passes {
  readonly #inner: Inner;
  readonly #initial: ReadonlySet<OrtTensor>;
  readonly #captured: readonly OrtTensor[];
  readonly #stacks: readonly Stack[];
  #carried: readonly OrtTensor[];

  constructor(inner: Inner, initial: readonly OrtTensor[], given: readonly OrtTensor[], stacks: readonly Stack[]) {
    this.#inner = inner;
    this.#initial = new Set(given);
    this.#captured = inner.captured.map((at) => given[at]!);
    this.#stacks = stacks;
    this.#carried = initial;
    inner.body.hold(this.#captured);
  }

  /** @param first outputs before those that are carried @returns the first output */
  async next(
    own: readonly OrtTensor[],
    slices: readonly OrtTensor[],
    first: number,
    running: Running,
  ): Promise<OrtTensor | undefined> {
    const { body } = this.#inner;
    const { watch } = running;
    watch?.check();
    if (watch?.isDue) await watch.turn();
    if (body.isDue) await body.shop.kv.keeper.turn();
    const before = this.#carried;
    const outcome = body.run([...own, ...before, ...slices, ...this.#captured], running);
    // Most passes need not wait for anything, and a promise for each would take time.
    const results = Array.isArray(outcome) ? outcome : await outcome;
    const end = first + before.length;
    this.#carried = results.slice(first, end);
    for (const [i, stack] of this.#stacks.entries()) stack.push(results[end + i]!);
    for (const tensor of before)
      if (keptOf(tensor) && !this.#initial.has(tensor) && !results.includes(tensor)) tensor.dispose?.();
    return results[0];
  }

  results(ort: OrtModule): OrtTensor[] {
    return [...this.#carried, ...this.#stacks.map((stack) => stack.whole(ort))];
  }
}

/** A tensor that passes are given slices of. */
class Sequence {
  readonly length: number;
  readonly #ort: OrtModule;
  readonly #type: string;
  /** Slices lie one behind the other. */
  readonly #data: Float32Array;
  readonly #dims: readonly number[];

  constructor(ort: OrtModule, node: GraphNode, { type, dims, data }: OrtTensor, axis: number) {
    const at = axis < 0 ? axis + dims.length : axis;
    if (!(at >= 0 && at < dims.length))
      throw new RangeError(`run: ${describeNode(node)}: axis, expected one of [${dims.join(', ')}], got ${axis}.`);
    this.#ort = ort;
    this.#type = type;
    this.length = dims[at]!;
    this.#dims = dims.toSpliced(at, 1);
    this.#data = at === 0 ? (data as Float32Array) : inFront(data as Float32Array, dims, at);
  }

  at(i: number): OrtTensor {
    const size = this.#data.length / this.length;
    return createOrtTensor(this.#ort, this.#type, this.#data.subarray(i * size, (i + 1) * size), this.#dims);
  }
}

/** Elements with one axis before all others. */
function inFront(data: Float32Array, dims: readonly number[], axis: number): Float32Array {
  const length = dims[axis]!;
  const inner = dims.slice(axis + 1).reduce((product, dim) => product * dim, 1);
  const outer = length * inner === 0 ? 0 : data.length / (length * inner);
  const out = data.slice();
  for (let i = 0, to = 0; i < length; i++)
    for (let o = 0; o < outer; o++, to += inner) {
      const from = (o * length + i) * inner;
      out.set(data.subarray(from, from + inner), to);
    }
  return out;
}

function holds(node: GraphNode, { type, data }: OrtTensor): boolean {
  const flags = data as Uint8Array;
  if (type !== 'bool' || flags.length !== 1)
    throw new RangeError(`run: ${describeNode(node)}: condition, expected one bool, got ${flags.length} of ${type}.`);
  return flags[0] !== 0;
}

function numberOf(node: GraphNode, { type, data }: OrtTensor): number {
  const numbers = data as BigInt64Array;
  if (type !== 'int64' || numbers.length !== 1)
    throw new RangeError(
      `run: ${describeNode(node)}: number of passes, expected one int64, got ${numbers.length} of ${type}.`,
    );
  return int64Numbers(numbers)[0]!;
}
