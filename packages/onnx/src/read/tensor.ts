/**
 * TensorProto: where a tensor's elements lie, and, on demand, its bytes in `raw_data` form (little endian, row-major).
 * Reading one costs its header only.
 */
import { floatsOfFp16 } from '@msd/core';
import { carriedOf, isCarried } from '../carried.ts';
import { dataTypeBits, dataTypeName, FLOAT16, INT8, INT16, UINT16 } from '../data-types.ts';
import { OnnxFormatError } from '../errors.ts';
import { Cursor, WIRE } from './cursor.ts';
import { type ByteRange, type ByteSource, readRange } from './source.ts';
import { headOf, whatIsIt } from './what-is-it.ts';

/** Dimensions that a tensor or a type may have. */
export const MAX_RANK = 255;

/** The files that hold external data: `locations` are found while reading, `sources` are opened afterwards. */
export interface ExternalFiles {
  readonly locations: Set<string>;
  readonly sources: Map<string, ByteSource>;
}

/** Where the elements are. `typed` = in the repeated fields (float_data, int32_data, …) of the proto itself. */
export type TensorStorage =
  | { readonly kind: 'raw'; readonly range: ByteRange }
  | { readonly kind: 'typed' }
  | {
      readonly kind: 'external';
      readonly files: ExternalFiles;
      readonly location: string;
      readonly offset: number;
      /** Absent: to the end of what the shape asks for. */
      readonly length: number | undefined;
    };

/** A tensor of the file; its elements stay where they are until {@link tensorBytes}. */
export interface TensorRef {
  readonly name: string;
  /** ONNX's number of the element type. */
  readonly elemType: number;
  readonly dims: readonly number[];
  readonly storage: TensorStorage;
  /** The whole TensorProto. */
  readonly proto: ByteRange;
}

/** Reads a TensorProto's header. */
export function readTensor(cursor: Cursor, files: ExternalFiles): TensorRef {
  let name = '';
  let elemType = 0;
  let raw: ByteRange | undefined;
  let external = false;
  const dims: number[] = [];
  const entries = new Map<string, string>();
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        if (!cursor.ints(dims, MAX_RANK)) cursor.fail('dims', `at most ${MAX_RANK}`, 'more');
        break;
      case 2:
        elemType = cursor.int();
        break;
      case 8:
        name = cursor.string();
        break;
      case 9:
        raw = cursor.range();
        break;
      case 13:
        readEntry(cursor.message('StringStringEntryProto'), entries);
        break;
      case 14:
        external = cursor.int() === 1;
        break;
      default:
        cursor.skip();
    }
  }
  let storage: TensorStorage = raw ? { kind: 'raw', range: raw } : { kind: 'typed' };
  if (external) storage = externalStorage(entries, files);
  return { name, elemType, dims, storage, proto: cursor.whole() };
}

/** What a tensor is, wherever its elements lie. */
export type TensorType = Pick<TensorRef, 'name' | 'elemType' | 'dims'>;

/** Number of elements. */
export function elementCount(tensor: TensorType): number {
  let count = 1;
  for (const dim of tensor.dims) {
    if (dim < 0 || !Number.isSafeInteger(dim)) fail(tensor, 'dims', 'at least 0', `${dim}`);
    count *= dim;
  }
  if (!Number.isSafeInteger(count)) fail(tensor, 'shape', 'a size below 2⁵³', `[${tensor.dims.join(', ')}]`);
  return count;
}

/** Bytes that the elements take in `raw_data` form. */
export function tensorByteLength(tensor: TensorType): number {
  const bits = dataTypeBits(tensor.elemType);
  if (bits === undefined) {
    fail(tensor, 'element type', 'a numeric type', dataTypeName(tensor.elemType));
  }
  return Math.ceil((elementCount(tensor) * bits) / 8);
}

/** The range of the elements if they lie in the file (or its external file) in `raw_data` form, checked for size. */
export function tensorRange(tensor: TensorRef): ByteRange | undefined {
  const { storage } = tensor;
  if (storage.kind === 'typed') return undefined;
  const expected = tensorByteLength(tensor);
  if (storage.kind === 'raw') {
    if (storage.range.length !== expected) fail(tensor, 'raw_data', `${expected} bytes`, `${storage.range.length}`);
    return storage.range;
  }
  const { offset, location, files } = storage;
  const source = files.sources.get(location);
  if (!source) {
    const how = `pass externalData: [{ path: '${location}', data }]`;
    fail(tensor, 'external data', `the file '${location}'`, `none; ${how}`);
  }
  const length = storage.length ?? expected;
  for (const value of [offset, length])
    if (!Number.isSafeInteger(value) || value < 0)
      fail(tensor, 'external offset and length', 'integers of at least 0', `${value}`);
  if (length !== expected) fail(tensor, 'external data', `${expected} bytes`, `${length}`);
  if (offset + length > source.byteLength) {
    const what = whatIsIt(headOf(source));
    const got = what === undefined ? `${source.byteLength}` : `${source.byteLength}: it is ${what}`;
    fail(tensor, `'${location}'`, `at least ${offset + length} bytes`, got);
  }
  return { source, offset, length };
}

/**
 * The elements in `raw_data` form.
 *
 * @param into see {@link ByteSource.read}: the result may be a view of it, of the source, or fresh.
 * @throws {@link OnnxFormatError} when the bytes contradict the shape.
 */
export function tensorBytes(tensor: TensorRef, into?: Uint8Array): Uint8Array {
  const range = tensorRange(tensor);
  return range ? readRange(range, into) : typedBytes(tensor);
}

/** The elements of a tensor that is f32 on the device: of float32 a view where alignment allows, else a copy. */
export function tensorFloats(tensor: TensorRef, into?: Uint8Array): Float32Array {
  const { elemType } = tensor;
  const bytes = tensorBytes(tensor, into);
  if (!isCarried(elemType)) return floatsOf(bytes);
  if (elemType === FLOAT16 || elemType === UINT16) return carriedOf(elemType, halvesIn(bytes));
  if (elemType === INT16) return carriedOf(elemType, elementsIn(bytes, Int16Array));
  return carriedOf(elemType, elemType === INT8 ? new Int8Array(bytes) : bytes);
}

interface ArrayType<T> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, offset: number, length: number): T;
}

/** Bytes as elements of an array: a view where alignment allows, else a copy. */
export function elementsIn<T>(bytes: Uint8Array, Elements: ArrayType<T>): T {
  const width = Elements.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  return new Elements(aligned.buffer, aligned.byteOffset, aligned.byteLength / width);
}

/** Patterns of float16 for one: see {@link elementsIn}. */
export function halvesIn(bytes: Uint8Array): Uint16Array {
  return elementsIn(bytes, Uint16Array);
}

/** See {@link elementsIn}. */
export function floatsOf(bytes: Uint8Array): Float32Array {
  return elementsIn(bytes, Float32Array);
}

/** Reads bytes [begin, begin + length) of the elements; `into` as in {@link ByteSource.read}. */
export function partReader(tensor: TensorRef): (begin: number, length: number, into?: Uint8Array) => Uint8Array {
  const range = tensorRange(tensor);
  if (range) return (begin, length, into) => range.source.read(range.offset + begin, length, into);
  const bytes = tensorBytes(tensor);
  return (begin, length) => bytes.subarray(begin, begin + length);
}

/** Reads elements [first, first + count) of float32 or float16 as f32; what it returns is read before it is asked for the next ones. */
export function floatReader(tensor: TensorRef): (first: number, count: number) => Float32Array {
  const read = partReader(tensor);
  const width = tensor.elemType === FLOAT16 ? 2 : 4;
  let staged = new Uint8Array(0);
  return (first, count) => {
    if (staged.length < width * count) staged = new Uint8Array(width * count);
    const bytes = read(width * first, width * count, staged);
    return width === 2 ? floatsOfFp16(halvesIn(bytes)) : floatsOf(bytes);
  };
}

function readEntry(cursor: Cursor, entries: Map<string, string>): void {
  let key = '';
  let value = '';
  while (cursor.next()) {
    if (cursor.field === 1) key = cursor.string();
    else if (cursor.field === 2) value = cursor.string();
    else cursor.skip();
  }
  entries.set(key, value);
}

/** Nothing is checked here: a tensor that nobody uses may lie anywhere. */
function externalStorage(entries: Map<string, string>, files: ExternalFiles): TensorStorage {
  const location = (entries.get('location') ?? '').replace(/^(\.\/)+/, '');
  const offset = Number(entries.get('offset') ?? 0);
  const length = entries.has('length') ? Number(entries.get('length')) : undefined;
  files.locations.add(location);
  return { kind: 'external', files, location, offset, length };
}

/** Elements from the repeated fields: one element per value, except that 4-bit types put a byte (two elements) into each. */
function typedBytes(tensor: TensorRef): Uint8Array {
  const expected = tensorByteLength(tensor);
  const { elemType } = tensor;
  const width = elemType === 14 ? 4 : elemType === 15 ? 8 : Math.max(1, (dataTypeBits(elemType) ?? 8) / 8) | 0;
  const wanted = typedField(elemType);
  if (wanted === undefined) fail(tensor, 'elements', 'raw_data', `none for ${dataTypeName(elemType)}`);
  // Every value takes at least one byte of the file, so a shape that promises more is refused before anything is allocated.
  if (expected / width > tensor.proto.length)
    fail(tensor, 'elements', `${expected / width}`, `at most ${tensor.proto.length}`);
  const out = new Uint8Array(expected);
  const view = new DataView(out.buffer);
  let at = 0;
  const put = (low: number, high: number): void => {
    if (at + width > expected) fail(tensor, 'elements', `${expected / width}`, 'more');
    if (width === 1) view.setUint8(at, low);
    else if (width === 2) view.setUint16(at, low, true);
    else view.setUint32(at, low, true);
    if (width === 8) view.setUint32(at + 4, high, true);
    at += width;
  };
  const wire = wanted === 4 ? WIRE.bit32 : wanted === 10 ? WIRE.bit64 : WIRE.varint;
  const cursor = Cursor.overRange(tensor.proto, `tensor '${tensor.name}'`);
  while (cursor.next()) {
    if (cursor.field === wanted) cursor.words(wire, put);
    else cursor.skip();
  }
  if (at !== expected) fail(tensor, 'elements', `${expected / width}`, `${at / width}`);
  return out;
}

/** Number of the repeated field that holds elements of a type. */
function typedField(elemType: number): number | undefined {
  if (elemType === 1 || elemType === 14) return 4;
  if (elemType === 11 || elemType === 15) return 10;
  if (elemType === 7) return 7;
  if (elemType === 12 || elemType === 13) return 11;
  return dataTypeBits(elemType) === undefined ? undefined : 5;
}

function fail(tensor: TensorType, what: string, expected: string, got: string): never {
  throw new OnnxFormatError(`read: tensor '${tensor.name}': ${what}, expected ${expected}, got ${got}.`);
}

/** Copies of all fields of a TensorProto except its name, for writing the tensor again under another name. */
export function tensorFieldsButName(tensor: TensorRef): ByteRange[] {
  const ranges: ByteRange[] = [];
  const cursor = Cursor.overRange(tensor.proto, 'TensorProto');
  let from = cursor.position;
  while (cursor.next()) {
    const isName = cursor.field === 8;
    cursor.skip();
    const to = cursor.position;
    if (!isName) ranges.push({ source: tensor.proto.source, offset: from, length: to - from });
    from = to;
  }
  return ranges;
}
