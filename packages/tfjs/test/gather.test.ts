import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gather, matMul, quantize, register, sparseSegmentMean, sparseSegmentSum, unregister } from '../src/index.ts';
import { BACKENDS, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

describe.each(BACKENDS)('look-ups on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('give rows that are within half a step, of any shape of indices', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [rows, columns] = [37, 30]; // 1110 bytes: no multiple of 4
        const table = tensor(1, [rows, columns]);
        const q = quantize(table, { use: 'gather' });
        expect(q.shape).toEqual([rows, columns]);
        const indices = tf.tensor2d([0, 36, 7, 7, 1, 2], [2, 3], 'int32');
        const [got, want] = [gather(q, indices), tf.gather(table, indices)];
        expect(got.shape).toEqual([2, 3, columns]);
        const steps = tf.max(tf.abs(want), -1, true).div(254); // the largest value may be the most negative code
        const excess = tf.sub(tf.abs(tf.sub(got, want)), tf.mul(steps, 1.001));
        expect(tf.max(excess).dataSync()[0]).toBeLessThanOrEqual(0);
      }),
    );
  });

  it('serve tied embeddings: rows of a matrix that matMul also takes', () =>
    tf.tidy(() => {
      const table = tensor(2, [40, 64]);
      const q = quantize(table, { transpose: true, format: 'int4' });
      const all = gather(q, tf.range(0, 40, 1, 'int32'));
      const x = tensor(3, [2, 64]);
      const [got, want] = [matMul(x, q), tf.matMul(x, all, false, true)];
      expect(tf.max(tf.abs(tf.sub(got, want))).dataSync()[0]).toBeLessThan(1e-3);
    }));

  it('sum and average like tfjs does on the same rows', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const q = quantize(tensor(1, [50, 12]), { use: 'gather' });
        const real = gather(q, tf.range(0, 50, 1, 'int32'));
        const indices = tf.tensor1d([3, 1, 4, 1, 5, 9, 2, 6], 'int32');
        const ids = tf.tensor1d([0, 0, 0, 2, 2, 2, 2, 3], 'int32'); // segment 1 is empty
        const sum = sparseSegmentSum(q, indices, ids);
        expect(sum.dataSync()).toEqual(tf.sparse.sparseSegmentSum(real, indices, ids).dataSync());
        const mean = sparseSegmentMean(q, indices, ids);
        expect(mean.shape).toEqual([4, 12]);
        expect(mean.dataSync()).toEqual(tf.sparse.sparseSegmentMean(real, indices, ids).dataSync());
        expect(sparseSegmentSum(q, tf.tensor1d([], 'int32'), tf.tensor1d([], 'int32')).shape).toEqual([0, 12]);
      }),
    );
  });

  it('refuse bad indices with typed errors, without leaks', async () => {
    const q = tidied(() => quantize(tensor(1, [5, 8]), { use: 'gather' }));
    const batch = tidied(() => quantize(tensor(1, [2, 5, 8])));
    const int = (values: number[]) => tf.tensor1d(values, 'int32');
    await withoutLeaks(() => {
      const bad: [() => unknown, RegExp][] = [
        [() => gather(q, int([5])), /indices\[0\], expected 0 … 4, got 5/],
        [() => gather(q, int([0, -1])), /indices\[1\], expected 0 … 4, got -1/],
        [() => gather(q, tf.tensor1d([1])), /expected an int32 tensor, got float32/],
        [() => gather(batch, int([0])), /expected a table \[rows, columns\], got int8 \[2,5,8\]/],
        [() => gather({} as never, int([0])), /expected a QuantizedTensor/],
        [() => matMul(tensor(1, [1, 5]), q), /expected a matrix, got QuantizedTensor int8 \[5,8\]/],
        [() => sparseSegmentMean(q, int([1, 2]), int([0])), /segmentIds, expected 2 like indices, got 1/],
        [() => sparseSegmentSum(q, int([1, 2]), int([1, 0])), /never decrease, got 0/],
        [() => sparseSegmentSum(q, int([1, 9]), int([0, 0])), /indices\[1\], expected 0 … 4, got 9/],
        [() => quantize(tensor(1, [5, 8]), { use: 'gather', format: 'int4' }), /int8 with one scale per row/],
      ];
      for (const [run, message] of bad)
        tf.tidy(() => {
          expect(run, String(message)).toThrow(message);
        });
    });
    q.dispose();
    batch.dispose();
  });
});
