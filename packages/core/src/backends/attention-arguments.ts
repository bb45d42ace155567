/**
 * Checks of attention's arguments, for every device: the op and its operands when it is bound, the rest at every run.
 */
import {
  type AttentionOp,
  type AttentionRun,
  type HeadStrides,
  type KvCache,
  MAX_HEAD_SIZE,
  type ScoreArray,
  type ScoreDims,
} from '../attention/contract.ts';
import { elementCount } from '../ops/op.ts';
import { describe, isHandle, type OperandKind } from './arguments.ts';
import type { AttentionWork, PageDevice } from './device.ts';
import { PagedKvCache } from './kv-cache.ts';

/** Operands by number. */
export const ATTENTION_OPERANDS = ['q', 'k', 'v', 'sinks', 'bias', 'mask', 'out'] as const;
export const OUT_OPERAND = 6;

const refuse = (name: string, expected: string, got: unknown): never => {
  throw new RangeError(`attention: ${name} expected ${expected}, got ${String(got)}.`);
};

/** Least bytes of each operand; 0 for those that this op does not have. */
export function attentionBytes(op: AttentionOp): number[] {
  const { batch, rows, newKeys, heads, kvHeads, headSize, valueSize, bias, mask } = op;
  const spread = (strides: HeadStrides | undefined, count: number, rowCount: number, size: number) => {
    if (!strides || batch === 0 || rowCount === 0) return 0;
    const { batch: b, row, head } = strides;
    return 4 * ((batch - 1) * b + (rowCount - 1) * row + (count - 1) * head + size);
  };
  const product = (dims: ScoreDims | undefined) => (dims ? elementCount(dims) : 0);
  return [
    spread(op.q, heads, rows, headSize),
    spread(op.k, kvHeads, newKeys, headSize),
    spread(op.v, kvHeads, newKeys, valueSize),
    4 * heads,
    4 * product(bias),
    product(mask),
    spread(op.out, heads, rows, valueSize),
  ];
}

/**
 * @returns bytes of each operand; 0: it is absent
 * @throws {@link TypeError} for something that is not an operand of this device; {@link RangeError} for an impossible
 * op, and for operands that are missing, too small or overlap `out`
 */
export function checkAttentionOperands<H extends { readonly byteLength: number }>(
  { op, run }: AttentionWork,
  operands: readonly (H | undefined)[],
  kind: OperandKind<H>,
): number[] {
  checkOp(op);
  if (typeof run !== 'function') throw new TypeError(`attention: run expected a function, got ${describe(run)}.`);
  if (operands.length !== ATTENTION_OPERANDS.length)
    refuse('operands', `${ATTENTION_OPERANDS.length} (${ATTENTION_OPERANDS.join(', ')})`, operands.length);
  const bytes = attentionBytes(op);
  const keys = op.newKeys > 0 || undefined; // of no keys there may be an operand
  const needed = [true, keys, keys, undefined, op.bias !== undefined, op.mask !== undefined, true];
  ATTENTION_OPERANDS.forEach((name, i) => {
    const operand = operands[i];
    if (operand === undefined) {
      if (needed[i]) throw new TypeError(`attention: ${name} expected ${kind.name}, got undefined.`);
      bytes[i] = 0;
      return;
    }
    if (needed[i] === false) refuse(name, 'undefined, as the op has none', kind.name);
    if (!isHandle(operand, kind))
      throw new TypeError(`attention: ${name} expected ${kind.name}, got ${describe(operand)}.`);
    if (operand.byteLength < bytes[i]) refuse(name, `${bytes[i]} bytes`, operand.byteLength);
  });
  const places = operands.map((operand) => operand && kind.place(operand));
  checkOutApart(
    bytes,
    places.map((place) => place?.begin ?? 0),
    places.map((place) => place?.buffer),
  );
  return bytes;
}

/** @throws {@link RangeError} if `out` lies where another operand does. @param buffers what each one lies in; by default all in one */
export function checkOutApart(bytes: readonly number[], begins: readonly number[], buffers?: readonly unknown[]): void {
  const [out, end] = [begins[OUT_OPERAND], begins[OUT_OPERAND] + bytes[OUT_OPERAND]];
  ATTENTION_OPERANDS.forEach((name, i) => {
    if (i === OUT_OPERAND || bytes[i] === 0 || bytes[OUT_OPERAND] === 0) return;
    if (begins[i] >= end || out >= begins[i] + bytes[i]) return;
    if (buffers && buffers[i] !== buffers[OUT_OPERAND]) return;
    refuse('out', 'memory of its own', `some of ${name}'s`);
  });
}

function checkOp(op: AttentionOp): void {
  const integer = (name: keyof AttentionOp, least: number, most = 2 ** 31 - 1) => {
    const value = op[name];
    if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most)
      refuse(name, `an integer from ${least} to ${most}`, value);
  };
  integer('batch', 0);
  integer('rows', 0);
  integer('newKeys', 0);
  integer('heads', 1);
  integer('kvHeads', 1);
  integer('headSize', 1, MAX_HEAD_SIZE);
  integer('valueSize', 1);
  if (op.heads % op.kvHeads) refuse('heads', `a multiple of kvHeads=${op.kvHeads}`, op.heads);
  if (op.window !== undefined) integer('window', 1);
  const { scale, softcap, alibi } = op;
  if (scale !== undefined && !Number.isFinite(scale)) refuse('scale', 'a finite number', scale);
  if (softcap !== undefined && !(softcap > 0 && Number.isFinite(softcap)))
    refuse('softcap', 'a number above 0', softcap);
  if (alibi !== undefined && !(Array.isArray(alibi) && alibi.length === op.heads && alibi.every(Number.isFinite)))
    refuse(
      'alibi',
      `an array of ${op.heads} finite slopes, one per head`,
      Array.isArray(alibi) ? `[${alibi}]` : describe(alibi),
    );
  for (const name of ['q', 'out'] as const) checkStrides(name, op[name]);
  if (op.newKeys > 0) for (const name of ['k', 'v'] as const) checkStrides(name, op[name]);
  for (const name of ['bias', 'mask'] as const) if (op[name] !== undefined) checkDims(name, op[name], op, 0);
}

function checkStrides(name: string, strides: HeadStrides | undefined): void {
  const values = strides ? [strides.batch, strides.row, strides.head] : undefined;
  if (!values?.every((value) => Number.isSafeInteger(value) && value >= 0))
    refuse(name, 'strides { batch, row, head } of 0 and more', values ? `[${values}]` : String(strides));
}

function checkDims(name: string, dims: ScoreDims, { batch, heads, rows }: AttentionOp, keys: number): void {
  const whole = [batch, heads, rows];
  const fits =
    Array.isArray(dims) &&
    dims.length === 4 &&
    dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0) &&
    whole.every((size, i) => dims[i] === size || dims[i] === 1) &&
    (dims[3] === 1 || dims[3] >= keys);
  if (!fits) refuse(name, `dimensions [${whole}, ${keys} or more], or 1 for any of them`, `[${dims}]`);
}

/** The arguments of a run, with defaults: one number for each sequence. */
export interface ResolvedRun<H> {
  readonly cache: PagedKvCache<H>;
  readonly isCausal: boolean;
  readonly past: readonly number[];
  readonly counts: readonly number[];
  readonly queries: readonly number[];
  readonly positions: readonly number[];
  readonly starts: readonly number[];
  readonly bias: ScoreArray<Float32Array> | undefined;
  readonly mask: ScoreArray<Uint8Array> | undefined;
}

/**
 * Gets the arguments of a run, and checks them. Nothing has changed yet.
 * @throws {@link TypeError}, {@link RangeError} for a cache of another device or shape, and for numbers that do not fit
 */
export function resolveRun<H>({ op, run: ask }: AttentionWork, device: PageDevice<H>): ResolvedRun<H> {
  const run = ask();
  const { batch, rows, newKeys } = op;
  const cache = ownCache(run, op, device);
  const { lengths } = cache;
  const past = numbersOf(run, 'past', lengths, newKeys > 0 ? lengths : FAR, batch);
  const counts = numbersOf(run, 'counts', constant(batch, newKeys), newKeys, batch);
  const queries = numbersOf(run, 'queries', rows === newKeys ? counts : constant(batch, rows), rows, batch);
  const positions = numbersOf(run, 'positions', past, FAR, batch);
  const starts = numbersOf(run, 'starts', constant(batch, 0), FAR, batch);
  let longest = 0;
  for (let b = 0; b < batch; b++) longest = Math.max(longest, newKeys > 0 ? past[b] + counts[b] : lengths[b]);
  checkScores('bias', run.bias, op, longest);
  checkScores('mask', run.mask, op, longest);
  for (const name of ['bias', 'mask'] as const) if (op[name]) checkDims(name, op[name], op, longest);
  const { isCausal = op.isCausal, bias, mask } = run;
  return { cache, isCausal, past, counts, queries, positions, starts, bias, mask };
}

/** Positions may be so large. */
const FAR = 2 ** 24;

const constant = (batch: number, value: number): number[] => new Array<number>(batch).fill(value);

/** The number that a run gives for each sequence, or the default. It is called for every token: no closures. */
function numbersOf(
  run: AttentionRun<KvCache>,
  name: 'past' | 'counts' | 'queries' | 'positions' | 'starts',
  otherwise: readonly number[],
  most: number | readonly number[],
  batch: number,
): readonly number[] {
  const values = run[name];
  if (values === undefined) return otherwise;
  let fits = values.length === batch;
  for (let b = 0; fits && b < batch; b++) {
    const value = values[b];
    fits = Number.isSafeInteger(value) && value >= 0 && value <= (typeof most === 'number' ? most : most[b]);
  }
  if (!fits) {
    const limits = typeof most === 'number' ? constant(batch, most) : most;
    refuse(name, `${batch} integers from 0 to ${limits.join(', ')}`, `[${values}]`);
  }
  return values;
}

function ownCache<H>(run: AttentionRun<KvCache>, op: AttentionOp, device: PageDevice<H>): PagedKvCache<H> {
  const { cache } = run;
  if (!(cache instanceof PagedKvCache))
    throw new TypeError(`attention: cache expected a KvCache, got ${describe(cache)}.`);
  if (cache.device !== device)
    refuse('cache', 'one of this device', "another device's. Make it with createKvCache(device, …)");
  if (!device.caches.has(cache)) refuse('cache', 'a live one', 'one that was disposed of. Create another one');
  for (const name of ['batch', 'kvHeads', 'headSize', 'valueSize'] as const)
    if (cache.shape[name] !== op[name]) refuse(`cache.shape.${name}`, `${op[name]}, as the op has`, cache.shape[name]);
  return cache;
}

function checkScores(
  name: 'bias' | 'mask',
  scores: ScoreArray<Float32Array | Uint8Array> | undefined,
  op: AttentionOp,
  keys: number,
): void {
  if (!scores) return;
  if (op[name]) refuse(name, 'an operand or an array', 'both');
  const kind = name === 'bias' ? Float32Array : Uint8Array;
  if (!(scores.data instanceof kind))
    throw new TypeError(`attention: ${name}.data expected a ${kind.name}, got ${describe(scores.data)}.`);
  checkDims(name, scores.dims, op, keys);
  const length = elementCount(scores.dims);
  if (scores.data.length !== length)
    refuse(`${name}.data`, `${length} values for [${scores.dims}]`, scores.data.length);
}
