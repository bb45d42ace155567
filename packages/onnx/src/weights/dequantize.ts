/**
 * DequantizeLinear of constants: real = scale · (q − zero point), one scale for all, for each index of an axis, or for
 * blocks along it.
 */

import { fp16Bits } from '@msd/core';
import { roundHalfEven } from '@msd/core/program';
import { dataTypeName, FLOAT8E8M0, FLOAT16, FLOAT32, INT8, UINT8 } from '../data-types.ts';
import { countOf, sameNumbers } from '../dims.ts';
import type { NodeView } from '../ops/operator.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { computedTensor } from './computed.ts';
import { hasNumbers, numbersReader } from './numbers.ts';

export interface Dequantize {
  readonly data: TensorRef;
  readonly scales: TensorRef;
  readonly zeroPoints: TensorRef | undefined;
  /** Indices of the axis; 1 = one scale for all. */
  readonly size: number;
  /** Elements between neighbours along the axis. */
  readonly inner: number;
  /** Is there a scale for each place beside the axis, too? */
  readonly hasBlocks: boolean;
  /** Indices of the axis that share a scale. */
  readonly blockSize: number;
}

/** Element types of scales that are floats, not powers of two. */
const FLOATS: ReadonlySet<number> = /* @__PURE__ */ new Set([FLOAT32, FLOAT16]);

/** What a node does to constants, or what is wrong with it. */
export function dequantizeOf(
  view: NodeView,
  data: TensorRef,
  scales: TensorRef,
  zeroPoints: TensorRef | undefined,
): Dequantize | string {
  if (!hasNumbers(data.elemType)) return `weights are ${dataTypeName(data.elemType)}`;
  if (!FLOATS.has(scales.elemType) && scales.elemType !== FLOAT8E8M0)
    return `scales are ${dataTypeName(scales.elemType)}`;
  if (zeroPoints && zeroPoints.elemType !== data.elemType)
    return `zero points are ${dataTypeName(zeroPoints.elemType)}`;
  if (zeroPoints && !sameNumbers(zeroPoints.dims, scales.dims) && elementCount(zeroPoints) !== elementCount(scales))
    return `zero points have shape [${zeroPoints.dims.join(', ')}]`;
  const { dims } = data;
  const given = view.int('block_size', 0);
  if (given === 0 && elementCount(scales) === 1)
    return {
      data,
      scales,
      zeroPoints,
      size: 1,
      inner: Math.max(1, elementCount(data)),
      hasBlocks: false,
      blockSize: 1,
    };
  const from = view.int('axis', 1);
  const axis = from < 0 ? from + dims.length : from;
  if (!(axis >= 0 && axis < dims.length)) return `axis ${from} of ${dims.length} dimensions`;
  const size = dims[axis]!;
  const hasBlocks = given > 0;
  const blockSize = hasBlocks ? given : 1;
  const expected = hasBlocks ? dims.with(axis, Math.ceil(size / given)) : [size];
  if (!sameNumbers(scales.dims, expected)) return `scales have shape [${scales.dims.join(', ')}]`;
  const inner = countOf(dims.slice(axis + 1));
  return { data, scales, zeroPoints, size, inner, hasBlocks, blockSize };
}

/** Which scale an element has: it never goes down within one pass over the axis. */
export function scaleIndex(of: Dequantize): (at: number) => number {
  const { size, inner, hasBlocks, blockSize } = of;
  const blocks = Math.ceil(size / blockSize);
  return (at) => {
    const along = Math.floor(at / inner);
    const block = Math.floor((along % size) / blockSize);
    return hasBlocks ? (Math.floor(along / size) * blocks + block) * inner + (at % inner) : block;
  };
}

/** Scales and zero points of a stretch of elements. */
interface Coding {
  readonly scales: ArrayLike<number>;
  readonly zeros: ArrayLike<number> | undefined;
  /** Where those of an element are. */
  readonly index: (at: number) => number;
}

/** Reads no more of them than a stretch needs. @param zeroPoints one for each scale; absent: 0 */
function codingReader(of: Dequantize, zeroPoints: TensorRef | undefined): (begin: number, count: number) => Coding {
  const { scales, size, inner, hasBlocks } = of;
  const scaleOf = scaleIndex(of);
  const span = (begin: number, last: number): readonly [first: number, count: number] => {
    if (!hasBlocks && Math.floor(begin / inner / size) !== Math.floor(last / inner / size)) return [0, size];
    const [first, end] = hasBlocks
      ? [scaleOf(begin - (begin % inner)), scaleOf(last - (last % inner)) + inner]
      : [scaleOf(begin), scaleOf(last) + 1];
    return [first, end - first];
  };
  return (begin, count) => {
    const [first, scaleCount] = span(begin, begin + count - 1);
    return {
      scales: numbersReader(scales)!(first, scaleCount),
      zeros: zeroPoints && numbersReader(zeroPoints)!(first, scaleCount),
      index: (at) => scaleOf(at) - first,
    };
  };
}

/** The floats that it makes: f32, or fp16 where scales are. */
export function dequantized(name: string, elemType: number, of: Dequantize): TensorRef {
  const { data, scales, zeroPoints } = of;
  const tensors = zeroPoints ? [data, scales, zeroPoints] : [data, scales];
  const type = { name, elemType, dims: data.dims };
  const codingOf = codingReader(of, zeroPoints);
  return computedTensor(type, tensors, (begin, count, out) => {
    if (count === 0) return;
    const codes = numbersReader(data)!(begin, count);
    const { scales: scale, zeros, index } = codingOf(begin, count);
    const floats = elemType === FLOAT16 ? new Float32Array(count) : new Float32Array(out.buffer, out.byteOffset, count);
    for (let i = 0; i < count; i++) {
      const at = index(begin + i);
      floats[i] = Math.fround(codes[i]! - (zeros ? zeros[at]! : 0)) * scale[at]!;
    }
    if (elemType === FLOAT16) new Uint16Array(out.buffer, out.byteOffset, count).set(fp16Bits(floats));
  });
}

/** Codes of 8 bits that floats become, by scales that are known as a DequantizeLinear's are: each rounded half to even, and clipped. */
export function quantized(
  name: string,
  elemType: number,
  of: Dequantize,
  zeroPoints: TensorRef | undefined,
): TensorRef | undefined {
  const ends = elemType === INT8 ? [-128, 127] : elemType === UINT8 ? [0, 255] : undefined;
  const { data, scales } = of;
  if (!ends || scales.elemType !== FLOAT32 || data.elemType !== FLOAT32) return undefined;
  const [least, most] = ends as [number, number];
  const codingOf = codingReader(of, zeroPoints);
  const type = { name, elemType, dims: data.dims };
  return computedTensor(type, zeroPoints ? [data, scales, zeroPoints] : [data, scales], (begin, count, out) => {
    if (count === 0) return;
    const floats = numbersReader(data)!(begin, count);
    const { scales: scale, zeros, index } = codingOf(begin, count);
    for (let i = 0; i < count; i++) {
      const at = index(begin + i);
      const code = roundHalfEven(Math.fround(floats[i]! / scale[at]!)) + (zeros ? zeros[at]! : 0);
      out[i] = Math.min(Math.max(code, least), most);
    }
  });
}
