/** What `quantize` has lost: the errors that reports of models show, for one tensor. */
import { readActivations, rowsFor } from './activations.ts';
import { DisposedError, shown } from './errors.ts';
import { checkKeys } from './options.ts';
import { eachTransposed } from './pack.ts';
import { checkFinite } from './quantize.ts';
import { checkQuantized, type QuantizedTensor } from './quantized-tensor.ts';
import { realShape } from './spec.ts';
import { requireRegistration } from './state.ts';
import type { Tensor } from './tf.ts';
import { type Accuracy, accuracyOf, whyInaccurate } from './weights/accuracy.ts';

export interface QuantizationErrorOptions {
  /** The tensor is [N,K], as it was for `quantize`. Default false. */
  readonly transpose?: boolean | undefined;
  /** What the matrix will multiply, […,K]: a few rows, for `measured`. */
  readonly activations?: Tensor | undefined;
}

export interface QuantizationError extends Accuracy {
  /** Why models with such weights take a finer form, or leave them to tfjs. */
  readonly reason?: string;
}

const WHERE = 'quantizationError';

/**
 * How far a quantized tensor is off the floats that it was made of, where it hurts: a small error of all may be the loss of all that
 * one input feature says.
 *
 * @throws `TypeError`, `RangeError` for operands that do not fit, `DisposedError` for those that are gone
 * @example
 * ```ts
 * const w = quantize(weights, { format: 'int4' });
 * const { error, input, reason } = await quantizationError(w, weights);
 * ```
 */
export async function quantizationError(
  w: QuantizedTensor,
  tensor: Tensor,
  options: QuantizationErrorOptions = {},
): Promise<QuantizationError> {
  const { tf } = requireRegistration(WHERE);
  checkKeys(options, ['transpose', 'activations'], WHERE);
  const { transpose = false, activations } = options;
  checkQuantized(w, WHERE);
  if (!(tensor instanceof tf.Tensor) || tensor.dtype !== 'float32')
    throw new TypeError(`${WHERE}: tensor, expected a float32 tf.Tensor, got ${shown(tensor)}.`);
  if (tensor.isDisposed) throw new DisposedError(`${WHERE}: tensor has been disposed of.`);
  const { spec } = w;
  const shape = realShape(spec);
  const expected = transpose ? [...shape.slice(0, -2), ...shape.slice(-2).reverse()] : shape;
  if (tensor.shape.join() !== expected.join())
    throw new RangeError(`${WHERE}: tensor, expected [${expected}], as was quantized, got [${tensor.shape}].`);
  const given = await readActivations(activations && { w: activations }, WHERE);
  const x = spec.kind === 'matrix' ? rowsFor(given.get('w'), spec.K, 'w') : undefined;
  const [data, values] = [await w.packed.data<'int32'>(), await tensor.data<'float32'>()];
  checkFinite(values as Float32Array, tensor.shape, WHERE);
  const rows = spec.kind === 'table' || transpose ? values : eachTransposed(values, spec.K, spec.N);
  const packed = { spec, data: Int32Array.from(data) };
  const accuracy = accuracyOf(packed, rows as Float32Array, x);
  const reason = whyInaccurate(packed, accuracy);
  return { ...accuracy, ...(reason !== undefined && { reason }) };
}
