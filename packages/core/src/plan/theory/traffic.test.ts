/** Bytes against a kernel that is played, element by element, and the paper's ratio. */
import { expect, it } from 'vitest';
import { type AttentionKernel, attentionKernels, attentionTraffic, bytesPerElement } from './traffic.ts';

const SHAPE = { rows: 6, keys: 10, heads: 4, kvHeads: 2, headSize: 8, rowsPerTile: 2 };

/** Every byte that crosses the bus, counted one at a time. */
function played(kernel: AttentionKernel, { rows, keys, heads, kvHeads, headSize, rowsPerTile }: typeof SHAPE): number {
  const stored = kernel === 'float' ? 2 : 1;
  const passes = kernel === 'passes' ? 2 : 1;
  let bytes = 0;
  for (let head = 0; head < kvHeads; head++)
    for (let key = 0; key < keys; key++)
      for (let element = 0; element < 2 * headSize; element++) {
        if (kernel === 'write-back') bytes += stored + 2;
        for (let row = 0; row < rows; row += rowsPerTile)
          for (let pass = 0; pass < passes; pass++) bytes += kernel === 'write-back' ? 2 : stored;
      }
  for (let head = 0; head < heads; head++) for (let row = 0; row < rows; row++) bytes += headSize * (2 + 2);
  return bytes;
}

it.each(attentionKernels)('%s', (kernel) => {
  expect(attentionTraffic(kernel, SHAPE).total).toBe(played(kernel, SHAPE));
  const { keysAndValues, queries, total } = attentionTraffic(kernel, { ...SHAPE, rowsPerTile: 6 });
  expect(total).toBe(keysAndValues + queries);
  expect(keysAndValues).toBe(2 * 2 * 10 * 8 * bytesPerElement(kernel, 8));
});

it('is the paper’s 2.5 between writing back and two passes that each read, 1/2 beside a fused kernel', () => {
  const of = (kernel: AttentionKernel) => bytesPerElement(kernel, 128);
  expect(of('write-back') / of('passes')).toBe(2.5);
  expect(of('fused') / of('passes')).toBe(0.5);
  expect(of('float') / of('shared')).toBe(2);
  expect(of('write-back') / of('shared')).toBe(5);
});

it('counts scales, bytes and passes', () => {
  expect(bytesPerElement('shared', 64, { scaleBytes: 4 })).toBe(1 + 1 / 16);
  expect(bytesPerElement('passes', 64, { bytes: 2, scaleBytes: 4, passes: 3 })).toBe(3 * (2 + 1 / 16));
  expect(bytesPerElement('write-back', 64, { scaleBytes: 4 })).toBe(5 + 1 / 16);
  expect(bytesPerElement('float', 64, { bytes: 1, scaleBytes: 4 })).toBe(2);
});

it('approaches the ratio of keys and values with longer texts', () => {
  const ratio = (keys: number) => {
    const shape = { rows: 1, keys, heads: 8, kvHeads: 1, headSize: 128 };
    return attentionTraffic('write-back', shape).total / attentionTraffic('passes', shape).total;
  };
  const ratios = [1, 16, 256, 32768].map(ratio);
  expect(ratios).toEqual([...ratios].sort((a, b) => a - b));
  expect(ratios.at(-1)).toBeCloseTo(2.5, 2);
});
