/** Float tensors -> quantized ones. */
import type { FormatId } from '@msd/core';
import { DisposedError, shown } from './errors.ts';
import { checkKeys } from './options.ts';
import { rememberQuantized } from './override.ts';
import { eachTransposed, type MatrixOptions, packMatrices, packTable } from './pack.ts';
import { QuantizedTensor } from './quantized-tensor.ts';
import { requireRegistration } from './state.ts';
import type { Tensor } from './tf.ts';

export interface QuantizeTensorOptions {
  /** Default 'int8'. */
  readonly format?: FormatId | undefined;
  /**
   * Consecutive k that share a scale: `null` = one scale per column (int8 only, its default), else a power of two from 32
   * up (int4: from 16), 32 by default.
   */
  readonly blockSize?: number | null | undefined;
  /** Store zero points instead of centring the range. Default false. */
  readonly asymmetric?: boolean | undefined;
  /** Form of block scales: 'f32' (default) or 'f16'. */
  readonly scale?: 'f32' | 'f16' | undefined;
  /** The tensor is [N,K], as for `tf.matMul(x, w, false, true)`. Default false: [K,N]. */
  readonly transpose?: boolean | undefined;
  /** 'matMul' (default): a matrix for `matMul`. 'gather': a table [rows, columns] for `gather`, int8 with a scale per row. */
  readonly use?: 'matMul' | 'gather' | undefined;
}

const KEYS: readonly string[] = ['format', 'blockSize', 'asymmetric', 'scale', 'transpose', 'use'];

/**
 * Quantizes a float32 tensor, round to nearest.
 *
 * @param tensor [K,N] as for `tf.matMul(x, tensor)`, with any leading batch dimensions; stays the caller's
 * @returns the caller's: dispose it, or let `tf.tidy` do so
 * @throws `TypeError`, `RangeError` for tensors and options that do not fit, and weights that are not finite
 * @example
 * ```ts
 * const w = quantize(tf.randomNormal([768, 3072]), { format: 'int4', blockSize: 32 });
 * const y = matMul(x, w);
 * ```
 */
export function quantize(tensor: Tensor, options: QuantizeTensorOptions = {}): QuantizedTensor {
  checkTensor(tensor, options);
  return quantizeValues(tensor, tensor.dataSync<'float32'>(), options);
}

/**
 * {@link quantize} for tensors whose values are on a GPU: reads them without blocking. tfjs's blocking read on WebGPU goes
 * through a canvas, where there is one.
 */
export async function quantizeAsync(tensor: Tensor, options: QuantizeTensorOptions = {}): Promise<QuantizedTensor> {
  checkTensor(tensor, options);
  return quantizeValues(tensor, await tensor.data<'float32'>(), options);
}

function checkTensor(tensor: Tensor, options: QuantizeTensorOptions): void {
  const { tf } = requireRegistration('quantize');
  checkKeys(options, KEYS, 'quantize');
  if (!(tensor instanceof tf.Tensor))
    throw new TypeError(`quantize: tensor, expected a tf.Tensor, got ${shown(tensor)}.`);
  if (tensor.isDisposed) throw new DisposedError('quantize: tensor has been disposed of.');
  const { use = 'matMul' } = options;
  const { dtype, shape } = tensor;
  if (dtype !== 'float32') throw new TypeError(`quantize: tensor, expected float32, got ${dtype}.`);
  if (use !== 'matMul' && use !== 'gather')
    throw new RangeError(`quantize: use, expected 'matMul' or 'gather', got ${shown(use)}.`);
  if (shape.length < 2 || (use === 'gather' && shape.length !== 2) || shape.includes(0))
    throw new RangeError(
      `quantize: tensor, expected a non-empty ${use === 'gather' ? '[rows, columns]' : '[…, K, N]'}, got [${shape}].`,
    );
}

function quantizeValues(tensor: Tensor, values: Float32Array, options: QuantizeTensorOptions): QuantizedTensor {
  const { tf, options: registered } = requireRegistration('quantize');
  const { shape } = tensor;
  checkFinite(values, shape, 'quantize');
  const { spec, data } = options.use === 'gather' ? tableOf(values, shape, options) : matrixOf(values, shape, options);
  const quantized = new QuantizedTensor(tf.tensor1d(data, 'int32'), spec);
  if (registered.override && spec.kind === 'matrix') rememberQuantized(tensor, quantized, options.transpose ?? false);
  return quantized;
}

/** @throws `RangeError` that names the first weight that is NaN or infinite */
export function checkFinite(values: Float32Array, shape: readonly number[], where: string): void {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new RangeError(
      `${where}: tensor[${coordinates(bad, shape)}], expected finite weights, got ${values[bad]}. Leave this one a float tensor.`,
    );
}

/** The indices of element `at` of a tensor. */
function coordinates(at: number, shape: readonly number[]): number[] {
  let rest = at;
  return shape.reduceRight<number[]>((found, size) => {
    found.unshift(rest % size);
    rest = Math.floor(rest / size);
    return found;
  }, []);
}

function tableOf(values: Float32Array, [rows, columns]: readonly number[], options: QuantizeTensorOptions) {
  const { format = 'int8', blockSize, asymmetric, transpose: transposed } = options;
  if (format !== 'int8' || (blockSize ?? null) !== null || asymmetric || transposed)
    throw new RangeError(
      "quantize: a table for 'gather' is int8 with one scale per row; leave format, blockSize, asymmetric and transpose out.",
    );
  return packTable(values, rows!, columns!);
}

function matrixOf(values: Float32Array, shape: readonly number[], options: QuantizeTensorOptions) {
  const batchShape = shape.slice(0, -2);
  const [first, second] = shape.slice(-2) as [number, number];
  const [N, K] = options.transpose ? [first, second] : [second, first];
  const matrixOptions: MatrixOptions = { ...options, format: options.format ?? 'int8' };
  return packMatrices(options.transpose ? values : eachTransposed(values, K, N), { batchShape, N, K }, matrixOptions);
}
