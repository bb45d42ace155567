import { describe, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../../test/random.ts';
import { keepsOrder, relaxedDot } from '../../wasm/features.ts';
import { createBackend } from '../create.ts';
import { automatic } from './routes.ts';

const int4 = { format: 'int4', blockSize: 32, N: 33, K: 320, asymmetric: true } as const;
const int8 = { format: 'int8', blockSize: null, N: 33, K: 320, asymmetric: false } as const;

const relaxed = relaxedDot() !== null;

describe('carriers', () => {
  it.runIf(relaxed)('are what was asked for, wherever they are exact', async () => {
    const backend = await createBackend('wasm', { carrier: 'i8' });
    const { relaxedDot } = backend.carriers;
    const ofInt4 = backend.prepare(randomWeights(random(1), int4));
    const ofInt8 = backend.prepare(randomWeights(random(1), int8));
    const ofBlocks16 = backend.prepare(randomWeights(random(1), { ...int4, blockSize: 16 }));
    const nested = relaxedDot?.byteOperand === 'unsigned' ? 'i8u' : 'i8'; // whole bytes of nibbles
    expect(backend.kernelFor(ofInt4, 1)).toBe(`gemm_${nested}x2_int4_f32_1x16_b32_zp_s4`);
    expect(backend.kernelFor(ofInt4, 1, { components: 1 })).toBe(`gemm_${nested}_int4_f32_1x16_b32_zp_s2_a2`);
    expect(backend.kernelFor(ofInt4, 1, { decomposition: 'mxfp4' })).toBe(
      `gemm_${nested}_int4_f32_1x16_b32_a32_zp_s2_a2`,
    );
    const form = relaxedDot?.byteOperand ? `i8${relaxedDot.byteOperand[0]}x2` : 'i16';
    expect(backend.kernelFor(ofInt8, 1)).toContain(`gemm_${form}_int8`);
    expect(backend.kernelFor(ofBlocks16, 1)).toContain('gemm_i16_int4');
    backend.dispose();
  });

  it('are i16 alone if that was asked for', async () => {
    const backend = await createBackend('wasm', { carrier: 'i16' });
    const prepared = backend.prepare(randomWeights(random(1), int4));
    expect(backend.kernelFor(prepared, 1)).toContain('gemm_i16_');
    expect(backend.carriers.relaxedDot).toBeNull();
    await expect(createBackend('wasm', { carrier: 'i9' as never })).rejects.toThrow(
      /carrier expected 'auto', 'i16' or 'i8'/,
    );
    backend.dispose();
  });

  it.runIf(automatic.carrier === 'auto')('are chosen by the gain of the dot, then by timing, and say so', async () => {
    const backend = await createBackend('wasm');
    const prepared = backend.prepare(randomWeights(random(1), int4));
    const kernel = backend.kernelFor(prepared, 1);
    const { relaxedDot, timings } = backend.carriers;
    if (!relaxedDot || relaxedDot.gain < 1.5) expect(kernel).toContain('gemm_i16_');
    else if (relaxedDot.gain >= 2.1) expect(kernel).toContain('gemm_i8');
    else {
      const timing = timings.find(({ microseconds }) => kernel in microseconds);
      expect(timing?.chosen).toBe(kernel);
      const best = Math.min(...Object.values(timing?.microseconds ?? {}));
      expect(timing?.microseconds[kernel]).toBeLessThanOrEqual(best / 0.95);
    }
    backend.dispose();
  });

  it('take the unroll that the engine runs well, where several rows share the weights', async () => {
    const backend = await createBackend('wasm', { carrier: 'i16' });
    const prepared = backend.prepare(randomWeights(random(1), int4));
    const [one, few, many] = [1, 2, 8].map((M) => backend.kernelFor(prepared, M));
    expect(one).not.toContain('_u2');
    expect(few.includes('_u2')).toBe(many.includes('_u2'));
    expect(one.includes('_a2')).toBe(many.includes('_u2'));
    expect(many.includes('_u2')).toBe(keepsOrder());
    backend.dispose();
  });

  it.skipIf(relaxed)('refuse i8 without relaxed SIMD', async () => {
    await expect(createBackend('wasm', { carrier: 'i8' })).rejects.toThrow(/no relaxed SIMD.*same bits/);
  });

  it('autotune takes the fastest kernel for this matrix, with the same bits', async () => {
    const backend = await createBackend('wasm', { carrier: relaxed ? 'i8' : 'i16', debug: true });
    const prepared = backend.prepare(randomWeights(random(1), int4));
    for (const M of [1, 4, 9]) {
      const x = gaussians(random(M), M * int4.K);
      const before = backend.matmul(x, prepared);
      const tuned = backend.autotune(prepared, M);
      expect(tuned.length).toBeGreaterThan(relaxed ? 3 : 2);
      expect(tuned.map(({ milliseconds }) => milliseconds)).toEqual(
        tuned.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b),
      );
      expect(backend.kernelFor(prepared, M)).toBe(tuned[0].kernel);
      expect(firstDifference(backend.matmul(x, prepared), before)).toBe(-1);
    }
    backend.dispose();
  });
});
