import { describe, expect, it } from 'vitest';
import { kernelOn } from '../../test/kernels.ts';
import { kernelHashes } from '../../test/ops.ts';
import { firstDifference } from '../../test/random.ts';
import { widenSpec, widenVariants } from '../decompose/widen.wasm.ts';
import { narrowSpec, narrowVariants } from '../recombine/narrow.wasm.ts';
import { floatsOfFp16, fp16Bits } from './fp16-arrays.ts';
import { bitsOf, type HalfType, halves, isFloat16Array, type NativeFloat16Array } from './half.ts';

/** Bits of exponent and significand, from the formats' definitions. */
const parameters = { f16: { exponent: 5, significand: 10 }, bf16: { exponent: 8, significand: 7 } };
const types = Object.keys(parameters) as HalfType[];
const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
/** Declared in newer libraries than the engines that are tested have. */
type Native = new (length: number) => NativeFloat16Array & ArrayLike<number> & { set(from: Float32Array): void };
const NativeArray = Reflect.get(globalThis, 'Float16Array') as Native | undefined;

/** Value by the definition: (−1)^s · 1.f · 2^(e − bias), subnormals 0.f · 2^(1 − bias). */
function definition(type: HalfType, bits: number): number {
  const { exponent, significand } = parameters[type];
  const [fraction, field] = [bits % 2 ** significand, Math.floor(bits / 2 ** significand) % 2 ** exponent];
  const sign = bits >= 0x8000 ? -1 : 1;
  if (field === 2 ** exponent - 1) return fraction ? Number.NaN : sign * Infinity;
  const bias = 2 ** (exponent - 1) - 1;
  const f = fraction / 2 ** significand;
  return sign * (field === 0 ? f * 2 ** (1 - bias) : (1 + f) * 2 ** (field - bias));
}

const floatOf = (word: number): number => new Float32Array(Uint32Array.of(word).buffer)[0];
const wordOf = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0];

describe.each(types)('%s', (type) => {
  const half = halves[type];
  const infinity = type === 'f16' ? 0x7c00 : 0x7f80;
  const values = Float32Array.from(patterns, half.value);

  function widened(bits: Uint16Array, from = 0x20000, to = 0x40000): Float32Array {
    const memory = new WebAssembly.Memory({ initial: 16 });
    new Uint8Array(memory.buffer, from).set(new Uint8Array(bits.slice().buffer));
    kernelOn(memory, widenSpec, type)({ bits: from, x: to, count: bits.length });
    expect(new Float32Array(memory.buffer, to)[bits.length]).toBe(0);
    return new Float32Array(memory.buffer, to, bits.length);
  }

  const narrow = (() => {
    const memory = new WebAssembly.Memory({ initial: 64 });
    const kernel = kernelOn(memory, narrowSpec, type);
    return (words: Uint32Array): Uint16Array => {
      new Uint32Array(memory.buffer, 0, words.length).set(words);
      kernel({ y: 0, yStride: 0, out: 0, outStride: 0, M: 1, width: words.length });
      return new Uint16Array(memory.buffer, 0, words.length);
    };
  })();

  it('widens all 65,536 patterns exactly', () => {
    const want = Array.from(patterns, (bits) => definition(type, bits));
    expect(firstDifference(values, want)).toBe(-1);
    expect(firstDifference(widened(patterns), want)).toBe(-1);
    if (type === 'f16') expect(firstDifference(floatsOfFp16(patterns), want)).toBe(-1);
    expect(firstDifference(widened(patterns.subarray(1), 0x20001), want.slice(1)), 'at an odd address').toBe(-1);
  });

  it('widens any count, also where the patterns end where the values end', () => {
    for (const count of [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 1023]) {
      const bits = patterns.subarray(0x3bf0, 0x3bf0 + count);
      expect(firstDifference(widened(bits, 0x40000 + 2 * count), values.subarray(0x3bf0, 0x3bf0 + count))).toBe(-1);
    }
  });

  it('narrows every tie to even, its neighbours to the nearest, and what is beyond to Inf', () => {
    const [words, want]: [number[], number[]] = [[], []];
    for (const sign of [0, 0x8000])
      for (let bits = 0; bits < infinity; bits++) {
        const value = half.value(bits);
        // What would follow the largest one decides where Inf begins.
        const next = bits + 1 === infinity ? value + (value - half.value(bits - 1)) : half.value(bits + 1);
        const tie = wordOf(value + (next - value) / 2);
        if (floatOf(tie) !== value + (next - value) / 2) throw new Error(`no tie above ${value}`);
        words.push(wordOf(value), tie - 1, tie, tie + 1);
        want.push(bits, bits, bits % 2 ? bits + 1 : bits, bits + 1);
        for (let i = words.length - 4; sign && i < words.length; i++) {
          words[i] += 0x80000000;
          want[i] += sign;
        }
      }
    expect(firstDifference(narrow(Uint32Array.from(words)), want)).toBe(-1);
    if (type === 'f16') expect(firstDifference(fp16Bits(Float32Array.from(words, floatOf)), want)).toBe(-1);
    expect(
      firstDifference(
        Array.from(words, (word) => half.bits(floatOf(word))),
        want,
      ),
    ).toBe(-1);
  });

  it('narrows a dense sample of all f32 to what the reference gives; each NaN to the same one', () => {
    const step = process.env.MSD_TEST_ALL === '1' ? 257 : 4099;
    const chunk = 2 ** 18;
    for (let start = 0; start < 2 ** 32; start += chunk * step) {
      const length = Math.min(chunk, Math.ceil((2 ** 32 - start) / step));
      const words = Uint32Array.from({ length }, (_, i) => start + i * step);
      const want = Uint16Array.from(new Float32Array(words.buffer), half.bits);
      const at = firstDifference(narrow(words), want);
      if (at >= 0) throw new Error(`0x${words[at].toString(16)} expected ${want[at]}, got ${narrow(words)[at]}`);
      if (type === 'f16') expect(firstDifference(fp16Bits(new Float32Array(words.buffer)), want)).toBe(-1);
    }
    const nan = infinity + (type === 'f16' ? 0x200 : 0x40);
    const edges = [0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7fc00000, 0x7f7fffff];
    const ends = [infinity, infinity + 0x8000, nan, nan, nan, nan, nan, infinity];
    expect(Array.from(narrow(Uint32Array.from(edges)))).toEqual(ends);
    if (type === 'f16') expect(Array.from(fp16Bits(new Float32Array(Uint32Array.from(edges).buffer)))).toEqual(ends);
  });

  it('gives a pattern back after widening', () => {
    const words = new Uint32Array(values.buffer);
    const isNan = (bits: number) => (bits & 0x7fff) > infinity;
    const want = patterns.map((bits) => (isNan(bits) ? infinity + (type === 'f16' ? 0x200 : 0x40) : bits));
    expect(firstDifference(narrow(words), want)).toBe(-1);
  });

  it('narrows rows with strides, and writes nothing beside them', () => {
    const memory = new WebAssembly.Memory({ initial: 4 });
    const kernel = kernelOn(memory, narrowSpec, type);
    for (const width of [0, 1, 7, 8, 9, 16, 23]) {
      const [M, yStride, bitsStride] = [3, 24, width + 2];
      const y = new Float32Array(memory.buffer, 0, M * yStride).map((_, i) => i / 8);
      new Float32Array(memory.buffer).set(y);
      const bits = new Uint16Array(memory.buffer, 0x10002, M * bitsStride).fill(0xabcd);
      kernel({ y: 0, yStride: 4 * yStride, out: 0x10002, outStride: 2 * bitsStride, M, width });
      const want = Array.from(bits, (_, i) => {
        const [m, n] = [Math.floor(i / bitsStride), i % bitsStride];
        return n < width ? half.bits(y[m * yStride + n]) : 0xabcd;
      });
      expect(Array.from(bits), `width ${width}`).toEqual(want);
    }
  });
});

it('f32 rows are copied with strides, and nothing beside them is written', () => {
  const memory = new WebAssembly.Memory({ initial: 4 });
  const copy = kernelOn(memory, narrowSpec, 'f32');
  for (const width of [0, 1, 3, 4, 5, 8, 23]) {
    const [M, yStride, outStride] = [3, 24, width + 1];
    const y = new Float32Array(memory.buffer, 0, M * yStride).map((_, i) => i / 8);
    new Float32Array(memory.buffer).set(y);
    const out = new Float32Array(memory.buffer, 0x10004, M * outStride).fill(-1);
    copy({ y: 0, yStride: 4 * yStride, out: 0x10004, outStride: 4 * outStride, M, width });
    const want = Array.from(out, (_, i) => {
      const [m, n] = [Math.floor(i / outStride), i % outStride];
      return n < width ? y[m * yStride + n] : -1;
    });
    expect(Array.from(out), `width ${width}`).toEqual(want);
  }
});

it.skipIf(!NativeArray)('agrees with the engine’s own Float16Array (skipped where the engine has none)', () => {
  const array = new NativeArray!(65536);
  expect(isFloat16Array(array)).toBe(true);
  bitsOf(array).set(patterns);
  expect(firstDifference(array, Array.from(patterns, halves.f16.value))).toBe(-1);
  const sample = new Float32Array(Uint32Array.from({ length: 2 ** 16 }, (_, i) => i * 65521).buffer);
  array.set(sample);
  const want = Array.from(bitsOf(array), halves.f16.value);
  expect(firstDifference(Array.from(sample, halves.f16.bits).map(halves.f16.value), want)).toBe(-1);
});

it('knows a Float16Array from other views', () => {
  for (const other of [new Uint16Array(1), new Float32Array(1), new DataView(new ArrayBuffer(2)), {}, null, undefined])
    expect(isFloat16Array(other)).toBe(false);
  expect(isFloat16Array({ [Symbol.toStringTag]: 'Float16Array' })).toBe(false);
});

it('kernels are the bytes that were reviewed', () => {
  expect([...kernelHashes(widenSpec, widenVariants), ...kernelHashes(narrowSpec, narrowVariants)]).toMatchSnapshot();
});
