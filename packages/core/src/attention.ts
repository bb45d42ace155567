import {
  type AttentionOp,
  type AttentionRun,
  headMajor,
  type KvCache,
  type KvType,
  rowMajor,
} from './attention/contract.ts';
import { attentionWork, createKvCache } from './attention-work.ts';
import { describe } from './backends/arguments.ts';
import type { Device } from './backends/device.ts';
import { PagedKvCache } from './backends/kv-cache.ts';

/** How queries see keys; everything that {@link AttentionOp} and {@link AttentionRun} offer, with defaults. */
export interface AttentionOptions
  extends Partial<Omit<AttentionRun<KvCache>, 'cache' | 'isCausal'>>,
    Partial<Pick<AttentionOp, 'scale' | 'window' | 'softcap' | 'alibi'>> {
  /** Heads of q. */
  readonly heads: number;
  /** Keys and values so far: k and v are added to them. Default: k and v are all there is. */
  readonly cache?: KvCache | undefined;
  /** Without a cache: what computes, a WASM or reference backend. */
  readonly backend?: Device<unknown> | undefined;
  /** Without a cache: how k and v are stored during the call. Default: 'int16'. */
  readonly type?: KvType | undefined;
  /** Default: the cache's; 1, `heads`, nothing, `headSize`. */
  readonly batch?: number | undefined;
  readonly kvHeads?: number | undefined;
  readonly headSize?: number | undefined;
  readonly valueSize?: number | undefined;
  /** 'rows' (default): [B, M, heads · size]. 'heads': [B, heads, M, size]. Of q, k, v and the result. */
  readonly layout?: 'rows' | 'heads' | undefined;
  /** A query sees no key after its own position. Default: false. */
  readonly causal?: boolean | undefined;
  /** f32 [heads]: one more score for every row of a head, without a value. */
  readonly sinks?: Float32Array | undefined;
  /** Where the result goes. Default: a fresh array. */
  readonly out?: Float32Array | undefined;
}

const OPTIONS: Readonly<Record<keyof AttentionOptions, true>> = {
  heads: true,
  cache: true,
  backend: true,
  type: true,
  batch: true,
  kvHeads: true,
  headSize: true,
  valueSize: true,
  layout: true,
  causal: true,
  sinks: true,
  out: true,
  scale: true,
  window: true,
  softcap: true,
  alibi: true,
  past: true,
  counts: true,
  queries: true,
  positions: true,
  starts: true,
  bias: true,
  mask: true,
};

/**
 * softmax(q · kᵀ · scale) · v, on keys and values that stay integers: later calls read what this one adds to the cache,
 * and never turn it back into floats.
 *
 * To run the same op over and over on operands in a device's memory, bind {@link attentionWork} instead.
 *
 * @param q [B, M, heads · headSize]
 * @param k [B, N, kvHeads · headSize], new keys; `undefined`: those of the cache are all there is
 * @param v [B, N, kvHeads · valueSize]
 * @returns `options.out`, or a fresh Float32Array [B, M, heads · valueSize] that is the caller's
 * @throws {@link TypeError}, {@link RangeError} for arguments that do not fit; nothing has changed then
 * @throws {@link BackendUnavailableError} with the bytes if keys do not fit in memory; nothing has changed then
 * @see docs/attention.md
 * @example
 * const cache = createKvCache(backend, { batch: 1, kvHeads: 2, headSize: 64 });
 * const y = attention(q, k, v, { heads: 14, cache, causal: true });       // prompt
 * const z = attention(q1, k1, v1, { heads: 14, cache, causal: true });    // the next token
 */
export function attention(
  q: Float32Array,
  k: Float32Array | undefined,
  v: Float32Array | undefined,
  options: AttentionOptions,
): Float32Array {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`attention: expected options { heads, cache, … }, got ${describe(options)}.`);
  for (const name of Object.keys(options))
    if (!Object.hasOwn(OPTIONS, name))
      throw new RangeError(
        `attention: options expected ${Object.keys(OPTIONS).join(', ')}, got '${name.slice(0, 40)}'.`,
      );
  const { cache, backend } = options;
  if (cache !== undefined && !(cache instanceof PagedKvCache))
    throw new TypeError(`attention: cache expected a KvCache of createKvCache, got ${describe(cache)}.`);
  if (cache) {
    if (backend !== undefined && backend !== cache.backend)
      throw new RangeError("attention: backend expected the cache's own, or none, got another one.");
    return runOn(cache, cache.backend, q, k, v, options);
  }
  if (!backend) throw new TypeError('attention: expected a cache or a backend, got neither. Pass one of them.');
  const { batch = 1, heads, kvHeads = heads, headSize, valueSize, type } = options;
  if (headSize === undefined) throw new TypeError('attention: headSize expected a number, got undefined.');
  const temporary = createKvCache(backend, { batch, kvHeads, headSize, valueSize, type });
  try {
    return runOn(temporary, backend, q, k, v, options);
  } finally {
    temporary.dispose();
  }
}

function runOn<H>(
  cache: KvCache,
  device: Device<H>,
  q: Float32Array,
  k: Float32Array | undefined,
  v: Float32Array | undefined,
  options: AttentionOptions,
): Float32Array {
  const op = opOf(cache, q, k, v, options);
  const { past, counts, queries, positions, starts, bias, mask, sinks } = options;
  const length = op.batch * op.rows * op.heads * op.valueSize;
  const out = options.out ?? new Float32Array(length);
  if (!(out instanceof Float32Array) || out.length !== length)
    throw new RangeError(`attention: out expected a Float32Array of ${length} values, got ${sizeOf(out)}.`);
  if (sinks !== undefined && !(sinks instanceof Float32Array && sinks.length === op.heads))
    throw new RangeError(
      `attention: sinks expected a Float32Array of ${op.heads} values, one per head, got ${sizeOf(sinks)}.`,
    );
  const run = { cache, past, counts, queries, positions, starts, bias, mask };
  const taken: H[] = [];
  const put = (data: Float32Array | undefined): H | undefined => {
    if (data === undefined) return undefined;
    const handle = device.alloc(data.byteLength, 'attention');
    taken.push(handle);
    device.write(handle, data);
    return handle;
  };
  try {
    const operands = [put(q), put(k), put(v), put(sinks), undefined, undefined, put(out)];
    device.run(
      device.bind(
        attentionWork(op, () => run),
        operands,
      ),
    );
    device.read(operands[6]!, out); // at once: devices with attention do not wait
  } finally {
    for (const handle of taken) device.free(handle);
  }
  return out;
}

/** Rows are as many as there are values. */
function opOf(
  { shape }: KvCache,
  q: Float32Array,
  k: Float32Array | undefined,
  v: Float32Array | undefined,
  options: AttentionOptions,
): AttentionOp {
  const { batch, kvHeads, headSize, valueSize = headSize } = shape;
  const { heads, layout = 'rows', causal = false, scale, window, softcap, alibi } = options;
  for (const name of ['batch', 'kvHeads', 'headSize', 'valueSize', 'type'] as const)
    if (options[name] !== undefined && options[name] !== shape[name])
      throw new RangeError(`attention: ${name} expected ${shape[name]}, as the cache has, got ${options[name]}.`);
  if (layout !== 'rows' && layout !== 'heads')
    throw new RangeError(`attention: layout expected 'rows' or 'heads', got ${String(layout)}.`);
  if (!Number.isSafeInteger(heads) || heads < 1)
    throw new RangeError(`attention: heads expected an integer from 1 on, got ${String(heads)}.`);
  if (typeof causal !== 'boolean')
    throw new TypeError(`attention: causal expected true or false, got ${describe(causal)}.`);
  if ((k === undefined) !== (v === undefined)) throw new TypeError('attention: expected k and v, or neither of them.');
  const rows = rowsOf('q', q, batch * heads * headSize);
  const newKeys = k ? rowsOf('k', k, batch * kvHeads * headSize) : 0;
  const values = v ? rowsOf('v', v, batch * kvHeads * valueSize) : 0;
  if (values !== newKeys) throw new RangeError(`attention: v expected ${newKeys} rows, as k has, got ${values}.`);
  const strides = (count: number, ofRows: number, size: number) =>
    layout === 'rows' ? rowMajor(ofRows, size, count * size) : headMajor(count, ofRows, size);
  return {
    ...{ batch, rows, newKeys, heads, kvHeads, headSize, valueSize, scale, window, softcap, alibi },
    isCausal: causal,
    q: strides(heads, rows, headSize),
    k: strides(kvHeads, newKeys, headSize),
    v: strides(kvHeads, newKeys, valueSize),
    out: strides(heads, rows, valueSize),
  };
}

const sizeOf = (value: unknown): string => (value instanceof Float32Array ? `${value.length} values` : describe(value));

function rowsOf(name: string, data: Float32Array, width: number): number {
  if (!(data instanceof Float32Array))
    throw new TypeError(`attention: ${name} expected a Float32Array, got ${describe(data)}.`);
  if (data.length % width)
    throw new RangeError(`attention: ${name} expected whole rows of ${width} values, got ${data.length}.`);
  return data.length / width;
}
