/** The manifest reader: what lies where, and a typed error where that is a lie. Whole models that are damaged: hostile.test.ts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelFormatError } from '../src/index.ts';
import { readManifest, type WeightSpec } from '../src/weights/manifest.ts';

const specs: WeightSpec[] = [
  { name: 'a', shape: [2, 3], dtype: 'float32' },
  { name: 'b', shape: [3], dtype: 'float32', quantization: { dtype: 'uint8', scale: 0.5, min: -1 } },
  { name: 'c', shape: [], dtype: 'int32' },
  { name: 'd', shape: [2], dtype: 'float32', quantization: { dtype: 'float16' } },
  { name: 'e', shape: [2], dtype: 'string' },
  { name: 'f', shape: [5], dtype: 'bool' },
];
const bytes = Uint8Array.of(
  ...Array<number>(24).fill(1),
  7,
  8,
  9,
  42,
  0,
  0,
  0,
  0,
  0x3c,
  0,
  0x40,
  1,
  0,
  0,
  0,
  65,
  2,
  0,
  0,
  0,
  66,
  67,
  1,
  0,
  1,
  0,
  1,
);

describe('readManifest', () => {
  it('finds every weight by range, in one buffer or in parts that cut weights', () => {
    for (const cuts of [[], [1], [23, 25], [24, 27, 31]]) {
      const parts = [0, ...cuts].map((begin, i) => bytes.slice(begin, cuts[i] ?? bytes.length).buffer);
      const weights = readManifest(specs, parts.length === 1 ? parts[0] : parts);
      expect([...weights.keys()]).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
      expect([...weights.get('b')!.bytes()]).toEqual([7, 8, 9]);
      expect([...weights.get('c')!.bytes()]).toEqual([42, 0, 0, 0]);
      expect([...weights.get('e')!.bytes()]).toEqual([1, 0, 0, 0, 65, 2, 0, 0, 0, 66, 67]);
      expect([...weights.get('f')!.bytes()]).toEqual([1, 0, 1, 0, 1]);
    }
  });

  it('names what is wrong', () => {
    const changed = (at: number, change: object) => specs.map((spec, i) => (i === at ? { ...spec, ...change } : spec));
    const bad: [unknown, unknown, RegExp][] = [
      ['x', bytes.buffer, /specs, expected an array/],
      [specs, bytes.slice(0, -1).buffer, /f \[5\], expected bytes .* truncated/],
      [specs, 'bytes', /expected an ArrayBuffer/],
      [specs, undefined, /expected an ArrayBuffer/],
      [[null], bytes.buffer, /name, expected a string/],
      [changed(0, { shape: [2, -3] }), bytes.buffer, /a, expected a shape of sizes, got \[2,-3\]/],
      [changed(0, { shape: [2 ** 40] }), bytes.buffer, /larger than memory/],
      [changed(0, { shape: 'x' }), bytes.buffer, /shape/],
      [changed(0, { dtype: 'float64' }), bytes.buffer, /dtype/],
      [
        changed(1, { quantization: { dtype: 'uint4' } }),
        bytes.buffer,
        /quantization of uint8,uint16,float16, got uint4/,
      ],
      [
        changed(1, { quantization: { dtype: 'uint8', scale: 'x', min: 0 } }),
        bytes.buffer,
        /expected numbers as scale and min, got x, 0\.$/,
      ],
      [changed(1, { quantization: { dtype: 'uint16', scale: 1 } }), bytes.buffer, /got 1, undefined\.$/],
      [changed(1, { quantization: null }), bytes.buffer, /quantization/],
      [changed(4, { shape: [3] }), bytes.buffer, /past the end|truncated|expected/],
    ];
    for (const [manifest, data, message] of bad) {
      expect(() => readManifest(manifest, data), String(message)).toThrow(ModelFormatError);
      expect(() => readManifest(manifest, data), String(message)).toThrow(message);
    }
  });
});

describe('strings', () => {
  it('read any bytes as codes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(80), (data, length) => {
        const read = () => readManifest([{ name: 'w', shape: [length], dtype: 'string' }], data.slice().buffer);
        try {
          read();
        } catch (error) {
          expect(error).toBeInstanceOf(ModelFormatError);
        }
      }),
    );
  });
});
