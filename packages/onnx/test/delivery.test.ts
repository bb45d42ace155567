import { describe, expect, it } from 'vitest';
import { firstDifference } from '../../core/test/random.ts';
import { reportOf } from '../src/register.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const K = 32;
const head = makeMatrix({ name: 'head', N: 2 ** 15, K, bias: true, seed: 3 });
const bytes = model({
  nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['h'] }, head.node('h', 'y')],
  initializers: [...head.initializers],
  inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', K] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', head.N] }],
});
const x = (rows: number) => tensor(gaussian(random(rows), rows * K), [rows, K]);

describe('large results', () => {
  it('go to an array of the caller’s and take no place on the device', async () => {
    const s = await session(bytes);
    const rows = 300;
    const { y } = await s.run({ x: x(rows) });
    expect(y!.dims).toEqual([rows, head.N]);
    const report = reportOf(s)!;
    const intermediates = report.memory.scratch.intermediates!;
    expect(intermediates).toBeLessThan(2 ** 20);
    expect(report.nodes.find(({ opType }) => opType === 'MatMulNBits')!.kernel).toMatch(/^gemm_/);
    expect(report.bytesCopiedPerCall.outOfMsd).toBe(4 * rows * head.N);

    // The same bits as row by row, where results come from the device.
    const given = x(rows).data as Float32Array;
    for (const row of [0, 1, 255, 256, 299]) {
      const one = await s.run({ x: tensor(given.slice(row * K, (row + 1) * K), [1, K]) });
      const want = floats(one.y);
      expect(firstDifference(floats(y).subarray(row * head.N, (row + 1) * head.N), want)).toBe(-1);
    }
    await s.release();
  });

  it('are other arrays in every run, or the tensor that the caller gives', async () => {
    const s = await session(bytes);
    const first = await s.run({ x: x(40) });
    const kept = floats(first.y).slice();
    await s.run({ x: tensor(new Float32Array(40 * K), [40, K]) });
    expect(firstDifference(floats(first.y), kept)).toBe(-1);
    const target = new ort.Tensor('float32', new Float32Array(40 * head.N), [40, head.N]);
    const { y } = await s.run({ x: x(40) }, { y: target });
    expect(y).toBe(target);
    expect(firstDifference(floats(target), kept)).toBe(-1);
    await s.release();
  });
});
