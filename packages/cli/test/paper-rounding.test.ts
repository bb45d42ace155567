/** What formats and decompositions leave of a row: against core's own conversions, its reference, and other people's vectors. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { dequantizeWeights, elementBound, quantizeWeights } from '@msd/core';
import { fromBf16, gaussians, random, toBf16 } from '@msd/core/numerics';
import { describe, expect, it } from 'vitest';
import { resolveDecomposition } from '../../core/src/decompose/contract.ts';
import { decompose } from '../../core/src/decompose/decompose.reference.ts';
import { bf16Values, E2M1, E4M3, int8Passes, mxfp4Passes, mxValues } from '../src/paper/rounding.ts';

const folder = new URL('../../../../shared/conformance/mx/', import.meta.url);
const present = existsSync(folder);
if (!present) console.log(`paper-rounding.test: ${fileURLToPath(folder)} is absent, its vectors are skipped`);

const rows = (K: number): Float32Array => {
  const x = gaussians(random(5), K);
  x[3] = 80;
  x.fill(0, 64, 96);
  return x;
};

describe('values of formats', () => {
  it('BF16 is what core narrows to, for every upper half of an f32 with every kind of lower one', () => {
    const words = Uint32Array.from({ length: 5 * 65536 }, (_, i) => {
      const low = [0, 1, 0x7fff, 0x8000, 0x8001][i % 5]!;
      return ((Math.floor(i / 5) << 16) | low) >>> 0;
    });
    const values = new Float32Array(words.buffer);
    const got = bf16Values(values);
    for (let i = 0; i < values.length; i++)
      if (!Object.is(got[i], fromBf16(toBf16(values[i]!))))
        throw new Error(`${words[i]!.toString(16)}: ${got[i]}, expected ${fromBf16(toBf16(values[i]!))}`);
  });

  it('MXFP4 is what quantizeWeights stores', () => {
    const x = rows(1024);
    const stored = dequantizeWeights(quantizeWeights(x, { N: 1, K: 1024, format: 'mxfp4' }));
    expect(Array.from(mxValues(x, E2M1), (value) => value + 0)).toEqual(Array.from(stored, (value) => value + 0));
  });

  it('cuts off above the largest element with the OCP scale, and not with the next one', () => {
    const row = Float64Array.of(511, 1);
    expect(mxValues(row, E4M3)[0]).toBe(448);
    expect(mxValues(row, E4M3, 'ceil')[0]).toBe(512);
    expect(mxValues(Float64Array.of(448, 1), E4M3, 'ceil')[0]).toBe(448);
    expect(mxValues(Float64Array.of(7.5, 1), E2M1)[0]).toBe(6);
    expect(mxValues(Float64Array.of(7.5, 1), E2M1, 'ceil')[0]).toBe(8);
  });

  it('leaves zeros and empty rows alone', () => {
    for (const values of [new Float64Array(40), new Float64Array(0)])
      for (const round of [mxValues(values, E4M3), int8Passes(values, 2, 32), mxfp4Passes(values, 2)])
        expect(round).toEqual(values);
  });
});

describe.skipIf(!present)('microxcaling (skipped where ../shared/conformance is absent)', () => {
  it.each([
    ['fp4_e2m1', E2M1],
    ['fp8_e4m3', E4M3],
  ] as const)('rounds %s as it does with ties to even', (name, element) => {
    const floats = (base64: string) => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);
    const { inputs, cases } = JSON.parse(readFileSync(new URL('microxcaling-vectors.json', folder), 'utf8'));
    let checked = 0;
    for (const { elem_format, block_size, round, input, output } of cases) {
      if (elem_format !== name || round !== 'even') continue;
      const { shape, data } = inputs[input];
      const [K, x, want] = [shape.at(-1) as number, floats(data), floats(output)];
      for (let begin = 0; begin < x.length; begin += K) {
        const got = mxValues(x.subarray(begin, begin + K), element, 'floor', Number(block_size));
        for (let i = 0; i < K; i++)
          if (got[i] !== want[begin + i])
            throw new Error(`${input}[${begin + i}] = ${x[begin + i]}: expected ${want[begin + i]}, got ${got[i]}`);
      }
      checked++;
    }
    expect(checked).toBeGreaterThanOrEqual(7);
  });
});

describe('values of decompositions', () => {
  it.each([1, 2] as const)('are S·q of the float64 reference, %i passes', (components) => {
    const K = 1000;
    const x = rows(K);
    for (const [activationBlock, block] of [
      ['row', K],
      [256, 256],
      [32, 32],
    ] as const) {
      const how = resolveDecomposition({ components, activationBlock }, 'test');
      const { q, scales } = decompose(x, 1, K, how, 'float64');
      const want = Array.from(q, (value, k) => scales[Math.floor(k / block)]! * value + 0);
      expect(Array.from(int8Passes(x, components, block), (value) => value + 0)).toEqual(want);
    }
    const { q, scales } = decompose(
      x,
      1,
      K,
      resolveDecomposition({ decomposition: 'mxfp4', components }, 'test'),
      'float64',
    );
    const want = Array.from(q, (value, k) => scales[Math.floor(k / 32)]! * value + 0);
    expect(Array.from(mxfp4Passes(x, components), (value) => value + 0)).toEqual(want);
  });

  it('stay within the bounds, three passes included', () => {
    const x = rows(32);
    const max = 80;
    const far = (values: Float64Array) => Math.max(...values.map((value, i) => Math.abs(value - x[i]!)));
    for (const passes of [1, 2, 3]) {
      expect(far(int8Passes(x, passes, 32))).toBeLessThanOrEqual(
        (max / (2 * 127 * 254 ** (passes - 1))) * (1 + 2 ** -20),
      );
      expect(far(mxfp4Passes(x, passes))).toBeLessThanOrEqual(128 / 8 ** passes);
    }
    expect(elementBound(max, 2, 'mxfp4')).toBe(128 / 64);
  });
});
