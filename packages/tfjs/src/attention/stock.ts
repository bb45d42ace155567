/** Attention on tfjs's own operations, in floats: where MSD has no kernels for it, and while gradients are recorded. */
import type { Tensor, TfNamespace } from '../tf.ts';
import type { Sizes } from './arguments.ts';
import type { AttentionOptions } from './attention.ts';
import { arranged } from './view.ts';

/** Scores that no query sees: finite, so that a row of nothing else is no NaN. */
const UNSEEN = -1e30;

export function stockAttention(
  tf: TfNamespace,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { bias, mask, sinks, scale, causal = false, window, softcap }: AttentionOptions,
  { layout, batch, heads, rows, kvHeads, headSize, valueSize, newKeys, shape }: Sizes,
): Tensor {
  const plain = (x: Tensor, count: number, size: number) =>
    tf.reshape(arranged(tf, x, layout), [batch, count, -1, size]);
  /** Heads of keys and values for every head of queries. */
  const spread = (x: Tensor, size: number) => {
    const own = plain(x, kvHeads, size);
    if (kvHeads === heads) return own;
    const group = heads / kvHeads;
    const tiled = tf.tile(tf.reshape(own, [batch, kvHeads, 1, newKeys * size]), [1, 1, group, 1]);
    return tf.reshape(tiled, [batch, heads, newKeys, size]);
  };
  let scores = tf.mul(
    tf.matMul(plain(q, heads, headSize), spread(k, headSize), false, true),
    scale ?? headSize ** -0.5,
  );
  if (softcap !== undefined) scores = tf.mul(tf.tanh(tf.div(scores, softcap)), softcap);
  if (bias) scores = tf.add(scores, bias);
  const seen = [mask, positionMask(tf, rows, newKeys, causal, window)].filter((own) => own !== undefined);
  const visible = seen.length === 2 ? tf.logicalAnd(seen[0]!, seen[1]!) : seen[0];
  if (visible) scores = tf.where(visible, scores, tf.scalar(UNSEEN));
  let weights = softmax(tf, scores, sinks && tf.reshape(sinks, [1, heads, 1, 1]));
  if (visible) weights = tf.where(visible, weights, tf.scalar(0));
  const y = tf.matMul(weights, spread(v, valueSize));
  const result = [batch, heads, rows, valueSize].slice(4 - q.rank);
  return tf.reshape(arranged(tf, tf.reshape(y, result), layout), shape);
}

/** A sink is one more column, and is cut off again. */
function softmax(tf: TfNamespace, scores: Tensor, sinks: Tensor | undefined): Tensor {
  if (!sinks) return tf.softmax(scores);
  const [batch, heads, rows, keys] = scores.shape as [number, number, number, number];
  const column = tf.tile(sinks, [batch, 1, rows, 1]);
  const all = tf.softmax(tf.concat([scores, column], 3));
  return tf.slice(all, [0, 0, 0, 0], [batch, heads, rows, keys]);
}

/** [rows, keys]: which keys a position may look back at. */
function positionMask(
  tf: TfNamespace,
  rows: number,
  keys: number,
  causal: boolean,
  window: number | undefined,
): Tensor | undefined {
  if (!causal && window === undefined) return undefined;
  const [row, key] = [tf.reshape(tf.range(0, rows), [rows, 1]), tf.reshape(tf.range(0, keys), [1, keys])];
  const isNear = window === undefined ? undefined : tf.greater(key, tf.sub(row, window));
  if (!causal) return isNear;
  const isPast = tf.lessEqual(key, row);
  return isNear ? tf.logicalAnd(isPast, isNear) : isPast;
}
