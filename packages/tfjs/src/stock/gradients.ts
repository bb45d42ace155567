/**
 * Gradients that stock gets wrong. That of a batched product whose operand is repeated along a batch has the batches of the result,
 * and tfjs refuses it: it is summed to the operand's shape.
 */
import type { GradConfig } from '@tensorflow/tfjs-core';
import type { Tensor, TfNamespace } from '../tf.ts';

const NAME = 'BatchMatMul';

const stock = /* @__PURE__ */ new Map<GradConfig['gradFunc'], GradConfig>();

/** Puts MSD's gradient in place of the stock one, where there is one. */
export function mendGradients(tf: TfNamespace): void {
  const before = tf.getGradient(NAME);
  if (!before || stock.has(before.gradFunc)) return;
  const gradFunc: GradConfig['gradFunc'] = (dy, saved, attrs) => {
    const gradients = before.gradFunc(dy, saved, attrs);
    const [a, b] = saved as [Tensor, Tensor];
    return {
      a: () => reduceTo(tf, gradients.a!() as Tensor, a.shape),
      b: () => reduceTo(tf, gradients.b!() as Tensor, b.shape),
    };
  };
  stock.set(gradFunc, before);
  replace(tf, { ...before, gradFunc });
}

export function restoreGradients(tf: TfNamespace): void {
  const before = stock.get(tf.getGradient(NAME)?.gradFunc as GradConfig['gradFunc']);
  stock.clear();
  if (before) replace(tf, before);
}

function replace(tf: TfNamespace, config: GradConfig): void {
  tf.unregisterGradient(NAME); // else tfjs warns
  tf.registerGradient(config);
}

/** Sums over the dimensions that an operand was repeated along. */
export function reduceTo(tf: TfNamespace, gradient: Tensor, shape: number[]): Tensor {
  const added = gradient.rank - shape.length;
  const axes = gradient.shape.flatMap((dim, i) =>
    i < added || (i < gradient.rank - 2 && shape[i - added] === 1 && dim !== 1) ? [i] : [],
  );
  if (axes.length === 0 && added === 0) return gradient;
  return tf.reshape(axes.length ? tf.sum(gradient, axes) : gradient, shape);
}
