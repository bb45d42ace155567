/** MatMulBnb4 against the exact codebooks in float64, onnxruntime-web alongside. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type Bnb4Options, bnb4 } from './bnb4-model.ts';
import { exactProduct, firstMiss, gaussian, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

async function outcome(options: Bnb4Options): Promise<string> {
  const msd = await session(bnb4(options).bytes);
  const [node] = reportOf(msd)!.nodes;
  await msd.release();
  return node!.where === 'msd' ? 'taken' : (node!.reason ?? '');
}

describe('MatMulBnb4', () => {
  it.each<[string, Bnb4Options, number, ('i8' | 'i16')?]>([
    ['NF4, one row', { N: 48, K: 128 }, 1],
    ['NF4, many rows', { N: 17, K: 192 }, 19],
    ['NF4, i16', { N: 33, K: 320 }, 3, 'i16'],
    ['NF4, i8', { N: 33, K: 320 }, 3, 'i8'],
    ['FP4', { N: 33, K: 64, format: 'fp4' }, 1],
    ['FP4, blocks of 16, i16', { N: 15, K: 48, format: 'fp4', blockSize: 16 }, 2, 'i16'],
    ['FP4, long blocks', { N: 16, K: 1024, format: 'fp4', blockSize: 256 }, 9],
    ['blocks that are part of two rows', { N: 19, K: 96 }, 2],
    ['a block longer than a row', { N: 6, K: 16, blockSize: 64 }, 2],
    ['N = 1', { N: 1, K: 64 }, 1],
    ['no rows', { N: 4, K: 64 }, 0],
  ])('%s', async (_, options, rows, carrier) => {
    const { bytes, matrix, off } = bnb4(options);
    const { N, K } = matrix;
    const x = gaussian(random(7), rows * K);
    const feeds = { x: tensor(x, [1, rows, K]) };
    const msd = await session(bytes, { name: 'msd', debug: true, ...(carrier && { carrier }) });
    const { y } = await msd.run(feeds);
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    expect(y!.dims).toEqual([1, rows, N]);
    const exact = exactProduct(matrix, x);
    const bound = exact.bound.map((own, i) => {
      const [m, n] = [Math.floor(i / N), i % N];
      let codebook = 0;
      for (let k = 0; k < K; k++) codebook += Math.abs(x[m * K + k]!) * off[n * K + k]!;
      return 2 * own + codebook; // two products
    });
    expect(firstMiss(floats(y), { y: exact.y, bound })).toBeUndefined();
    await msd.release();
    const plain = await session(bytes, 'wasm');
    const expected = floats((await plain.run(feeds)).y as ort.Tensor);
    const ofOrt = expected.map((value, i) => value - floats(y)[i]!);
    for (const [i, difference] of ofOrt.entries())
      expect(Math.abs(difference)).toBeLessThanOrEqual(bound[i]! + Math.abs(exact.y[i]!) * K * 2 ** -23 + 1e-5);
    await plain.release();
  });

  it.each<[string, Bnb4Options]>([
    ['blocks of 64 cut rows of 40 into pieces below 16', { N: 8, K: 40 }],
    ['B is not transposed', { N: 64, K: 64, attributes: { transB: 0 } }],
    ['it is for training', { N: 8, K: 64, attributes: { training_mode: 1 } }],
  ])('leaves to ONNX Runtime: %s', async (reason, options) => {
    expect(await outcome(options)).toContain(reason);
  });
});
