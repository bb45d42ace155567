/**
 * MsdMatMul: y[…,n] = Σ_k x[…,k] · w[k,n] (+ bias[n]), w packed, on the backends whose memory MSD can reach.
 *
 *   inputs   x f32 […,K], w int32 (packed), bias f32 [N]
 *   attrs    spec: MatrixSpec, components, activationBlock, activation: one of the core's, applied last
 *
 * With batched weights [B…,K,N] the leading dimensions of x broadcast against B, as in tf.matMul.
 */
import type { ActivationId, PreparedWeights } from '@msd/core';
import { type MatrixSpec, matrixCount, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import { type Host, hostOf } from './host.ts';

export interface MatMulInputs {
  readonly x: TensorInfo;
  readonly w: TensorInfo;
  readonly bias?: TensorInfo;
}

export interface MatMulAttrs {
  readonly spec: MatrixSpec;
  readonly components: 1 | 2;
  readonly activationBlock: 'row' | 256 | 32;
  /** Only for weights of one plane without an offset: {@link canFuse}. */
  readonly activation?: ActivationId | undefined;
}

/** Can the kernel end with an activation? Otherwise something is added after the product. */
export const canFuse = ({ planes, offset }: MatrixSpec): boolean => planes === 1 && offset === 0;

export function msdMatMulKernel(inputs: MatMulInputs, attrs: MatMulAttrs, backend: object): TensorInfo {
  const { x, w, bias } = inputs;
  const { spec, components, activationBlock, activation } = attrs;
  const host = hostOf(backend);
  const { shape, products } = plan(x.shape, spec);
  const y = host.output(shape);
  if (shape.includes(0)) return y;
  try {
    for (const { xAt, yAt, matrix, M } of products) {
      const [xPart, yPart] = [part(host, x, xAt, M * spec.K), part(host, y, yAt, M * spec.N)];
      const options = { M, components, activationBlock };
      const end = { bias: bias && host.operand(bias), activation, out: yPart };
      host.msd.matmul(xPart, prepared(host, w, spec, matrix * spec.planes), { ...options, ...end });
      if (spec.planes === 2) addPlane(host, xPart, prepared(host, w, spec, matrix * 2 + 1), yPart, options);
      if (spec.offset) addOffset(host, xPart, yPart, M, spec);
    }
  } catch (error) {
    host.release(y);
    throw error;
  }
  return y;
}

type Operand = ReturnType<Host['operand']>;

/** `length` values of a tensor from element `at` on. */
function part(host: Host, tensor: TensorInfo, at: number, length: number): Operand {
  const whole = host.operand(tensor);
  if (whole instanceof Float32Array) return whole.subarray(at, at + length);
  return host.msd.arena.at(whole.ptr + 4 * at, 4 * length);
}

const values = (host: Host, operand: Operand): Float32Array =>
  operand instanceof Float32Array ? operand : host.msd.arena.float32(operand);

/** The second plane's product on top of the first one's. */
function addPlane(
  host: Host,
  x: Operand,
  w: PreparedWeights,
  y: Operand,
  options: Omit<MatMulAttrs, 'spec' | 'activation'>,
): void {
  const second = host.msd.matmul(x, w, options) as Float32Array;
  const sum = values(host, y);
  for (let i = 0; i < second.length; i++) sum[i] += second[i];
}

/** offset · Σ_k x[m,k], the same for every column. */
function addOffset(host: Host, x: Operand, y: Operand, M: number, { K, N, offset }: MatrixSpec): void {
  const [from, to] = [values(host, x), values(host, y)];
  for (let m = 0; m < M; m++) {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += from[m * K + k];
    const term = offset * sum;
    for (let n = 0; n < N; n++) to[m * N + n] += term;
  }
}

interface Product {
  readonly xAt: number;
  readonly yAt: number;
  readonly matrix: number;
  readonly M: number;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Shape of y, and the products that it consists of. Shapes were checked by the caller. */
export function plan(x: readonly number[], spec: MatrixSpec): { shape: number[]; products: Product[] } {
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

/** Adopted matrices by tensor, as long as they stay where they are. */
const adopted = /* @__PURE__ */ new WeakMap<DataId, { readonly matrix: PreparedWeights; readonly ptr: number }[]>();

function prepared(host: Host, w: TensorInfo, spec: MatrixSpec, plane: number): PreparedWeights {
  const byteLength = planeBytes(spec);
  const handle = host.packed(w, plane * byteLength, byteLength);
  let planes = adopted.get(w.dataId);
  if (!planes) adopted.set(w.dataId, (planes = []));
  const known = planes[plane];
  if (known && known.ptr === handle.ptr && known.matrix.backend === host.msd && isOf(known.matrix, spec))
    return known.matrix;
  const matrix = host.msd.adopt(spec, handle);
  planes[plane] = { matrix, ptr: handle.ptr };
  return matrix;
}

const isOf = (matrix: PreparedWeights, { format, N, K, blockSize }: MatrixSpec): boolean =>
  matrix.format === format && matrix.N === N && matrix.K === K && matrix.blockSize === blockSize;
