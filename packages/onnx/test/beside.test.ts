/** ONNX Runtime starts, and makes its sessions, beside the packing of weights: results and refusals are as before. */
import { sqnr } from '@msd/core';
import { describe, expect, it } from 'vitest';
import type { LoadProgress } from '../src/register.ts';
import { reportOf } from '../src/register.ts';
import { type GraphSpec, writeModel } from '../src/write/index.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const [N, K] = [64, 64];
const x = gaussian(random(3), K);

/** Products around something of ONNX Runtime's. @param scale of a weight, if it is to be another one */
function model(scale?: number): Uint8Array {
  const matrices = [1, 2, 3].map((seed) => makeMatrix({ name: `w${seed}`, N, K, seed }));
  const initializers = matrices.flatMap((matrix) => matrix.initializers);
  if (scale !== undefined) {
    const scales = initializers.findLast(({ dtype }) => dtype === 'float32')!;
    (scales.data as Float32Array)[0] = scale;
  }
  const graph: GraphSpec = {
    inputs: [{ name: 'x', dtype: 'float32', dims: [1, K] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: [1, N] }],
    initializers,
    nodes: [
      matrices[0]!.node('x', 'a'),
      { opType: 'Selu', inputs: ['a'], outputs: ['b'] },
      matrices[1]!.node('b', 'c'),
      matrices[2]!.node('c', 'y'),
    ],
  };
  return writeModel({ graph });
}

const run = async (bytes: Uint8Array, provider: 'msd' | 'wasm'): Promise<Float32Array> => {
  const created = await session(bytes, provider);
  const { y } = await created.run({ x: tensor(x, [1, K]) });
  const values = floats(y).slice();
  await created.release();
  return values;
};

describe('a model that needs ONNX Runtime', () => {
  it('has the same results, and packs its weights while ONNX Runtime starts', async () => {
    const phases: string[] = [];
    const { InferenceSession } = ort;
    const create = InferenceSession.create.bind(InferenceSession);
    const foreign: Promise<unknown>[] = [];
    // What MSD itself asks ONNX Runtime for, and when it has it.
    InferenceSession.create = ((...args: Parameters<typeof create>) => {
      const made = create(...args);
      foreign.push(made.then(() => phases.push('session')));
      return made;
    }) as typeof create;
    try {
      const onProgress = ({ phase }: LoadProgress) => phases.at(-1) !== phase && phases.push(phase);
      const created = await session(model(), { name: 'msd', onProgress });
      expect(reportOf(created)!.foreignSessions).toBe(1);
      await created.release();
    } finally {
      InferenceSession.create = create;
    }
    await Promise.all(foreign);
    expect(phases.indexOf('start')).toBeLessThan(phases.indexOf('pack'));
    expect(phases.indexOf('pack')).toBeLessThan(phases.indexOf('session'));
    const [own, theirs] = [await run(model(), 'msd'), await run(model(), 'wasm')];
    expect(sqnr(theirs, own)).toBeGreaterThan(60);
  });

  it('is decided again if a scale is met that MSD does not take', async () => {
    const created = await session(model(2 ** 95), { name: 'msd' });
    expect(reportOf(created)!.nodes.filter(({ where }) => where === 'ort').length).toBeGreaterThan(1);
    await created.release();
  });
});
