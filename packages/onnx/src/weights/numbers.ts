/** Elements of constants as numbers, whatever few bits a file keeps them in. */
import { floatsOfFp16 } from '@msd/core';
import {
  dataTypeBits,
  FLOAT4E2M1,
  FLOAT8E8M0,
  FLOAT16,
  FLOAT32,
  INT2,
  INT4,
  INT8,
  INT16,
  INT32,
  UINT2,
  UINT4,
  UINT8,
  UINT16,
} from '../data-types.ts';
import { elementsIn, floatsOf, halvesIn, partReader, type TensorRef } from '../read/tensor.ts';

/** Elements [begin, begin + count) in row-major order. */
export type ReadNumbers = (begin: number, count: number) => ArrayLike<number>;

type Decode = (bytes: Uint8Array) => ArrayLike<number>;

const DECODERS: ReadonlyMap<number, Decode> = /* @__PURE__ */ new Map<number, Decode>([
  [FLOAT32, floatsOf],
  [FLOAT16, (bytes) => floatsOfFp16(halvesIn(bytes))],
  [INT8, (bytes) => elementsIn(bytes, Int8Array)],
  [UINT8, (bytes) => bytes],
  [INT16, (bytes) => elementsIn(bytes, Int16Array)],
  [UINT16, halvesIn],
  [INT32, (bytes) => elementsIn(bytes, Int32Array)],
  [FLOAT8E8M0, (bytes) => Float64Array.from(bytes, (code) => (code === 255 ? Number.NaN : 2 ** (code - 127)))],
]);

const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** What a code of few bits stands for. */
const NUMBERS: ReadonlyMap<number, Float32Array> = /* @__PURE__ */ new Map([
  [UINT2, Float32Array.of(0, 1, 2, 3)],
  [INT2, Float32Array.of(0, 1, -2, -1)],
  [UINT4, Float32Array.from({ length: 16 }, (_, code) => code)],
  [INT4, Float32Array.from({ length: 16 }, (_, code) => (code ^ 8) - 8)],
  [FLOAT4E2M1, Float32Array.from([...E2M1, ...E2M1.map((value) => -value)])],
]);

/** Can elements of this type be read as numbers? */
export const hasNumbers = (elemType: number): boolean => DECODERS.has(elemType) || NUMBERS.has(elemType);

/** @returns `undefined` for types that {@link hasNumbers} does not know */
export function numbersReader(tensor: TensorRef): ReadNumbers | undefined {
  const bits = dataTypeBits(tensor.elemType)!;
  const decode = DECODERS.get(tensor.elemType);
  const numbers = NUMBERS.get(tensor.elemType);
  if (decode) {
    const read = partReader(tensor);
    return (begin, count) => decode(read((begin * bits) / 8, (count * bits) / 8));
  }
  if (!numbers) return undefined;
  const codes = codesReader(tensor, bits);
  return (begin, count) => {
    const out = new Float32Array(count);
    for (const [i, code] of codes(begin, count).entries()) out[i] = numbers[code]!;
    return out;
  };
}

/** Codes of less than 8 bits, the first one in the lowest bits of a byte, each in a byte of its own. */
export function codesReader(tensor: TensorRef, bits: number): (begin: number, count: number) => Uint8Array {
  const read = partReader(tensor);
  const perByte = 8 / bits;
  const mask = 2 ** bits - 1;
  return (begin, count) => {
    const first = Math.floor(begin / perByte);
    const bytes = read(first, Math.ceil((begin + count) / perByte) - first);
    const out = new Uint8Array(count);
    let at = begin - first * perByte;
    for (let i = 0; i < count; i++, at++) out[i] = (bytes[Math.floor(at / perByte)]! >> ((at % perByte) * bits)) & mask;
    return out;
  };
}

/** Code i of a row that begins at byte `row`. */
export const codeAt = (bytes: ArrayLike<number>, row: number, i: number, bits: number): number =>
  (bytes[row + ((i * bits) >> 3)]! >> ((i * bits) & 7)) & (2 ** bits - 1);

/** Writes it. The place holds zeros. */
export function putCode(bytes: Uint8Array | Int8Array, row: number, i: number, bits: number, code: number): void {
  bytes[row + ((i * bits) >> 3)]! |= code << ((i * bits) & 7);
}

/** Codes, one per byte, packed again: rows of `length`, each padded with zeros to `rowBytes`. */
export function packCodes(codes: Uint8Array, bits: number, length: number, rowBytes: number, out: Uint8Array): void {
  out.fill(0);
  for (let row = 0, at = 0; at < codes.length; row++)
    for (let k = 0; k < length; k++, at++) putCode(out, row * rowBytes, k, bits, codes[at]!);
}
