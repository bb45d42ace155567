/** y = x · w (+ bias), activation: the public operation, with its gradient. */

import type { ActivationId } from '@msd/core';
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import { shown } from './errors.ts';
import { dequantized, realTensor, requireMatrix, runsHere } from './fallback.ts';
import { MAT_MUL } from './kernels/index.ts';
import { canFuse } from './kernels/mat-mul.ts';
import { type ArithmeticOptions, checkKeys, resolveArithmetic } from './options.ts';
import { checkQuantized, QuantizedTensor } from './quantized-tensor.ts';
import type { MatrixSpec } from './spec.ts';
import { requireRegistration } from './state.ts';
import { reduceTo } from './stock/gradients.ts';
import type { Tensor, TfNamespace } from './tf.ts';
import { levelled, withoutPowers } from './weights/powers.ts';

export type Activation = 'linear' | 'relu' | 'relu6' | 'elu' | 'sigmoid' | 'tanh';

/** Those that kernels end with; the others are tfjs's own operations. */
export const FUSED: readonly Activation[] = ['relu', 'relu6', 'sigmoid', 'tanh'];

export interface MatMulOptions extends ArithmeticOptions {
  /** [N] */
  readonly bias?: Tensor | undefined;
  readonly activation?: Activation | undefined;
}

const KEYS: readonly string[] = ['bias', 'activation', 'components', 'activationBlock'];

/**
 * Like `tf.matMul(x, w)` with quantized weights; with respect to x it has a gradient.
 *
 * @param x […,K] of any rank from 1; batched weights [B…,K,N] broadcast against its leading dimensions
 * @param w from `quantize`
 * @returns […,N]
 * @throws `TypeError`, `RangeError` for operands that do not fit, `DisposedError` for weights that are gone
 * @example
 * ```ts
 * const y = matMul(x, w, { bias, activation: 'relu' });
 * ```
 */
export function matMul(x: Tensor, w: QuantizedTensor, options: MatMulOptions = {}): Tensor {
  const { tf, options: defaults } = requireRegistration('matMul');
  checkKeys(options, KEYS, 'matMul');
  checkQuantized(w, 'matMul');
  requireMatrix(w, 'matMul');
  const arithmetic = resolveArithmetic(options, defaults, 'matMul');
  const { bias, activation = 'linear' } = options;
  const activate = activationOf(tf, activation);
  checkOperands(tf, x, w.spec as MatrixSpec, bias);
  return tf.tidy(() => {
    const isInteger = runsHere(tf);
    const input = x.dtype === 'float32' ? x : tf.cast(x, 'float32');
    const inputs: NamedTensorMap = { x: isInteger ? levelled(input, w.spec as MatrixSpec) : input, w: w.packed };
    if (bias) inputs.bias = bias.rank === 1 ? bias : tf.reshape(bias, [-1]);
    // The gradient of an activation is tfjs's business: nothing is fused while it records.
    const isRecording = tf.engine().state.gradientDepth > 0;
    const fuses = isInteger && !isRecording && FUSED.includes(activation) && canFuse(w.spec as MatrixSpec);
    const attrs = {
      spec: withoutPowers(w.spec),
      xShape: x.shape,
      ...arithmetic,
      ...(fuses && { activation: activation as ActivationId }),
    };
    const y = isInteger
      ? (tf.engine().runKernel(MAT_MUL, inputs, attrs as never) as Tensor)
      : floatMatMul(tf, input, w, bias);
    return activate && !fuses ? activate(y) : y;
  });
}

/** The same on a backend without MSD's kernels. */
function floatMatMul(tf: TfNamespace, x: Tensor, w: QuantizedTensor, bias: Tensor | undefined): Tensor {
  const { K, N, batchShape } = w.spec as MatrixSpec;
  const real = realTensor(tf, w);
  const y =
    batchShape.length === 0
      ? tf.reshape(tf.matMul(tf.reshape(x, [-1, K]), real as never), [...x.shape.slice(0, -1), N])
      : tf.matMul(x as never, real as never);
  return bias ? tf.add(y, bias) : y;
}

export function activationOf(tf: TfNamespace, activation: Activation): ((y: Tensor) => Tensor) | undefined {
  switch (activation) {
    case 'linear':
      return undefined;
    case 'relu':
      return tf.relu;
    case 'relu6':
      return tf.relu6;
    case 'elu':
      return tf.elu;
    case 'sigmoid':
      return tf.sigmoid;
    case 'tanh':
      return tf.tanh;
    default:
      throw new RangeError(
        `matMul: activation, expected one of linear, relu, relu6, elu, sigmoid, tanh, got ${shown(activation)}.`,
      );
  }
}

function checkOperands(tf: TfNamespace, x: Tensor, { K, N, batchShape }: MatrixSpec, bias: Tensor | undefined): void {
  if (!(x instanceof tf.Tensor))
    throw new TypeError(`matMul: x, expected a tf.Tensor, got ${x === null ? 'null' : typeof x}.`);
  if (x.dtype === 'complex64' || x.dtype === 'string')
    throw new TypeError(`matMul: x, expected numbers, got ${x.dtype}.`);
  if (x.rank < 1 || x.shape[x.rank - 1] !== K)
    throw new RangeError(`matMul: x, expected […,${K}] for weights [${[...batchShape, K, N]}], got [${x.shape}].`);
  const lead = x.shape.slice(0, -2);
  for (let i = 1; i <= Math.min(lead.length, batchShape.length); i++) {
    const [a, b] = [lead[lead.length - i]!, batchShape[batchShape.length - i]!];
    if (a !== b && a !== 1 && b !== 1)
      throw new RangeError(`matMul: x, [${x.shape}] does not broadcast against weights [${[...batchShape, K, N]}].`);
  }
  if (bias === undefined) return;
  if (!(bias instanceof tf.Tensor) || bias.dtype !== 'float32' || bias.size !== N || bias.shape[bias.rank - 1] !== N)
    throw new RangeError(
      `matMul: bias, expected float32 [${N}], got ${bias instanceof tf.Tensor ? `${bias.dtype} [${bias.shape}]` : shown(bias)}.`,
    );
}

/** Gradient of the kernel: dx = dy · wᵀ with the real weights; quantized weights are not trainable. */
export const matMulGradient = (tf: TfNamespace) => ({
  kernelName: MAT_MUL,
  inputsToSave: ['w'],
  gradFunc(dy: Tensor | Tensor[], [w]: Tensor[], attrs: unknown) {
    const { spec, xShape } = attrs as { spec: MatrixSpec; xShape: number[] };
    const upstream = dy as Tensor;
    const { N, batchShape } = spec;
    return {
      x: () => {
        const real = dequantized(tf, new QuantizedTensor(w!, spec));
        if (batchShape.length === 0)
          return tf.reshape(tf.matMul(tf.reshape(upstream, [-1, N]), real as never, false, true), xShape);
        return reduceTo(tf, tf.matMul(upstream as never, real as never, false, true), xShape);
      },
      w: () => noGradient('matMul'),
      bias: () => tf.sum(tf.reshape(upstream, [-1, N]), 0),
    };
  },
});

/** @throws `TypeError`: somebody asked for it, to train them */
export function noGradient(where: string): never {
  throw new TypeError(
    `${where}: quantized weights have no gradient; train float weights and quantize them, or freeze these (layer.trainable = false).`,
  );
}
