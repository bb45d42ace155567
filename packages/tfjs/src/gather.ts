/** Look-ups in quantized tables. */
import { shown } from './errors.ts';
import { realTensor, runsHere } from './fallback.ts';
import { GATHER, SPARSE_SEGMENT } from './kernels/index.ts';
import { noGradient } from './mat-mul.ts';
import { checkQuantized, type QuantizedTensor } from './quantized-tensor.ts';
import { describeSpec, matrixCount } from './spec.ts';
import { requireRegistration } from './state.ts';
import type { Tensor, TfNamespace } from './tf.ts';

/**
 * Like `tf.gather(table, indices)`: rows of a quantized table.
 *
 * @param w from `quantize(table, { use: 'gather' })`; or a matrix that was quantized with `transpose: true`, whose rows
 * [N,K] are then looked up (tied embeddings)
 * @param indices int32 of any shape
 * @returns [...indices.shape, columns]
 * @throws `RangeError` for an index that is no row; indices that lie on a GPU are not read back, and give zeros
 * @example
 * ```ts
 * const rows = gather(table, tf.tensor1d([3, 1, 4], 'int32'));
 * ```
 */
export function gather(w: QuantizedTensor, indices: Tensor): Tensor {
  const { tf } = requireRegistration('gather');
  checkTable(w, 'gather');
  checkIndices(tf, indices, 'indices', 'gather');
  return tf.tidy(() => {
    if (runsHere(tf))
      return tf.engine().runKernel(GATHER, { w: w.packed, indices }, { spec: w.spec as never }) as Tensor;
    return tf.gather(floatRows(tf, w), indices as never);
  });
}

/** Like `tf.sparse.sparseSegmentMean(table, indices, segmentIds)`. */
export function sparseSegmentMean(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor {
  return sparseSegment(w, indices, segmentIds, true);
}

/** Like `tf.sparse.sparseSegmentSum(table, indices, segmentIds)`. */
export function sparseSegmentSum(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor {
  return sparseSegment(w, indices, segmentIds, false);
}

function sparseSegment(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor, mean: boolean): Tensor {
  const where = mean ? 'sparseSegmentMean' : 'sparseSegmentSum';
  const { tf } = requireRegistration(where);
  checkTable(w, where);
  checkIndices(tf, indices, 'indices', where, 1);
  checkIndices(tf, segmentIds, 'segmentIds', where, 1);
  if (indices.size !== segmentIds.size)
    throw new RangeError(`${where}: segmentIds, expected ${indices.size} like indices, got ${segmentIds.size}.`);
  return tf.tidy(() => {
    const inputs = { w: w.packed, indices, segmentIds };
    if (runsHere(tf)) return tf.engine().runKernel(SPARSE_SEGMENT, inputs, { spec: w.spec as never, mean }) as Tensor;
    const { sparse } = tf;
    const reduce = mean ? sparse.sparseSegmentMean : sparse.sparseSegmentSum;
    return reduce(floatRows(tf, w) as never, indices as never, segmentIds as never) as Tensor;
  });
}

/** The table of a backend without MSD's kernels; a matrix's rows lie along its last dimension. */
function floatRows(tf: TfNamespace, w: QuantizedTensor): Tensor {
  const real = realTensor(tf, w);
  return w.spec.kind === 'table' ? real : tf.transpose(real);
}

/** A table that is to be trained says so, instead of that there is no such gradient. */
export const gatherGradient = { kernelName: GATHER, gradFunc: () => ({ w: () => noGradient('gather') }) };

function checkTable(w: unknown, where: string): asserts w is QuantizedTensor {
  checkQuantized(w, where);
  if (w.spec.kind === 'matrix' && (matrixCount(w.spec) > 1 || w.spec.powers))
    throw new RangeError(`${where}: w, expected a table [rows, columns], got ${describeSpec(w.spec)}.`);
}

function checkIndices(tf: TfNamespace, tensor: unknown, name: string, where: string, rank?: number): void {
  if (!(tensor instanceof tf.Tensor) || tensor.dtype !== 'int32')
    throw new TypeError(
      `${where}: ${name}, expected an int32 tensor, got ${tensor instanceof tf.Tensor ? tensor.dtype : shown(tensor)}.`,
    );
  if (rank !== undefined && tensor.rank !== rank)
    throw new RangeError(`${where}: ${name}, expected rank ${rank}, got [${tensor.shape}].`);
}
