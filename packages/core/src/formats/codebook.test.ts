/** The codebooks of bitsandbytes and the grids that they lie on. */
import { describe, expect, it } from 'vitest';
import { gaussians, random } from '../../test/random.ts';
import { type CodebookId, codebooks } from './codebook.ts';
import { dequantizeWeights, quantizeWeights } from './quantize.ts';

/** Values of bitsandbytes, as ONNX Runtime has them (blockwise_quant_block_bnb4.h). */
const EXACT: Readonly<Record<CodebookId, readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, 0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4],
};

describe.each(['nf4', 'fp4'] as const)('%s', (id) => {
  const { values, step } = codebooks[id];

  it('lies on a grid of 8 bits, as near as docs/msd.md says', () => {
    const off = values.map((value, code) => Math.abs(value * step - EXACT[id][code]));
    expect(values.every((value) => Number.isInteger(value) && Math.abs(value) <= 127)).toBe(true);
    expect(Math.max(...off)).toBeLessThan(step / 2);
    if (id === 'fp4') expect(off.filter((error) => error > 1e-15)).toHaveLength(2); // ± 1/192
  });

  it('is off by less than a tenth of what the codebook itself loses on Gaussian weights', () => {
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
    const own = relative((i) => exact(i) - w[i]);
    const ofGrid = relative((i) => grid[i] - exact(i));
    expect(ofGrid).toBeLessThan(own / 10);
    expect(ofGrid).toBeLessThan({ nf4: 0.005, fp4: 0.004 }[id]);
  });

  it('keeps zero blocks at zero, and short last blocks', () => {
    const w = new Float32Array(2 * 70);
    w[69] = -3;
    const weights = quantizeWeights(w, { N: 2, K: 70, format: id });
    const back = dequantizeWeights(weights);
    expect(back.filter((value) => value !== 0)).toHaveLength(1);
    expect(Math.abs(back[69] + 3)).toBeLessThan(3 * 0.003);
  });
});
