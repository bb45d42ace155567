/** softmax(scale · q · kᵀ + bias) · v: the public operation. */
import { type KvCache as CoreCache, type KvType, UnsupportedError } from '@msd/core';
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import { ATTENTION } from '../kernels/index.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import { checkOptions, type Sizes, sizesOf } from './arguments.ts';
import { type AttentionCalls, attentionCalls } from './calls.ts';
import { coreCacheOf, type KvCache } from './kv-cache.ts';
import { planAttention } from './plan.ts';
import { stockAttention } from './stock.ts';

const WHERE = 'attention';

export interface AttentionOptions {
  /** Of the scores. Default: 1 / √headSize. */
  readonly scale?: number | undefined;
  /** A query sees no key after its own position. Default false. */
  readonly causal?: boolean | undefined;
  /** A query sees this many keys up to its own position. Default: all. */
  readonly window?: number | undefined;
  /** Scores become softcap · tanh(score / softcap). Default: they stay. */
  readonly softcap?: number | undefined;
  /** float32, added to the scores; broadcasts to [batch, heads, rows, keys]. */
  readonly bias?: Tensor | undefined;
  /** bool, true = seen; broadcasts to [batch, heads, rows, keys]. A row that sees nothing gives zeros. */
  readonly mask?: Tensor | undefined;
  /** float32 [heads]: a score that each row has beside its keys, and that has no value. */
  readonly sinks?: Tensor | undefined;
  /** How q, k, v and the result lie: 'heads' (default) [batch, heads, rows, size], 'rows' [batch, rows, heads, size]. */
  readonly layout?: 'heads' | 'rows' | undefined;
  /** k and v are added to its keys, and q reads all of them; its first row comes right after the keys that were there. */
  readonly cache?: KvCache | undefined;
  /** Without a cache: the form that keys and values have meanwhile. Default 'int16'. */
  readonly type?: KvType | undefined;
}

/**
 * Attention with keys and values in integers: queries and probabilities are decomposed, and multiplied with them as they are.
 *
 * @param q float32 [batch, heads, rows, size], or without the first dimensions
 * @param k float32 [batch, kvHeads, keys, size]; `heads` is a multiple of `kvHeads`. `null`, with `v`: only what the cache has
 * @param v float32 [batch, kvHeads, keys, valueSize]
 * @returns as q, with rows of `valueSize`
 * @throws `TypeError`, `RangeError` for operands that do not fit, `DisposedError` for a cache or tensor that is gone, `UnsupportedError`
 * for a cache while gradients are recorded, `BackendUnavailableError` if there is no memory for more keys; the cache is unchanged then
 * @example
 * ```ts
 * const y = attention(q, k, v, { causal: true });
 * ```
 */
export function attention(q: Tensor, k: Tensor | null, v: Tensor | null, options: AttentionOptions = {}): Tensor {
  const { tf } = requireRegistration(WHERE);
  checkOptions(tf, options);
  const cache = options.cache && coreCacheOf(tf, options.cache, WHERE);
  const sizes = sizesOf(tf, q, k, v, options, cache?.shape);
  const isRecording = tf.engine().state.gradientDepth > 0;
  if (cache && isRecording)
    throw new UnsupportedError(`${WHERE}: cache, expected none while gradients are recorded: what it holds has none.`);
  return tf.tidy(() => {
    if (sizes.isEmpty) return tf.zeros(sizes.shape);
    const calls = isRecording ? undefined : attentionCalls(tf);
    if (calls) return onKernels(tf, q, k, v, options, sizes, cache, calls);
    return stockAttention(tf, q, k!, v!, options, sizes); // a cache is only where there are kernels
  });
}

function onKernels(
  tf: TfNamespace,
  q: Tensor,
  k: Tensor | null,
  v: Tensor | null,
  options: AttentionOptions,
  { layout, batch, kvHeads, headSize, valueSize, newKeys }: Sizes,
  cache: CoreCache | undefined,
  calls: AttentionCalls,
): Tensor {
  const { bias, mask, sinks, scale, causal = false, window, softcap, type = 'int16' } = options;
  const hasKeys = newKeys > 0;
  // Without new keys: the shapes of one, that nobody reads.
  const stored = (size: number) => [batch, kvHeads, 1, size].slice(4 - q.rank);
  const planned = planAttention({
    ...{ q: q.shape, k: hasKeys ? k!.shape : stored(headSize), v: hasKeys ? v!.shape : stored(valueSize) },
    layouts: { q: layout, k: hasKeys ? layout : undefined, v: hasKeys ? layout : undefined },
    out: layout,
    bias: bias?.shape,
    mask: mask?.shape,
    keys: cache ? Math.max(...cache.lengths) + newKeys : undefined,
    isGrouped: true,
  });
  if (!planned)
    throw new RangeError(
      `${WHERE}: bias and mask, expected what broadcasts to the scores of q [${q.shape}], got ${[bias, mask].map((x) => (x ? `[${x.shape}]` : 'none')).join(', ')}.`,
    );
  const { op, shape } = planned;
  const keys = hasKeys ? {} : { newKeys, k: undefined, v: undefined };
  const attrs = { op: { ...op, ...keys, scale, isCausal: causal, window, softcap }, shape, type, cache, calls };
  const inputs: NamedTensorMap = { q, ...(hasKeys && { k: k!, v: v! }) };
  for (const [name, x] of Object.entries({ bias, mask, sinks })) if (x) inputs[name] = x;
  return tf.engine().runKernel(ATTENTION, inputs, attrs as never) as Tensor;
}
