/** MXFP4 against other people's implementations, where their vectors are at hand. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { dequantizeWeights, interleaveNibbles, quantizeWeights } from '../src/index.ts';

const folder = new URL('../../../../shared/conformance/mx/', import.meta.url);
const present = existsSync(folder);
if (!present) console.log(`mx.test: ${fileURLToPath(folder)} is absent, its vectors are skipped`);

const read = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
const bytes = (base64: string) => Uint8Array.from(Buffer.from(base64, 'base64'));
const floats = (base64: string) => new Float32Array(bytes(base64).buffer);
/** −0 and 0 are one value to a matrix product. */
const plain = (values: Float32Array) => Array.from(values, (value) => value + 0);

describe.skipIf(!present)('mxfp4 vectors (skipped where ../shared/conformance is absent)', () => {
  it('decodes as gpt-oss does, every code with every scale that a product can use', () => {
    const { blocks, scales, float32 } = read('mxfp4-gptoss-ggml-vectors.json').gpt_oss;
    const [data, codes, want] = [bytes(blocks.u8), bytes(scales.u8), floats(float32.data)];
    let checked = 0;
    for (const [block, code] of codes.entries()) {
      if (code === 0 || code > 216) continue; // 2⁻¹²⁷ counts as zero, and from 2⁹⁰ on `prepare` refuses
      const weights = {
        format: 'mxfp4',
        N: 1,
        K: 32,
        blockSize: 32,
        data: data.subarray(16 * block, 16 * block + 16),
        scales: Uint8Array.of(code),
      } as const;
      expect(plain(dequantizeWeights(weights))).toEqual(plain(want.subarray(32 * block, 32 * block + 32)));
      checked++;
    }
    expect(checked).toBeGreaterThan(30);
  });

  it('quantizes as microxcaling does with ties to even and the OCP scale', () => {
    const { inputs, cases } = read('microxcaling-vectors.json');
    let checked = 0;
    for (const { elem_format, block_size, round, input, output } of cases) {
      if (elem_format !== 'fp4_e2m1' || Number(block_size) !== 32 || round !== 'even') continue;
      const { shape, data } = inputs[input];
      const K = shape.at(-1);
      const x = floats(data);
      if (x.some((value) => !(Math.abs(value) < 2 ** 90))) continue; // refused: the contract's scales end there
      const got = dequantizeWeights(quantizeWeights(x, { N: x.length / K, K, format: 'mxfp4' }));
      const want = floats(output);
      for (const [i, value] of want.entries())
        if (!(Math.abs(value) < 2 ** -120) && got[i] !== value)
          throw new Error(`${input}[${i}] = ${x[i]}: expected ${value}, got ${got[i]}`);
      checked++;
    }
    expect(checked).toBeGreaterThanOrEqual(5);
  });

  it('reads ggml’s order of nibbles', () => {
    for (const { name, n, block_mxfp4_bytes, dequant_f32 } of read('mxfp4-gptoss-ggml-vectors.json').ggml.cases) {
      const file = bytes(block_mxfp4_bytes);
      const blocks = n / 32;
      const scales = Uint8Array.from({ length: blocks }, (_, b) => file[17 * b]);
      const split = Uint8Array.from({ length: 16 * blocks }, (_, i) => file[17 * Math.floor(i / 16) + 1 + (i % 16)]);
      if (scales.some((code) => code === 0 || code > 216)) continue;
      const weights = {
        format: 'mxfp4',
        N: 1,
        K: n,
        blockSize: 32,
        data: interleaveNibbles(split, 32),
        scales,
      } as const;
      expect(plain(dequantizeWeights(weights)), name).toEqual(plain(floats(dequant_f32)));
    }
  });
});

describe('mxfp4', () => {
  it('names its ties and saturates', () => {
    const x = new Float32Array(32);
    x.set([6, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -0.25, -5, 7.9]);
    const got = dequantizeWeights(quantizeWeights(x, { N: 1, K: 32, format: 'mxfp4' }));
    expect(plain(got.subarray(0, 11))).toEqual([6, 0, 1, 1, 2, 2, 4, 4, 0, -4, 6]);
  });

  it('leaves no larger squared error with the mse rule than with the OCP rule', () => {
    for (let seed = 1; seed < 200; seed++) {
      const x = Float32Array.from({ length: 32 }, (_, i) => Math.sin(seed * 37 + i * i) * 2 ** (i % 3));
      const error = (scaleRule: 'ocp' | 'mse') =>
        dequantizeWeights(quantizeWeights(x, { N: 1, K: 32, format: 'mxfp4', scaleRule })).reduce(
          (sum, v, i) => sum + (v - x[i]) ** 2,
          0,
        );
      expect(error('mse')).toBeLessThanOrEqual(error('ocp'));
    }
  });
});
