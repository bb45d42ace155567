/** Arrays of NumPy: `.npy`, and archives of them, `.npz`, stored or deflated. */
import { inflateRawSync } from 'node:zlib';
import { UserError } from '../shared/errors.ts';

/** An array as ONNX calls its type, row-major. */
export interface NpyArray {
  readonly dtype: 'float32' | 'float16' | 'float64' | 'int64' | 'int32' | 'int8' | 'uint8' | 'bool';
  readonly dims: readonly number[];
  readonly bytes: Uint8Array;
}

const DTYPES: Readonly<Record<string, readonly [NpyArray['dtype'], width: number]>> = {
  '<f4': ['float32', 4],
  '<f2': ['float16', 2],
  '<f8': ['float64', 8],
  '<i8': ['int64', 8],
  '<i4': ['int32', 4],
  '|i1': ['int8', 1],
  '|u1': ['uint8', 1],
  '|b1': ['bool', 1],
};

const MAGIC = '\x93NUMPY';
const ascii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

function fail(name: string, what: string): never {
  throw new UserError(`${name}: ${what}. Write it with numpy.savez(path, input_name=array, …).`);
}

/**
 * Reads one `.npy`.
 *
 * @throws {@link UserError} for what is no array, or one that no model takes
 */
export function readNpy(bytes: Uint8Array, name: string): NpyArray {
  if (bytes.length < 10 || ascii(bytes.subarray(0, 6)) !== MAGIC)
    fail(name, 'expected an array of NumPy, got other bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isLong = bytes[6]! >= 2;
  if (isLong && bytes.length < 12) fail(name, 'its header is cut');
  const from = isLong ? 12 : 10;
  const length = isLong ? view.getUint32(8, true) : view.getUint16(8, true);
  if (from + length > bytes.length) fail(name, 'its header is cut');
  const header = new TextDecoder().decode(bytes.subarray(from, from + length));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descr === undefined || shape === undefined) fail(name, 'its header has no descr or no shape');
  const type = Object.hasOwn(DTYPES, descr) ? DTYPES[descr] : undefined;
  if (!type) fail(name, `its elements are ${descr}, expected one of ${Object.keys(DTYPES).join(', ')}`);
  if (/'fortran_order':\s*True/.test(header))
    fail(name, 'its elements lie column by column; use numpy.ascontiguousarray');
  const dims = shape.split(',').flatMap((dim) => (dim.trim() === '' ? [] : [Number(dim)]));
  if (!dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) fail(name, `its shape is (${shape})`);
  const [dtype, width] = type;
  const byteLength = dims.reduce((product, dim) => product * dim, width);
  const data = bytes.subarray(from + length);
  if (data.length !== byteLength)
    fail(name, `expected ${byteLength} bytes of elements for (${shape}), got ${data.length}`);
  return { dtype, dims, bytes: data.slice() };
}

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LOCAL = 0x04034b50;
const MOST_COMMENT = 65_557;

/**
 * Reads the arrays of an `.npz` by their names.
 *
 * @throws {@link UserError}
 */
export function readNpz(bytes: Uint8Array, name: string): Map<string, NpyArray> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const inside = (at: number, length: number): void => {
    if (!(at >= 0 && at + length <= bytes.length)) fail(name, 'it is cut, or no archive');
  };
  let end = bytes.length - 22;
  while (end >= 0 && end > bytes.length - MOST_COMMENT && view.getUint32(end, true) !== END) end--;
  if (end < 0 || view.getUint32(end, true) !== END) fail(name, 'expected an .npz archive, got other bytes');
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  const arrays = new Map<string, NpyArray>();
  for (let i = 0; i < count; i++) {
    inside(at, 46);
    if (view.getUint32(at, true) !== ENTRY) fail(name, 'its list of files is damaged');
    const method = view.getUint16(at + 10, true);
    const [packed, size] = [view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((from) => view.getUint16(at + from, true)) as [
      number,
      number,
      number,
    ];
    const local = view.getUint32(at + 42, true);
    inside(at + 46, nameLength);
    const file = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    at += 46 + nameLength + extra + comment;
    if (!file.endsWith('.npy')) continue;
    inside(local, 30);
    if (view.getUint32(local, true) !== LOCAL) fail(name, `its file ${file} is damaged`);
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    inside(from, packed);
    arrays.set(
      file.slice(0, -4),
      readNpy(unpacked(bytes.subarray(from, from + packed), method, size, `${name}: ${file}`), `${name}: ${file}`),
    );
  }
  if (arrays.size === 0) fail(name, 'it has no arrays');
  return arrays;
}

function unpacked(bytes: Uint8Array, method: number, size: number, name: string): Uint8Array {
  if (method === 0) return bytes;
  if (method !== 8) fail(name, `it is packed by method ${method}, expected 0 or 8`);
  try {
    return new Uint8Array(inflateRawSync(bytes, { maxOutputLength: size }));
  } catch {
    return fail(name, 'its packed bytes are damaged');
  }
}
