/**
 * A model's file with made-up elements where nobody has fetched them: the same graph, sizes and types, so it takes as long to load and
 * to run as the real one. What it says means nothing.
 */
import { random as seededRandom } from '@msd/core/numerics';
import { dataTypeBits, FLOAT16, FLOAT32 } from '../data-types.ts';
import type { ByteSource } from '../read/source.ts';
import { RangedSource } from './ranged.ts';

/** Random bytes that are repeated. */
const TILE_BYTES = 2 ** 16;
/** float32 and float16 between 2^-7 and 2^-5, of both signs: as weights, and as scales. */
const FLOATS = { exponent32: 120, exponent16: 8 };

/** Where elements of a tensor lie, and what they are. */
export interface Place {
  readonly source: ByteSource;
  readonly offset: number;
  readonly length: number;
  /** ONNX's number of the element type. */
  readonly elemType: number;
}

/**
 * All bytes of a file.
 *
 * @param places of tensors in it
 */
export function standIn(source: ByteSource, places: readonly Place[]): Uint8Array {
  const bytes = new Uint8Array(source.byteLength);
  if (!(source instanceof RangedSource)) {
    bytes.set(source.read(0, source.byteLength));
    return bytes;
  }
  const tiles = new Map<number, Uint8Array>();
  for (const { source: from, offset, length, elemType } of places) {
    if (from !== source || source.has(offset, length)) continue;
    let tile = tiles.get(elemType);
    if (!tile) tiles.set(elemType, (tile = tileOf(elemType)));
    for (let at = 0; at < length; at += tile.length)
      bytes.set(tile.subarray(0, Math.min(tile.length, length - at)), offset + at);
  }
  const known = new Uint8Array(source.byteLength === 0 ? 0 : TILE_BYTES);
  // What was fetched, over it: records, and small tensors.
  for (let at = 0; at < source.byteLength; ) {
    const count = Math.min(source.here(at, TILE_BYTES), source.byteLength - at);
    if (source.has(at, count)) bytes.set(source.read(at, count, known), at);
    at += count;
  }
  return bytes;
}

function tileOf(elemType: number): Uint8Array {
  const bytes = new Uint8Array(TILE_BYTES);
  const next = seededRandom(1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = 256 * next();
  const view = new DataView(bytes.buffer);
  if (elemType === FLOAT32)
    for (let i = 0; i < bytes.length; i += 4) {
      const random = view.getUint32(i, true);
      const exponent = FLOATS.exponent32 + (random & 1);
      view.setUint32(i, ((random & 0x807fffff) | (exponent << 23)) >>> 0, true);
    }
  else if (elemType === FLOAT16)
    for (let i = 0; i < bytes.length; i += 2) {
      const random = view.getUint16(i, true);
      view.setUint16(i, (random & 0x83ff) | ((FLOATS.exponent16 + (random & 1)) << 10), true);
    }
  else if ((dataTypeBits(elemType) ?? 0) >= 16) bytes.fill(0); // indices, and whatever else has a meaning
  return bytes;
}
