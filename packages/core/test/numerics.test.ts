/** Number formats, all of their patterns: against tables made in other ways, and other people's vectors where they are at hand. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { scaleKinds } from '../src/formats/scales.ts';
import { f32Bits } from '../src/numbers.ts';
import { E2M1_DOUBLED, fromBf16, fromE4M3, fromFp16, toBf16, toE2M1, toE4M3, toFp16 } from '../src/numerics/index.ts';

interface Format {
  readonly from: (bits: number) => number;
  readonly to: (value: number) => number;
  readonly exponentBits: number;
  readonly fractionBits: number;
  readonly bias: number;
  /** Patterns of magnitudes that are numbers: 0 … last. */
  readonly last: number;
  /** Beyond the last: Inf, or the last one again. */
  readonly saturates: boolean;
}

const FORMATS: Readonly<Record<string, Format>> = {
  bf16: { from: fromBf16, to: toBf16, exponentBits: 8, fractionBits: 7, bias: 127, last: 0x7f7f, saturates: false },
  fp16: { from: fromFp16, to: toFp16, exponentBits: 5, fractionBits: 10, bias: 15, last: 0x7bff, saturates: false },
  e4m3: { from: fromE4M3, to: toE4M3, exponentBits: 4, fractionBits: 3, bias: 7, last: 0x7e, saturates: true },
  e2m1: {
    ...{ from: (bits) => E2M1_DOUBLED[bits] / 2, to: toE2M1, exponentBits: 2, fractionBits: 1, bias: 1 },
    ...{ last: 7, saturates: true },
  },
};

/** IEEE 754's own words: (−1)^s · 2^(e − bias) · 1.f, or 2^(1 − bias) · 0.f. */
function realOf(magnitude: number, { fractionBits, bias }: Format): number {
  const exponent = magnitude >> fractionBits;
  const fraction = (magnitude & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  return exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
}

/** The f32 that is so many after a positive one. */
const neighbour = (value: number, steps: number): number =>
  new Float32Array(Uint32Array.of(f32Bits(value) + steps).buffer)[0];

describe.each(Object.entries(FORMATS))('%s', (_, format) => {
  const { from, to, exponentBits, fractionBits, last, saturates } = format;
  const signBit = 2 ** (exponentBits + fractionBits);

  it('has the value that its bits say, every pattern and both signs, and comes back as it was', () => {
    for (let magnitude = 0; magnitude <= last; magnitude++)
      for (const sign of [0, signBit]) {
        const value = from(magnitude | sign);
        // E2M1's table has one zero
        if (magnitude > 0 || fractionBits > 1)
          expect(Object.is(value, sign ? -realOf(magnitude, format) : realOf(magnitude, format))).toBe(true);
        if (magnitude > 0) expect(to(value)).toBe(magnitude | sign);
      }
    expect([to(0), to(-0)]).toEqual([0, signBit]);
  });

  it('rounds what lies between any two of them to the nearer one, and the middle to the even one', () => {
    for (let low = 0; low < last; low++) {
      const [a, b] = [realOf(low, format), realOf(low + 1, format)];
      const middle = (a + b) / 2; // fits an f32
      const cases = [
        [middle, low % 2 === 0 ? low : low + 1],
        [neighbour(middle, -1), low],
        [neighbour(middle, 1), low + 1],
      ] as const;
      for (const [value, want] of cases)
        if (to(value) !== want || to(-value) !== (want | signBit))
          throw new Error(`${value}: expected ${want}, got ${to(value)}`);
    }
  });

  it('ends where it ends', () => {
    const largest = realOf(last, format);
    expect(to(largest)).toBe(last);
    expect(to(Infinity)).toBe(saturates ? last : last + 1);
    expect(to(-Infinity)).toBe((saturates ? last : last + 1) | signBit);
    if (fractionBits > 1) expect(Number.isNaN(from(to(Number.NaN)))).toBe(true);
  });
});

describe('e8m0', () => {
  it('is a power of two in every code but 255', () => {
    // Kernels halve it, since their elements are doubled, and take 2⁻¹²⁷ as zero.
    for (let code = 1; code < 255; code++) expect(scaleKinds.e8m0.value(code)).toBe(2 ** (code - 127) / 2);
    expect(Number.isNaN(scaleKinds.e8m0.value(255))).toBe(true);
  });
});

const folder = new URL('../../../../shared/conformance/mx/', import.meta.url);
const present = existsSync(folder);
if (!present) console.log(`numerics.test: ${fileURLToPath(folder)} is absent, its vectors are skipped`);

interface OnnxTensor {
  readonly dtype: string;
  readonly values?: readonly (number | string)[];
  readonly codes?: readonly number[];
}
interface OnnxCase {
  readonly test: string;
  readonly input_0: OnnxTensor;
  readonly output_0: OnnxTensor;
}

const number = (value: number | string): number =>
  typeof value === 'number'
    ? value
    : value === 'NaN'
      ? Number.NaN
      : value === '-0'
        ? -0
        : Number(value.replace('Inf', 'Infinity'));

describe.skipIf(!present)('vectors (skipped where ../shared/conformance is absent)', () => {
  const read = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
  const bytes = (base64: string) => Uint8Array.from(Buffer.from(base64, 'base64'));

  it('casts to E4M3 and E2M1 and back as ONNX does', () => {
    const cases = read('onnx-lowbit-vectors.json') as OnnxCase[];
    let checked = 0;
    for (const { test, input_0, output_0 } of cases) {
      const [, fromType, toType] = /^test_cast_(FLOAT\w*)_to_(FLOAT\w*)$/.exec(test) ?? [];
      const format = FORMATS[{ FLOAT8E4M3FN: 'e4m3', FLOAT4E2M1: 'e2m1' }[toType ?? ''] ?? ''];
      const back = FORMATS[{ FLOAT8E4M3FN: 'e4m3', FLOAT4E2M1: 'e2m1' }[fromType ?? ''] ?? ''];
      if (format)
        for (const [i, text] of input_0.values!.entries()) {
          const value = number(text);
          // The operator's text says 6 for NaN as E2M1, its own vectors −0.
          if (format.fractionBits === 1 && Number.isNaN(value)) continue;
          expect(format.to(value), `${test}[${i}] = ${text}`).toBe(output_0.codes![i]);
          checked++;
        }
      if (back)
        for (const [i, code] of input_0.codes!.entries()) {
          expect(back.from(code) + 0, `${test}[${i}]`).toBe(number(output_0.values![i]) + 0);
          checked++;
        }
    }
    expect(checked).toBeGreaterThan(80);
  });

  it('narrows to BF16 as PyTorch does in gpt-oss', () => {
    const { float32, bfloat16_as_float32 } = read('mxfp4-gptoss-ggml-vectors.json').gpt_oss;
    const [values, want] = [float32, bfloat16_as_float32].map(({ data }) => new Float32Array(bytes(data).buffer));
    for (const [i, value] of values.entries()) expect(fromBf16(toBf16(value))).toBe(want[i]);
  });
});
