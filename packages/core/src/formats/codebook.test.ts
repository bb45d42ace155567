/** The codebooks of bitsandbytes and the grids that they lie on. */
import { describe, expect, it } from 'vitest';
import { gaussians, random } from '../../test/random.ts';
import { codebooks } from './codebook.ts';
import { dequantizeWeights, quantizeWeights } from './quantize.ts';

/** Values of bitsandbytes, as ONNX Runtime has them (blockwise_quant_block_bnb4.h). */
const EXACT: Readonly<Record<'nf4' | 'fp4', readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, 0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4],
};

describe.each(['nf4', 'fp4'] as const)('%s', (id) => {
  const { values, step } = codebooks[id];
  const low = codebooks[`${id}low`];
  const whole = (code: number) => values[code] * step + low.values[code] * low.step;

  it('is split into two integers of 8 bits, as near as docs/msd.md says', () => {
    for (const all of [values, low.values])
      expect(all.every((value) => Number.isInteger(value) && Math.abs(value) <= 127)).toBe(true);
    const off = EXACT[id].map((value, code) => Math.abs(whole(code) - value));
    expect(Math.max(...off)).toBeLessThanOrEqual({ nf4: 1.8e-5, fp4: 2 ** -53 }[id]);
  });

  it('leaves nothing on average, so that activations of one sign do not add it up', () => {
    const weights = quantizeWeights(gaussians(random(2), 2 ** 18), { N: 256, K: 1024, format: id });
    const codes = Array.from({ length: 2 ** 18 }, (_, i) => (weights.data[i >> 1] >> (4 * (i & 1))) & 15);
    const sum = codes.reduce((total, code) => total + whole(code) - EXACT[id][code], 0);
    expect(Math.abs(sum) / codes.length).toBeLessThan(2 ** -22);
  });

  it('has high parts that are off by a twentieth of what the codebook itself loses on Gaussian weights', () => {
    const [N, K] = [64, 1024];
    const w = gaussians(random(1), N * K);
    const weights = quantizeWeights(w, { N, K, format: id });
    const grid = dequantizeWeights(weights);
    const relative = (of: (i: number) => number) =>
      Math.sqrt(w.reduce((sum, _, i) => sum + of(i) ** 2, 0) / w.reduce((sum, value) => sum + value ** 2, 0));
    const exact = (i: number) => {
      const code = (weights.data[i >> 1] >> (4 * (i & 1))) & 15;
      return (EXACT[id][code] * (weights.scales[Math.floor(i / 64)] as number)) / step;
    };
    expect(weights.blockSize).toBe(64);
    const own = relative((i) => exact(i) - w[i]);
    const ofHigh = relative((i) => grid[i] - exact(i));
    expect(ofHigh).toBeLessThan(0.0055);
    expect(ofHigh).toBeLessThan(own / 15);
  });

  it('keeps zero blocks at zero, and short last blocks', () => {
    const w = new Float32Array(2 * 70);
    w[69] = -3;
    const weights = quantizeWeights(w, { N: 2, K: 70, format: id });
    const back = dequantizeWeights(weights);
    expect(back.filter((value) => value !== 0)).toHaveLength(1);
    expect(back[69]).toBeCloseTo(-3, 6);
  });
});
