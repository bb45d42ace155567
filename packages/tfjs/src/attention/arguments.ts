/** What `attention` is asked, checked before anything happens. */
import type { ResolvedKvShape } from '@msd/core';
import { DisposedError, shown } from '../errors.ts';
import { checkKeys } from '../options.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import type { AttentionOptions } from './attention.ts';

const WHERE = 'attention';

export function checkTensor(
  tf: TfNamespace,
  x: unknown,
  name: string,
  dtype: 'float32' | 'bool',
  where: string,
): asserts x is Tensor {
  if (!(x instanceof tf.Tensor))
    throw new TypeError(`${where}: ${name}, expected a tf.Tensor, got ${x === null ? 'null' : typeof x}.`);
  if (x.isDisposed) throw new DisposedError(`${where}: ${name}, the tensor has been disposed of.`);
  if (x.dtype !== dtype) throw new TypeError(`${where}: ${name}, expected ${dtype}, got ${x.dtype}.`);
}

const KEYS: readonly string[] = [
  ...['scale', 'causal', 'window', 'softcap', 'bias', 'mask', 'sinks', 'layout', 'cache', 'type'],
];
const TYPES: readonly unknown[] = ['int16', 'int8', 'float'];

/** @throws `TypeError` for unknown names and wrong kinds, `RangeError` for wrong values */
export function checkOptions(tf: TfNamespace, options: AttentionOptions): void {
  checkKeys(options, KEYS, WHERE);
  const { scale, causal = false, window, softcap, bias, mask, sinks, layout = 'heads', cache, type } = options;
  if (scale !== undefined && !Number.isFinite(scale))
    throw new RangeError(`${WHERE}: scale, expected a finite number, got ${shown(scale)}.`);
  if (typeof causal !== 'boolean') throw new TypeError(`${WHERE}: causal, expected a boolean, got ${typeof causal}.`);
  if (window !== undefined && !(Number.isSafeInteger(window) && window > 0))
    throw new RangeError(`${WHERE}: window, expected a positive integer, got ${shown(window)}.`);
  if (softcap !== undefined && !(Number.isFinite(softcap) && softcap > 0))
    throw new RangeError(`${WHERE}: softcap, expected a number above 0, got ${shown(softcap)}.`);
  if (layout !== 'heads' && layout !== 'rows')
    throw new RangeError(`${WHERE}: layout, expected 'heads' or 'rows', got ${shown(layout)}.`);
  if (type !== undefined && !TYPES.includes(type))
    throw new RangeError(`${WHERE}: type, expected one of ${TYPES.join(', ')}, got ${shown(type)}.`);
  if (type !== undefined && cache !== undefined)
    throw new TypeError(`${WHERE}: type, expected none beside a cache, which has one, got ${type}.`);
  if (bias !== undefined) checkTensor(tf, bias, 'bias', 'float32', WHERE);
  if (mask !== undefined) checkTensor(tf, mask, 'mask', 'bool', WHERE);
  if (sinks !== undefined) checkTensor(tf, sinks, 'sinks', 'float32', WHERE);
}

export interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly valueSize: number;
  readonly newKeys: number;
  /** Axes of [batch, heads, rows, size] in q, k, v, and of these in the result. */
  readonly layout: readonly number[] | undefined;
  /** Of the result, as it lies. */
  readonly shape: number[];
  /** There is nothing to compute: no element, or no key. */
  readonly isEmpty: boolean;
}

/** @param stored what the cache holds, if there is one */
export function sizesOf(
  tf: TfNamespace,
  q: Tensor,
  k: Tensor | null,
  v: Tensor | null,
  { layout: order = 'heads', sinks }: AttentionOptions,
  stored: ResolvedKvShape | undefined,
): Sizes {
  const refuse = (name: string, expected: string, got: unknown): never => {
    throw new RangeError(`${WHERE}: ${name}, expected ${expected}, got ${shown(got)}.`);
  };
  checkTensor(tf, q, 'q', 'float32', WHERE);
  if (q.rank < 2 || q.rank > 4) refuse('q', 'two to four dimensions', `[${q.shape}]`);
  const isSwapped = order === 'rows' && q.rank > 2;
  const layout = isSwapped ? [...(q.rank === 4 ? [0] : []), q.rank - 2, q.rank - 3, q.rank - 1] : undefined;
  const dimsOf = ({ shape }: Tensor) => {
    const own = layout ? layout.map((axis) => shape[axis]!) : shape;
    return [...Array<number>(4 - own.length).fill(1), ...own] as [number, number, number, number];
  };
  const [batch, heads, rows, headSize] = dimsOf(q);
  if ((k === null) !== (v === null))
    throw new TypeError(`${WHERE}: k and v, expected both or none of them to be null.`);
  if (k === null && !stored)
    throw new TypeError(`${WHERE}: k and v, expected tensors where there is no cache, got null.`);
  for (const [name, x] of [
    ['k', k],
    ['v', v],
  ] as const) {
    if (x === null) continue;
    checkTensor(tf, x, name, 'float32', WHERE);
    if (x.rank !== q.rank) refuse(name, `${q.rank} dimensions as q`, `[${x.shape}]`);
  }
  const [kBatch, kvHeads, newKeys, kSize] = k ? dimsOf(k) : [batch, stored!.kvHeads, 0, stored!.headSize];
  const [vBatch, vHeads, vKeys, valueSize] = v ? dimsOf(v) : [batch, kvHeads, 0, stored!.valueSize];
  if (kSize !== headSize) refuse('k', `heads of ${headSize} as q`, kSize);
  if (kBatch !== batch || vBatch !== batch) refuse('k and v', `a batch of ${batch} as q`, `${kBatch} and ${vBatch}`);
  if (vHeads !== kvHeads || vKeys !== newKeys)
    refuse('v', `${kvHeads} heads and ${newKeys} keys as k`, `${vHeads}, ${vKeys}`);
  if (kvHeads === 0 || heads % kvHeads !== 0) refuse('k', `heads that divide q's ${heads}`, kvHeads);
  if (stored) {
    const given = { batch, kvHeads, headSize, valueSize };
    for (const [name, value] of Object.entries(given))
      if (stored[name as keyof typeof given] !== value)
        refuse('cache', `${name} ${value}`, stored[name as keyof typeof given]);
    if (q.size === 0) refuse('q', 'rows beside a cache; use cache.append to add keys alone', `[${q.shape}]`);
  }
  if (sinks && (sinks.rank !== 1 || sinks.size !== heads))
    refuse('sinks', `[${heads}], one for each head of q`, `[${sinks.shape}]`);
  const result = [batch, heads, rows, valueSize].slice(4 - q.rank);
  const shape = layout ? layout.map((axis) => result[axis]!) : result;
  const isEmpty = result.includes(0) || headSize === 0 || (newKeys === 0 && !stored);
  return { batch, heads, rows, kvHeads, headSize, valueSize, newKeys, layout, shape, isEmpty };
}
