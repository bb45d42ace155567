/** Keys and values of one layer, kept as integers beside tfjs's tensors, in its memory. */
import { type KvCache as CoreCache, type KvType, UnsupportedError } from '@msd/core';
import { DisposedError, shown } from '../errors.ts';
import type { Host } from '../kernels/host.ts';
import { hostOf, knownHost } from '../kernels/hosts.ts';
import { checkKeys } from '../options.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import { checkTensor } from './arguments.ts';
import { callsOf } from './calls.ts';

export interface KvCacheOptions {
  /** Sequences. Default 1. */
  readonly batch?: number | undefined;
  /** Of keys and values; a divisor of those of the queries. */
  readonly kvHeads: number;
  readonly headSize: number;
  /** Default: `headSize`. */
  readonly valueSize?: number | undefined;
  /**
   * 'int16' (default): 2 bytes per element, as accurate as the arithmetic; 'int8': 1 byte, off by 0.4 to 7 %; 'float': 4 bytes,
   * as they come.
   */
  readonly type?: KvType | undefined;
}

const KEYS: readonly string[] = ['batch', 'kvHeads', 'headSize', 'valueSize', 'type'];

/** The cache of @msd/core's, and where it lives. */
interface Inner {
  readonly cache: CoreCache;
  readonly host: Host;
  readonly backend: object;
  readonly backendName: string;
}

const inners = /* @__PURE__ */ new WeakMap<KvCache, Inner>();

/**
 * A cache for `attention`, on tfjs's current backend (cpu or wasm). It is not a tensor: `tf.tidy` does not free it, call `dispose()`.
 *
 * @example
 * ```ts
 * const cache = new KvCache({ kvHeads: 2, headSize: 64 });
 * const y = attention(q, k, v, { cache, causal: true });
 * cache.truncate(10);
 * cache.dispose();
 * ```
 */
export class KvCache {
  /**
   * @throws `TypeError`, `RangeError` for options that cannot be; `UnsupportedError` on backends without kernels for attention
   */
  constructor(options: KvCacheOptions) {
    const where = 'KvCache';
    const { tf } = requireRegistration(where);
    checkKeys(options, KEYS, where);
    const { batch = 1, kvHeads, headSize, valueSize, type } = options;
    for (const [name, value] of Object.entries({ batch, kvHeads, headSize, valueSize }))
      if (value !== undefined && typeof value !== 'number')
        throw new TypeError(`${where}: ${name}, expected a number, got ${shown(value)}.`);
    const [backend, backendName] = [tf.backend(), tf.getBackend()];
    const host = hostOf(backend, backendName);
    const calls = callsOf(host);
    if (!host || !calls)
      throw new UnsupportedError(
        `${where}: MSD has kernels for attention on cpu and wasm, tfjs is on ${backendName}. Use tf.setBackend('wasm').`,
      );
    const cache = calls.createKvCache({ batch, kvHeads, headSize, valueSize, type });
    inners.set(this, { cache, host, backend, backendName });
  }

  /** Keys of each sequence. */
  get lengths(): readonly number[] {
    return innerOf(this, 'KvCache.lengths').cache.lengths;
  }

  /** Keys of the longest sequence. */
  get length(): number {
    return Math.max(...this.lengths);
  }

  /** Bytes that it takes now; what branches share counts in each of them. `tf.memory()` does not know of them. */
  get byteLength(): number {
    return innerOf(this, 'KvCache.byteLength').cache.byteLength;
  }

  /** Bytes that it takes with so many keys of each sequence. */
  bytesFor(keys: number): number {
    return innerOf(this, 'KvCache.bytesFor').cache.bytesFor(keys);
  }

  /** Takes the memory for so many keys now. @throws `BackendUnavailableError` with the bytes; nothing has changed then */
  reserve(keys: number): void {
    innerOf(this, 'KvCache.reserve').cache.reserve(keys);
  }

  /**
   * Adds keys and values without asking anything: those of an encoder, for cross-attention.
   *
   * @param k float32 [batch, kvHeads, keys, headSize]
   * @param v float32 [batch, kvHeads, keys, valueSize]
   */
  append(k: Tensor, v: Tensor): void {
    const where = 'KvCache.append';
    const { cache } = innerOf(this, where);
    const { tf } = requireRegistration(where);
    const { batch, kvHeads, headSize, valueSize } = cache.shape;
    for (const [name, x, size] of [
      ['k', k, headSize],
      ['v', v, valueSize],
    ] as const) {
      checkTensor(tf, x, name, 'float32', where);
      const expected = [batch, kvHeads, k.shape[2], size];
      if (x.rank !== 4 || x.shape.some((dim, i) => dim !== expected[i]))
        throw new RangeError(`${where}: ${name}, expected [${batch},${kvHeads},keys,${size}], got [${x.shape}].`);
    }
    cache.append(k.dataSync<'float32'>(), v.dataSync<'float32'>(), k.shape[2]!);
  }

  /** The keys as they are stored, float32 [batch, kvHeads, length, headSize]; a tensor of the caller's. */
  keys(): Tensor {
    const { cache } = innerOf(this, 'KvCache.keys');
    return tensorOf(cache, cache.keys(this.length), this.length, cache.shape.headSize);
  }

  /** The values as they are stored, float32 [batch, kvHeads, length, valueSize]; a tensor of the caller's. */
  values(): Tensor {
    const { cache } = innerOf(this, 'KvCache.values');
    return tensorOf(cache, cache.values(this.length), this.length, cache.shape.valueSize);
  }

  /** Forgets the keys from `length` on; one length, or one of each sequence. */
  truncate(length: number | readonly number[]): void {
    innerOf(this, 'KvCache.truncate').cache.truncate(length);
  }

  /** Forgets all keys, and gives their memory back. */
  reset(): void {
    innerOf(this, 'KvCache.reset').cache.reset();
  }

  /** A second cache with the same keys. From now on changes of one do not show in the other; keys are copied only when one is changed. */
  branch(): KvCache {
    const inner = innerOf(this, 'KvCache.branch');
    const other = Object.create(KvCache.prototype) as KvCache;
    inners.set(other, { ...inner, cache: inner.cache.branch() });
    return other;
  }

  /** Sequence b becomes what `order[b]` was: beam search. */
  reorder(order: readonly number[]): void {
    innerOf(this, 'KvCache.reorder').cache.reorder(order);
  }

  /** True after `dispose()`, and when its backend is gone or `unregister` was called. */
  get isDisposed(): boolean {
    return !isAlive(inners.get(this));
  }

  /** Gives the memory back. Disposing twice is fine. */
  dispose(): void {
    const inner = inners.get(this);
    if (isAlive(inner)) inner.cache.dispose();
    inners.delete(this);
  }
}

/** A backend that is gone has taken its memory along. */
const isAlive = (inner: Inner | undefined): inner is Inner =>
  inner !== undefined && knownHost(inner.backend) === inner.host;

function innerOf(cache: KvCache, where: string): Inner {
  const inner = inners.get(cache);
  if (isAlive(inner)) return inner;
  throw new DisposedError(`${where}: the cache has been disposed of, or its backend. Create another one.`);
}

/**
 * What `attention` runs on.
 *
 * @throws `TypeError` if it is no cache, {@link DisposedError} if it is gone, `RangeError` if tfjs is on another backend now
 */
export function coreCacheOf(tf: TfNamespace, cache: unknown, where: string): CoreCache {
  if (!(cache instanceof KvCache)) throw new TypeError(`${where}: cache, expected a KvCache, got ${shown(cache)}.`);
  const inner = innerOf(cache, where);
  if (inner.backend === tf.backend()) return inner.cache;
  throw new RangeError(
    `${where}: cache, expected one of the backend ${tf.getBackend()}, got one of ${inner.backendName}. Use tf.setBackend('${inner.backendName}').`,
  );
}

function tensorOf(
  { shape: { batch, kvHeads } }: CoreCache,
  values: Float32Array,
  length: number,
  size: number,
): Tensor {
  const { tf } = requireRegistration('KvCache');
  return tf.tensor(values, [batch, kvHeads, length, size], 'float32');
}
