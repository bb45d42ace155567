/** What attention is told in a run: the cache that goes on from what was fed as `past`, and lengths. */
import type { AttentionRun, KvCache, KvShape, KvType, ResolvedKvShape } from '@msd/core';
import { INT8 } from '../../data-types.ts';
import {
  type AttentionNow,
  type AttentionStep,
  checkKeys,
  type KvNames,
  type KvScales,
  type LateAttention,
} from '../../ops/lowering.ts';
import type { Value } from '../value.ts';
import type { KvKeeper, KvState } from './keeper.ts';
import { type Half, type Kept, scaleReader } from './lazy.ts';

/** The values of the run that is under way. */
export interface RunValues {
  /** Where a value is found: a run looks up no names. */
  slotOf(name: string): number;
  /** The element type that the model gives it. */
  typeOf(name: string): number;
  get(slot: number): Value | undefined;
  /** What the run tells attentions: once for those that share it. */
  told(late: LateAttention, pastRows: number): AttentionNow;
  /** Its elements as floats. */
  floats(value: Value): Float32Array;
  set(slot: number, value: Value): void;
}

/** @param where for messages */
export function attend(
  { op, cache: names, late, shape }: AttentionStep,
  type: KvType,
  keeper: KvKeeper,
  values: RunValues,
  where: string,
): () => AttentionRun<KvCache> {
  const { batch, kvHeads, headSize, valueSize, newKeys } = op;
  // Codes of int8 have to come back as they were: a cache of int8 with scales of its own would not give them.
  const stored = names?.scales && type === 'int8' ? 'int16' : type;
  const kvShape: KvShape = { batch, kvHeads, headSize, valueSize, type: stored, ...shape };
  const all = new Array<number>(batch).fill(newKeys);
  const now = (pastRows: number): AttentionNow => (late ? values.told(late, pastRows) : {});
  if (!names) {
    const key = JSON.stringify(kvShape, (_, value) =>
      ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value,
    );
    return () => ({ ...now(0), past: undefined, cache: keeper.scratch(key, kvShape) });
  }

  const slotOf = (name: string): number => (name === '' ? -1 : values.slotOf(name));
  const [keySlot, valueSlot] = [slotOf(names.past.key), slotOf(names.past.value)];
  const presents = halves(names.present).map(([name, half]) => {
    const scales = half === 'both' ? undefined : names.scales?.[half];
    return { slot: slotOf(name), half, elemType: scales ? INT8 : values.typeOf(name), scales };
  });
  return () => {
    const past = { key: values.get(keySlot), value: values.get(valueSlot) };
    const rows = past.key?.dims.at(-2) ?? 0;
    checkKeys(rows + newKeys, names.mostKeys);
    const told = now(rows);
    const before = told.past ?? new Array<number>(batch).fill(rows);
    if (before.some((length) => length < 0 || length > rows))
      throw new RangeError(`run: ${where}: past, expected 0 to ${rows} keys as past has positions, got [${before}].`);
    const added = told.counts ?? all;
    const state =
      continued(past, kvShape, keeper, before, added) ??
      copied(past, kvShape, keeper, before, added, values, names.scales, where);
    const longest = batch === 0 ? rows + newKeys : Math.max(...state.lengths);
    const positions = told.rows ?? longest;
    for (const { slot, half, elemType, scales } of presents) {
      const dims = [batch, kvHeads, positions, half === 'values' ? valueSize : headSize];
      const kept = { keeper, state, half, elemType, dims: half === 'both' ? [2, ...dims] : dims, scales };
      values.set(slot, valueOfKept(kept));
    }
    const { counts, queries, starts, bias, mask, isCausal } = told;
    return { cache: state.store!.cache, past: before, counts, queries, starts, bias, mask, isCausal };
  };
}

function valueOfKept(kept: Kept): Value {
  const { dims, elemType } = kept;
  return { elemType, dims, handle: undefined, dtype: undefined, data: undefined, tensor: undefined, kept };
}

/** The names with what each of them is. */
function halves({ key, value }: KvNames): readonly (readonly [string, Half])[] {
  if (key === value) return key === '' ? [] : [[key, 'both']];
  const both = [
    [key, 'keys'],
    [value, 'values'],
  ] as const;
  return both.filter(([name]) => name !== '');
}

interface Past {
  readonly key: Value | undefined;
  readonly value: Value | undefined;
}

/** Both in one cache of this session that fits: it goes on, whatever its length. */
function continued(
  { key, value }: Past,
  shape: KvShape,
  keeper: KvKeeper,
  before: readonly number[],
  added: readonly number[],
): KvState | undefined {
  const [keys, vals] = [key?.kept, value?.kept];
  if (!keys || !vals || keys.keeper !== keeper || vals.keeper !== keeper) return undefined;
  const { store } = keys.state;
  if (!store || store !== vals.state.store) return undefined;
  const isBoth = key === value ? keys.half === 'both' : keys.half === 'keys' && vals.half === 'values';
  if (!isBoth || !isSameShape(store.cache.shape, shape)) return undefined;
  const reaches = before.every((length, i) => length <= keys.state.lengths[i]! && length <= vals.state.lengths[i]!);
  return reaches ? keeper.extend(keys.state, before, added) : undefined;
}

function isSameShape(a: ResolvedKvShape, b: KvShape): boolean {
  return a.batch === b.batch && a.kvHeads === b.kvHeads && a.headSize === b.headSize && a.valueSize === b.valueSize;
}

/** Anything else is read as floats, and copied in. */
function copied(
  { key, value }: Past,
  shape: KvShape,
  keeper: KvKeeper,
  before: readonly number[],
  added: readonly number[],
  values: RunValues,
  scales: KvScales | undefined,
  where: string,
): KvState {
  const state = keeper.create(
    shape,
    before.map((length, i) => length + added[i]!),
  );
  const count = Math.max(0, ...before);
  if (count === 0) return state;
  const { cache } = state.store!;
  const { headSize, valueSize } = cache.shape;
  const both = key === value;
  const floats = (of: Value, by: Float32Array | undefined): Float32Array =>
    by ? scaled(values.floats(of), by, of.dims) : values.floats(of);
  const [k, v] = both ? halvesOf(values.floats(key!)) : [floats(key!, scales?.keys), floats(value!, scales?.values)];
  const rows = key!.dims.at(-2)!;
  checkPast(where, 'key', key!, both, [cache.shape.batch, cache.shape.kvHeads, rows, headSize]);
  checkPast(where, 'value', value!, both, [cache.shape.batch, cache.shape.kvHeads, rows, valueSize]);
  cache.append(firstRows(k, rows, count, headSize), firstRows(v, rows, count, valueSize), count);
  cache.truncate(before);
  return state;
}

function checkPast(where: string, what: string, { dims }: Value, both: boolean, expected: readonly number[]): void {
  const wanted = both ? [2, ...expected] : expected;
  if (dims.length !== wanted.length || dims.some((dim, i) => dim !== wanted[i]))
    throw new RangeError(`run: ${where}: past ${what}, expected [${wanted.join(', ')}], got [${dims.join(', ')}].`);
}

const halvesOf = (data: Float32Array): [Float32Array, Float32Array] => [
  data.subarray(0, data.length / 2),
  data.subarray(data.length / 2),
];

/** Codes times their scales. */
function scaled(codes: Float32Array, scales: Float32Array, dims: readonly number[]): Float32Array {
  const scaleOf = scaleReader(scales, dims);
  return codes.map((code, i) => code * scaleOf(i));
}

/** The first `count` of `rows` rows of every head. */
function firstRows(data: Float32Array, rows: number, count: number, size: number): Float32Array {
  if (rows === count) return data;
  const heads = data.length / (rows * size);
  const out = new Float32Array(heads * count * size);
  for (let head = 0; head < heads; head++)
    out.set(data.subarray(head * rows * size, (head * rows + count) * size), head * count * size);
  return out;
}
