/**
 * Integers behind a DequantizeLinear as a quantized matrix: of 8, 4 or 2 bits or E2M1, as [N, K] or [K, N], one scale for all, for
 * each output channel, or for blocks along K.
 */
import type { FormatId, QuantizedWeights } from '@msd/core';
import {
  dataTypeBits,
  dataTypeName,
  FLOAT4E2M1,
  FLOAT8E8M0,
  FLOAT16,
  INT2,
  INT4,
  INT8,
  UINT2,
  UINT4,
  UINT8,
} from '../data-types.ts';
import { elementCount, type TensorRef, tensorBytes } from '../read/tensor.ts';
import { columnsMatrix } from './columns.ts';
import { computedTensor } from './computed.ts';
import { type Dequantize, scaleIndex } from './dequantize.ts';
import { bytesOf, type Matrix, matrixKey } from './matrix.ts';
import { numbersReader, putCode } from './numbers.ts';
import { rowPacker } from './row-packer.ts';

/** How [N, K] lies in the file. */
export interface Layout {
  readonly N: number;
  readonly K: number;
  /** K elements of an output channel lie behind each other, or N of one k. */
  readonly byRows: boolean;
}

/** Which scale a weight has: that of (n, first k of a block). */
interface ScaleMap {
  /** k that share one; `null` = all of a row. */
  readonly blockSize: number | null;
  /** One for the whole matrix. */
  readonly isOne: boolean;
  at(n: number, block: number): number;
}

const FORMATS: ReadonlyMap<number, FormatId> = /* @__PURE__ */ new Map([
  [INT8, 'int8'],
  [UINT8, 'int8'],
  [INT4, 'int4'],
  [UINT4, 'int4'],
  [INT2, 'int2'],
  [UINT2, 'int2'],
  [FLOAT4E2M1, 'mxfp4'],
]);
const SIGNED: ReadonlySet<number> = /* @__PURE__ */ new Set([INT8, INT4, INT2]);
/** Formats without a scale per channel get blocks of at most this many k, which repeat it. */
const REPEATED_BLOCK = 256;

/**
 * @param refusedScale why kernels do not take one of them
 * @returns why kernels do not have it
 */
export function dequantizedMatrix(
  of: Dequantize,
  layout: Layout,
  refusedScale: (scales: TensorRef) => string | undefined,
): Matrix | string {
  const { data, scales } = of;
  const format = FORMATS.get(data.elemType);
  if (format === undefined) return `weights are ${dataTypeName(data.elemType)}`;
  const isMx = format === 'mxfp4';
  if (isMx !== (scales.elemType === FLOAT8E8M0))
    return `scales of ${dataTypeName(data.elemType)} are ${dataTypeName(scales.elemType)}`;
  const map = scaleMap(of, layout);
  if (typeof map === 'string') return map;
  if (isMx && (map.blockSize !== 32 || of.zeroPoints)) return 'float4e2m1 is not in blocks of 32 without zero points';
  const bad = isMx ? undefined : refusedScale(scales);
  if (bad !== undefined) return bad;
  if (format === 'int8' && map.blockSize === null) return channelMatrix(of, layout, map);
  const blockSize = kernelBlock(format, map.blockSize, layout.K);
  if (blockSize === undefined) return `blocks of ${map.blockSize} of ${dataTypeName(data.elemType)}`;
  return blockMatrix(of, layout, map, format, blockSize);
}

/** How the index of a scale follows from (n, k), or why it depends on more than a block of a row. */
function scaleMap(of: Dequantize, { N, K, byRows }: Layout): ScaleMap | string {
  const { size, inner, hasBlocks, blockSize } = of;
  if (size === 1 && !hasBlocks) return { blockSize: null, isOne: true, at: () => 0 };
  // An element for each n, wherever the axis is.
  if (K === 1) return { blockSize: null, isOne: false, at: scaleIndex(of) };
  if (!hasBlocks && byRows && inner < K && K % inner === 0 && size * inner === N * K) {
    // A row of the file for each block: how tools without a DequantizeLinear of blocks write them.
    const blocks = K / inner;
    return { blockSize: inner, isOne: false, at: (n, block) => n * blocks + block };
  }
  if (!hasBlocks) {
    // The axis has to lie within n: then k, which is all that is left, does not move the index.
    const step = byRows ? inner / K : inner;
    const isChannel = Number.isInteger(step) && (byRows ? N : N / step) % size === 0 && (byRows || N % step === 0);
    if (!isChannel) return 'scales differ along K';
    return { blockSize: null, isOne: false, at: (n: number) => Math.floor(n / step) % size };
  }
  const isAlongK = inner === (byRows ? 1 : N) && K % size === 0 && (size === K || size % blockSize === 0);
  if (!isAlongK) return 'blocks do not lie along K';
  const blocks = Math.ceil(K / blockSize);
  const at = byRows ? (n: number, block: number) => n * blocks + block : (n: number, block: number) => block * N + n;
  return { blockSize, isOne: false, at };
}

/** What kernels have for blocks of a size: the largest power of two in it, whose scale is repeated. */
function kernelBlock(format: FormatId, given: number | null, K: number): number | undefined {
  const least = format === 'int4' ? 16 : 32;
  if (given === null || given >= K) {
    let block = least;
    while (block < Math.min(K, REPEATED_BLOCK)) block *= 2;
    return block;
  }
  const block = given & -given;
  return block >= least ? block : undefined;
}

/** One or N scales, in the order of n. */
function channelMatrix({ data, scales, zeroPoints }: Dequantize, { N, K, byRows }: Layout, map: ScaleMap): Matrix {
  const channels = (tensor: TensorRef): TensorRef => {
    if (map.isOne || isInOrder(map, N)) return tensor;
    const bytes = dataTypeBits(tensor.elemType)! / 8;
    const type = { name: tensor.name, elemType: tensor.elemType, dims: [N] };
    return computedTensor(type, [tensor], (begin, count, out) => {
      const from = rawOf(tensor);
      for (let n = 0; n < count; n++) {
        const at = map.at(begin + n, 0) * bytes;
        out.set(from.subarray(at, at + bytes), n * bytes);
      }
    });
  };
  return columnsMatrix({
    N,
    K,
    data,
    byRows,
    scales: [channels(scales)],
    zeroPoints: zeroPoints && channels(zeroPoints),
  });
}

function isInOrder(map: ScaleMap, N: number): boolean {
  for (let n = 0; n < N; n++) if (map.at(n, 0) !== n) return false;
  return true;
}

function blockMatrix(of: Dequantize, layout: Layout, map: ScaleMap, format: FormatId, blockSize: number): Matrix {
  const { data, scales, zeroPoints } = of;
  const { N, K, byRows } = layout;
  const isSigned = SIGNED.has(data.elemType);
  const bits = dataTypeBits(data.elemType)!;
  const blocks = Math.ceil(K / blockSize);
  /** The block of the file that a kernel's block lies in. */
  const fileBlock = (block: number): number =>
    map.blockSize === null ? 0 : Math.floor((block * blockSize) / map.blockSize);
  const zeros = format === 'mxfp4' ? undefined : storedZeroPoints(zeroPoints, isSigned, bits);
  const isHalf = scales.elemType === FLOAT16 && format !== 'int2';
  const scale = format === 'mxfp4' ? 'e8m0' : isHalf ? 'f16' : 'f32';
  return {
    key: matrixKey(
      'dequantized',
      [N, K, byRows, blockSize, of.size, of.inner, of.blockSize],
      [data, scales, zeroPoints],
    ),
    format,
    N,
    K,
    blockSize,
    storedZeroPoints: zeros !== undefined,
    scale,
    fileBytes: bytesOf(data, scales, zeroPoints),
    tensors: [data, scales, ...(zeroPoints ? [zeroPoints] : [])],
    open() {
      const rows = rowPacker(data, layout, blocks * blockSize, bits, isSigned);
      const all = scaleArray(scales, scale);
      return (n, count, into): QuantizedWeights => {
        const some = new (all.constructor as new (length: number) => typeof all)(count * blocks);
        for (let row = 0, to = 0; row < count; row++)
          for (let block = 0; block < blocks; block++) some[to++] = all[map.at(n + row, fileBlock(block))]!;
        const bytes = rows(n, count, into);
        const isInt8 = format === 'int8' && isSigned;
        return {
          format,
          N: count,
          K,
          blockSize,
          data: isInt8 ? new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) : bytes,
          scales: some,
          ...(zeros && {
            zeroPoints: packedZeros({ bits, isInt8, count, blocks }, (row, block) =>
              zeros.length === 1 ? zeros[0]! : zeros[map.at(n + row, fileBlock(block))]!,
            ),
          }),
        };
      };
    },
  };
}

function scaleArray(scales: TensorRef, kind: 'f32' | 'f16' | 'e8m0'): Float32Array | Uint16Array | Uint8Array {
  const bytes = rawOf(scales);
  if (kind === 'e8m0') return bytes;
  if (kind === 'f16') return new Uint16Array(bytes.buffer);
  return Float32Array.from(numbersReader(scales)!(0, elementCount(scales)));
}

/** Zero points in the units of @msd/core's codes: none where weights are symmetric. A DequantizeLinear without any has 0. */
function storedZeroPoints(tensor: TensorRef | undefined, isSigned: boolean, bits: number): Int16Array | undefined {
  const given = tensor ? numbersReader(tensor)!(0, elementCount(tensor)) : [0];
  // Signed codes of few bits are kept as unsigned ones, from the middle up.
  const middle = 2 ** (bits - 1);
  const symmetric = bits === 8 && isSigned ? 0 : middle;
  const shift = isSigned && bits < 8 ? middle : 0;
  const zeros = Int16Array.from(given, (zero) => zero + shift);
  return zeros.every((zero) => zero === symmetric) ? undefined : zeros;
}

interface ZeroRows {
  readonly bits: number;
  readonly isInt8: boolean;
  /** Rows, and blocks of each. */
  readonly count: number;
  readonly blocks: number;
}

/** Zero points of some rows, packed like the codes. */
function packedZeros(
  { bits, isInt8, count, blocks }: ZeroRows,
  zeroOf: (row: number, block: number) => number,
): Uint8Array | Int8Array {
  const rowBytes = Math.ceil((blocks * bits) / 8);
  const out = isInt8 ? new Int8Array(count * rowBytes) : new Uint8Array(count * rowBytes);
  for (let row = 0; row < count; row++)
    for (let block = 0; block < blocks; block++) putCode(out, row * rowBytes, block, bits, zeroOf(row, block));
  return out;
}

/** All bytes, at an address that any array can start at. */
const rawOf = (tensor: TensorRef): Uint8Array<ArrayBuffer> => new Uint8Array(tensorBytes(tensor));
