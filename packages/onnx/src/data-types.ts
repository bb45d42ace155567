/**
 * ONNX element types: the number in the file, the name that ONNX Runtime's JavaScript layer uses, and the bits per
 * element in `raw_data`.
 */

/** Element types that a tensor of the JavaScript layer can have, by their one spelling. */
export type DataTypeName =
  | 'float32'
  | 'uint8'
  | 'int8'
  | 'uint16'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'string'
  | 'bool'
  | 'float16'
  | 'float64'
  | 'uint32'
  | 'uint64'
  | 'uint4'
  | 'int4';

interface DataType {
  readonly code: number;
  readonly name: string;
  /** Bits per element in `raw_data`; 0 for strings, which have none. */
  readonly bits: number;
  /** False for types that only exist inside a file: ONNX Runtime's JavaScript layer has no tensor of them. */
  readonly inJs: boolean;
}

const TABLE: readonly DataType[] = [
  { code: 1, name: 'float32', bits: 32, inJs: true },
  { code: 2, name: 'uint8', bits: 8, inJs: true },
  { code: 3, name: 'int8', bits: 8, inJs: true },
  { code: 4, name: 'uint16', bits: 16, inJs: true },
  { code: 5, name: 'int16', bits: 16, inJs: true },
  { code: 6, name: 'int32', bits: 32, inJs: true },
  { code: 7, name: 'int64', bits: 64, inJs: true },
  { code: 8, name: 'string', bits: 0, inJs: true },
  { code: 9, name: 'bool', bits: 8, inJs: true },
  { code: 10, name: 'float16', bits: 16, inJs: true },
  { code: 11, name: 'float64', bits: 64, inJs: true },
  { code: 12, name: 'uint32', bits: 32, inJs: true },
  { code: 13, name: 'uint64', bits: 64, inJs: true },
  { code: 14, name: 'complex64', bits: 64, inJs: false },
  { code: 15, name: 'complex128', bits: 128, inJs: false },
  { code: 16, name: 'bfloat16', bits: 16, inJs: false },
  { code: 17, name: 'float8e4m3fn', bits: 8, inJs: false },
  { code: 18, name: 'float8e4m3fnuz', bits: 8, inJs: false },
  { code: 19, name: 'float8e5m2', bits: 8, inJs: false },
  { code: 20, name: 'float8e5m2fnuz', bits: 8, inJs: false },
  { code: 21, name: 'uint4', bits: 4, inJs: true },
  { code: 22, name: 'int4', bits: 4, inJs: true },
  { code: 23, name: 'float4e2m1', bits: 4, inJs: false },
  { code: 24, name: 'float8e8m0', bits: 8, inJs: false },
  { code: 25, name: 'uint2', bits: 2, inJs: false },
  { code: 26, name: 'int2', bits: 2, inJs: false },
];

const BY_CODE: ReadonlyMap<number, DataType> = /* @__PURE__ */ new Map(TABLE.map((type) => [type.code, type]));
const BY_NAME: ReadonlyMap<string, DataType> = /* @__PURE__ */ new Map(TABLE.map((type) => [type.name, type]));

/** ONNX's number for float32. */
export const FLOAT32 = 1;
/** ONNX's number for uint8. */
export const UINT8 = 2;
/** ONNX's number for int8. */
export const INT8 = 3;
/** ONNX's number for uint16. */
export const UINT16 = 4;
/** ONNX's number for int16. */
export const INT16 = 5;
/** ONNX's number for int32. */
export const INT32 = 6;
/** ONNX's number for int64. */
export const INT64 = 7;
/** ONNX's number for string. */
export const STRING = 8;
/** ONNX's number for bool. */
export const BOOL = 9;
/** ONNX's number for float16. */
export const FLOAT16 = 10;
/** ONNX's number for uint4. */
export const UINT4 = 21;
/** ONNX's number for int4. */
export const INT4 = 22;
/** ONNX's number for FLOAT4E2M1, the elements of MXFP4. */
export const FLOAT4E2M1 = 23;
/** ONNX's number for FLOAT8E8M0, the scales of MXFP4: powers of two. */
export const FLOAT8E8M0 = 24;
/** ONNX's number for uint2. */
export const UINT2 = 25;
/** ONNX's number for int2. */
export const INT2 = 26;

/** Is it f32 on the device, and a float in the model? */
export const isFloat = (code: number): boolean => code === FLOAT32 || code === FLOAT16;

/** The name of an element type, or `type <n>` for a number that no version of ONNX up to 1.22 has. */
export function dataTypeName(code: number): string {
  return BY_CODE.get(code)?.name ?? `type ${code}`;
}

/** Bits per element in `raw_data`, `undefined` for strings and unknown types. */
export function dataTypeBits(code: number): number | undefined {
  return BY_CODE.get(code)?.bits || undefined;
}

/** The name of an element type if JavaScript tensors can have it. */
export function jsDataType(code: number): DataTypeName | undefined {
  const type = BY_CODE.get(code);
  return type?.inJs ? (type.name as DataTypeName) : undefined;
}

/** The number of an element type, `undefined` for names that are not in the table. */
export function dataTypeCode(name: string): number | undefined {
  return BY_NAME.get(name)?.code;
}

/** The key of a node in the table of operators. */
export function operatorName({ domain, opType }: { readonly domain: string; readonly opType: string }): string {
  return domain === '' ? opType : `${domain}.${opType}`;
}
