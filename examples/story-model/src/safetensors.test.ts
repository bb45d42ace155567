import { describe, expect, it } from 'vitest';
import type { WeightArray } from './model.ts';
import { readSafetensors, SafetensorsError, writeSafetensors } from './safetensors.ts';

const weights = new Map<string, WeightArray>([
  ['a.weight', { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 0, 1e-30, -0) }],
  ['b', { shape: [1], data: Float32Array.of(Number.MAX_VALUE) }],
  ['empty', { shape: [0, 4], data: new Float32Array(0) }],
]);

/** A file with the given header and `dataLength` zero bytes. */
function fileOf(header: string, dataLength: number): Uint8Array {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataLength);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

describe('safetensors', () => {
  it('gives back what was written, also from an unaligned view and a Buffer', () => {
    const bytes = writeSafetensors(weights, { format: 'pt' });
    const shifted = new Uint8Array(bytes.length + 1);
    shifted.set(bytes, 1);
    for (const file of [bytes, shifted.subarray(1), Buffer.from(bytes)]) {
      const read = readSafetensors(file);
      expect(read.metadata).toEqual({ format: 'pt' });
      expect([...read.weights]).toEqual([...weights]);
    }
  });

  it('starts the data at a multiple of 8 bytes', () => {
    const bytes = writeSafetensors(weights);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
  });

  it('refuses every truncation', () => {
    const bytes = writeSafetensors(weights);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => readSafetensors(bytes.subarray(0, length)), `first ${length} bytes`).toThrow(SafetensorsError);
    }
  });

  it.each([
    ['no JSON', 'hello', 0, /not JSON/],
    ['a list', '[]', 0, /not a JSON object/],
    ['another entry', '{"a":null}', 0, /expected an object/],
    ['another dtype', '{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}', 4, /expected dtype F32, got F16/],
    ['a negative size', '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', 4, /list of sizes/],
    ['one offset', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4, /two data_offsets/],
    ['a wrong length', '{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}', 8, /expected 12 bytes .* got 8/],
    ['offsets outside', '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 4, /truncated/],
  ])('refuses %s', (_, header, dataLength, message) => {
    expect(() => readSafetensors(fileOf(header, dataLength))).toThrow(SafetensorsError);
    expect(() => readSafetensors(fileOf(header, dataLength))).toThrow(message);
  });
});
