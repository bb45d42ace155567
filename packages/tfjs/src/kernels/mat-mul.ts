/**
 * MsdMatMul: y[…,n] = Σ_k x[…,k] · w[k,n] (+ bias[n]), w packed.
 *
 *   inputs   x f32 […,K], w int32 (packed), bias f32 [N]
 *   attrs    spec: MatrixSpec, components, activationBlock, activation: one of the core's, applied last
 *
 * With batched weights [B…,K,N] the leading dimensions of x broadcast against B, as in tf.matMul.
 */
import type { ActivationBlock, ActivationId } from '@msd/core';
import { sizeOf } from '../shapes.ts';
import { type MatrixSpec, matrixCount } from '../spec.ts';
import type { TensorInfo } from '../tf.ts';
import type { Host, ProductOptions } from './host.ts';

export interface MatMulInputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly bias?: TensorInfo;
}

export interface MatMulAttrs {
  readonly spec: MatrixSpec;
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  /** Only for weights of one plane without an offset: {@link canFuse}. */
  readonly activation?: ActivationId | undefined;
}

/** Can the kernel end with an activation? Otherwise something is added after the product. */
export const canFuse = ({ planes, offset }: MatrixSpec): boolean => planes === 1 && offset === 0;

/** A product per matrix. */
export function msdMatMul({ x, w, bias }: MatMulInputs, attrs: MatMulAttrs, host: Host): TensorInfo {
  const { spec, components, activationBlock, activation } = attrs;
  const { K, N } = spec;
  const { shape, products } = plan(x.shape, spec);
  return host.output(shape, bias ? [x, w, bias] : [x, w], (y) => {
    for (const { xAt, yAt, matrix, M } of products) {
      const [rows, out] = [host.at(x, xAt, M * K), host.at(y, yAt, M * N)];
      const options = { M, components, activationBlock, activation, bias: bias && host.at(bias, 0, N), out };
      multiply(host, rows, w, spec, matrix, options);
    }
  });
}

/** Rows times one matrix; a second plane and an offset are added to what the first has left in `out`. */
export function multiply<Place>(
  to: Pick<Host<Place>, 'product' | 'addOffset'>,
  rows: Place,
  w: TensorInfo,
  spec: MatrixSpec,
  matrix: number,
  options: ProductOptions<Place>,
): void {
  const { K, N, planes, offset } = spec;
  const { bias, activation, ...rest } = options;
  const { M, out } = options;
  to.product(rows, w, spec, matrix * planes, options);
  if (planes === 2) to.product(rows, w, spec, matrix * 2 + 1, { ...rest, residual: out });
  if (offset) to.addOffset(rows, { M, K, N, offset, out });
}

interface Product {
  readonly xAt: number;
  readonly yAt: number;
  readonly matrix: number;
  readonly M: number;
}

/** Shape of y, and the products that it consists of. Shapes were checked by the caller. */
function plan(x: readonly number[], spec: MatrixSpec): { shape: number[]; products: Product[] } {
  const { K, N, batchShape } = spec;
  if (matrixCount(spec) === 1 && batchShape.length <= Math.max(0, x.length - 2))
    return {
      shape: [...x.slice(0, -1), N],
      products: [{ xAt: 0, yAt: 0, matrix: 0, M: sizeOf(x.slice(0, -1)) }],
    };
  const M = x.length > 1 ? x[x.length - 2]! : 1;
  const lead = x.slice(0, -2);
  const rank = Math.max(lead.length, batchShape.length);
  const padded = (shape: readonly number[]) => [...Array<number>(rank - shape.length).fill(1), ...shape];
  const [xDims, wDims] = [padded(lead), padded(batchShape)];
  const dims = xDims.map((dim, i) => (dim === 1 ? wDims[i]! : dim));
  const products: Product[] = [];
  for (let i = 0; i < sizeOf(dims); i++) {
    let [xIndex, wIndex, rest, xStride, wStride] = [0, 0, i, 1, 1];
    for (let d = rank - 1; d >= 0; d--) {
      const at = rest % dims[d]!;
      rest = Math.floor(rest / dims[d]!);
      if (xDims[d] !== 1) xIndex += at * xStride;
      if (wDims[d] !== 1) wIndex += at * wStride;
      xStride *= xDims[d]!;
      wStride *= wDims[d]!;
    }
    products.push({ xAt: xIndex * M * K, yAt: i * M * N, matrix: wIndex, M });
  }
  return { shape: [...dims, ...(x.length > 1 ? [M] : []), N], products };
}
