/** The kernels by name on tfjs's WebGPU backend, the packed tensor bound as it lies. Shapes were checked by the caller. */
import type { ActivationId } from '@msd/core';
import { type MatrixSpec, matrixCount, planeBytes, type QuantizedSpec, realShape, rowLength } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import { checkIndices, checkSegments, type SparseSegmentInputs } from './gather.ts';
import { recorded, valuesOf, valuesOnCpu } from './gpu-host.ts';
import { type MatMulAttrs, type MatMulInputs, plan } from './mat-mul.ts';

/** One product per matrix; a second plane and an offset are added to what the first has left in y. */
export function msdMatMulGpu({ x, w, bias }: MatMulInputs, attrs: MatMulAttrs, backend: object): TensorInfo {
  const { spec, components, activationBlock, activation } = attrs;
  const { K, N, planes, offset } = spec;
  const { shape, products } = plan(x.shape, spec);
  return recorded(backend, shape, bias ? [x, w, bias] : [x, w], ({ msd, pass, at, plane }, y) => {
    for (const { xAt, yAt, matrix, M } of products) {
      const [rows, out] = [at(x, xAt, M * K), at(y, yAt, M * N)];
      const options = { M, components, activationBlock, out };
      msd.record(pass, rows, plane(w, spec, matrix * planes), {
        ...options,
        activation: activation as ActivationId | undefined,
        bias: bias && at(bias, 0, N),
      });
      if (planes === 2) msd.record(pass, rows, plane(w, spec, matrix * 2 + 1), { ...options, residual: out });
      if (offset) msd.recordOffset(pass, rows, { M, K, N, offset, out });
    }
    return products.length * (2 * planes + (offset ? 1 : 0));
  });
}

/** Indices that lie on the GPU are not read back to be checked: one that is no row gives zeros, as in tfjs. */
export function msdGatherGpu(
  { w, indices }: { readonly w: TensorInfo; readonly indices: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  backend: object,
): TensorInfo {
  checkIndices(valuesOnCpu(backend, indices), spec, 'gather');
  return recorded(backend, [...indices.shape, rowLength(spec)], [w, indices], ({ msd, pass, at }, y) => {
    msd.recordRows(pass, spec, at(w), { indices: at(indices), out: at(y) });
    return 1;
  });
}

/** How many segments a tensor of ids has, once that is known: their values decide about the shape of a result. */
const segmentCounts = /* @__PURE__ */ new WeakMap<DataId, number>();

export function msdSparseSegmentGpu(
  { w, indices, segmentIds }: SparseSegmentInputs,
  { spec, mean }: { readonly spec: QuantizedSpec; readonly mean: boolean },
  backend: object,
): TensorInfo {
  const where = mean ? 'sparseSegmentMean' : 'sparseSegmentSum';
  checkIndices(valuesOnCpu(backend, indices), spec, where);
  let count = segmentCounts.get(segmentIds.dataId);
  if (count === undefined) {
    count = indices.shape[0] ? checkSegments(valuesOf(backend, segmentIds), where) : 0;
    segmentCounts.set(segmentIds.dataId, count);
  }
  const segments = count;
  return recorded(backend, [segments, rowLength(spec)], [w, indices, segmentIds], ({ msd, pass, at }, y) => {
    const options = { indices: at(indices), segments: { ids: at(segmentIds), count: segments, mean } };
    msd.recordRows(pass, spec, at(w), { ...options, out: at(y) });
    return 1;
  });
}

export function msdDequantizeGpu(
  { w }: { readonly w: TensorInfo },
  { spec }: { readonly spec: QuantizedSpec },
  backend: object,
): TensorInfo {
  return recorded(backend, realShape(spec), [w], ({ msd, pass, at }, y) => {
    if (spec.kind === 'table') {
      msd.recordRows(pass, spec, at(w), { out: at(y) });
      return 1;
    }
    const [length, size] = [(spec.planes * planeBytes(spec)) / 4, spec.K * spec.N];
    const count = matrixCount(spec);
    for (let i = 0; i < count; i++)
      msd.recordRows(pass, spec satisfies MatrixSpec, at(w, i * length, length), { out: at(y, i * size, size) });
    return count;
  });
}
