/**
 * A weights manifest and its bytes, read by range: what lies where, in which stored form. Nothing is decoded here, and
 * every size is checked before anything is allocated.
 */

import { checkName, ModelFormatError, shown } from '../errors.ts';
import { sizeOf } from '../shapes.ts';
import type { Encoded } from './encode.ts';

/** An entry of `weightSpecs`. */
export interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** 'optimizer': the state of one, beside a layers model. */
  readonly group?: string;
  readonly quantization?: {
    readonly dtype: string;
    /** NaN, Infinity and null, which is what JSON makes of them, are that weight's affair alone. */
    readonly scale?: number | null;
    readonly min?: number | null;
    readonly original_dtype?: string;
  };
}

/** An entry with its bytes, as stored. */
export interface StoredWeight {
  readonly spec: WeightSpec;
  /** A copy of its own, or a view that must not be written to. */
  bytes(): Uint8Array<ArrayBuffer>;
  /** While a file arrives: what became of it already. */
  encoded?: Encoded | { readonly reason: string } | undefined;
}

const BYTES: Readonly<Record<string, number>> = { float32: 4, int32: 4, bool: 1, complex64: 8 };
const STORED_BYTES: Readonly<Record<string, number>> = { uint8: 1, uint16: 2, float16: 2 };
const MAX_ELEMENTS = 2 ** 31;

/**
 * What stock tfjs accepts is accepted: bytes in every form, padding behind them, a name that is there twice (the later one counts).
 *
 * @returns the weights by name, in order
 * @throws {@link ModelFormatError} if the entries are malformed, or their sizes and the data disagree
 */
export function readManifest(specs: unknown, data: unknown): Map<string, StoredWeight> {
  const checked = checkSpecs(specs);
  const bytes = byteRanges(data);
  const weights = new Map<string, StoredWeight>();
  let at = 0;
  for (const spec of checked) {
    const begin = at;
    at += spec.dtype === 'string' ? stringBytes(spec, bytes, begin) : byteLengthOf(spec);
    const end = at;
    if (end > bytes.length)
      throw new ModelFormatError(
        `weights: ${shown(spec.name)} ${shown(spec.shape)}, expected bytes ${begin} … ${end}, got ${bytes.length} in all. Are they truncated?`,
      );
    weights.set(spec.name, { spec, bytes: () => bytes.slice(begin, end) });
  }
  return weights; // what follows is padding
}

/** The same of artifacts, whose weights may be missing altogether. */
export function weightsOf(artifacts: {
  readonly weightSpecs?: unknown;
  readonly weightData?: unknown;
}): Map<string, StoredWeight> {
  const { weightSpecs, weightData = null } = artifacts;
  return readManifest(weightSpecs ?? (weightData === null ? [] : weightSpecs), weightData ?? new ArrayBuffer(0));
}

/** @throws {@link ModelFormatError} if they are no entries of a manifest */
export function checkSpecs(specs: unknown): WeightSpec[] {
  if (!Array.isArray(specs)) throw new ModelFormatError(`weights: specs, expected an array, got ${typeof specs}.`);
  return specs.map(checkSpecEntry);
}

function checkSpecEntry(entry: unknown): WeightSpec {
  const { name, shape, dtype, quantization } = (entry ?? {}) as Partial<WeightSpec>;
  if (typeof name !== 'string') throw new ModelFormatError(`weights: name, expected a string, got ${shown(name)}.`);
  checkName(name, 'weights');
  const what = shown(name);
  if (!Array.isArray(shape) || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0))
    throw new ModelFormatError(`weights: ${what}, expected a shape of sizes, got ${shown(shape)}.`);
  if (typeof dtype !== 'string' || !(Object.hasOwn(BYTES, dtype) || dtype === 'string'))
    throw new ModelFormatError(
      `weights: ${what}, expected a dtype of ${Object.keys(BYTES)}, string, got ${shown(dtype)}.`,
    );
  const spec = entry as WeightSpec;
  if (sizeOf(spec.shape) > MAX_ELEMENTS)
    throw new ModelFormatError(`weights: ${what} ${shown(shape)} is larger than memory.`);
  if (quantization === undefined) return spec;
  const { dtype: stored, scale, min } = quantization ?? {};
  if (typeof stored !== 'string' || !Object.hasOwn(STORED_BYTES, stored))
    throw new ModelFormatError(
      `weights: ${what}, expected a quantization of ${Object.keys(STORED_BYTES)}, got ${shown(stored)}.`,
    );
  if (stored !== 'float16' && !(isLevel(scale) && isLevel(min)))
    throw new ModelFormatError(
      `weights: ${what}, expected numbers as scale and min, got ${shown(scale)}, ${shown(min)}.`,
    );
  return spec;
}

const isLevel = (value: unknown): boolean => typeof value === 'number' || value === null;

/** Stored bytes; strings say by themselves how many they are. */
export const byteLengthOf = ({ shape, dtype, quantization }: WeightSpec): number =>
  sizeOf(shape) * (quantization ? STORED_BYTES[quantization.dtype]! : (BYTES[dtype] ?? 0));

/** Strings carry a length of 4 bytes each. */
function stringBytes(spec: WeightSpec, bytes: ByteRanges, begin: number): number {
  let at = begin;
  for (let i = 0; i < sizeOf(spec.shape); i++) {
    if (at + 4 > bytes.length)
      throw new ModelFormatError(`weights: ${shown(spec.name)}, string ${i} lies past the end of the data.`);
    const length = bytes.slice(at, at + 4);
    at += 4 + new DataView(length.buffer, length.byteOffset).getUint32(0, true);
    if (at > bytes.length)
      throw new ModelFormatError(`weights: ${shown(spec.name)}, string ${i} lies past the end of the data.`);
  }
  return at - begin;
}

/**
 * A list of buffers that stock tfjs reads right. It takes buffers for equally long if all before the last are as long as the first,
 * and finds nothing behind that length in the last: an empty one comes last.
 */
export const readable = (buffers: readonly ArrayBuffer[]): ArrayBuffer[] => [...buffers, new ArrayBuffer(0)];

interface ByteRanges {
  readonly length: number;
  slice(begin: number, end: number): Uint8Array<ArrayBuffer>;
}

/** One buffer, or several that follow each other; only what is asked for is copied. */
function byteRanges(data: unknown): ByteRanges {
  const parts = (Array.isArray(data) ? data : [data]).map(bytesIn);
  let length = 0;
  const starts = parts.map((part) => (length += part.byteLength) - part.byteLength);
  return {
    length,
    slice(begin, end) {
      const out = new Uint8Array(end - begin);
      parts.forEach((part, i) => {
        const [from, to] = [Math.max(begin, starts[i]!), Math.min(end, starts[i]! + part.byteLength)];
        if (from < to) out.set(part.subarray(from - starts[i]!, to - starts[i]!), from - begin);
      });
      return out;
    },
  };
}

/**
 * Bytes in whatever form: a buffer, also of another realm or shared, or a view of one. Of a view its own range counts; stock takes
 * the whole buffer behind it, which in Node is a pool of other things.
 */
function bytesIn(part: unknown): Uint8Array {
  if (ArrayBuffer.isView(part)) return new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  const tag = Object.prototype.toString.call(part);
  if (tag !== '[object ArrayBuffer]' && tag !== '[object SharedArrayBuffer]')
    throw new ModelFormatError(
      `weights: data, expected an ArrayBuffer, a typed array, or several, got ${shown(part)}.`,
    );
  try {
    return new Uint8Array(part as ArrayBuffer);
  } catch (cause) {
    throw new ModelFormatError(`weights: data, expected bytes that are still there, got ${shown(part)}.`, { cause });
  }
}
