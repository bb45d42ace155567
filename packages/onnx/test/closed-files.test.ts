/** A run may need attributes that are text, for sizes that no run before had: the model's bytes are gone by then. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { gaussian, random } from './models.ts';
import { floats, ort, session } from './ort.ts';

const next = random(11);
const pads: TensorSpec = {
  name: 'pads',
  dtype: 'int64',
  dims: [8],
  data: BigInt64Array.from([0, 0, 1, 0, 0, 0, 0, 1], BigInt),
};

const nodes: readonly NodeSpec[] = [
  { opType: 'Pad', inputs: ['x', 'pads'], outputs: ['y'], attributes: { mode: { string: 'reflect' } } },
  {
    opType: 'MaxPool',
    inputs: ['x'],
    outputs: ['y'],
    attributes: { auto_pad: { string: 'SAME_UPPER' }, kernel_shape: { ints: [2, 2] } },
  },
];

describe('after create, with sizes that only a run has', () => {
  it.each(nodes.map((node) => [node.opType, node] as const))('%s', async (_, node) => {
    const model = writeModel({
      opsets: { '': 20 },
      graph: {
        nodes: [node],
        initializers: node.inputs.includes('pads') ? [pads] : [],
        inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 4, 'height', 'width'] }],
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const [msd, plain] = [await session(model, { name: 'msd', claim: 'all' }), await session(model, 'wasm')];
    expect(reportOf(msd)!.nodes.map(({ where }) => where)).toEqual(['msd']);
    for (const dims of [
      [1, 4, 9, 7],
      [2, 4, 5, 12],
    ]) {
      const data = gaussian(
        next,
        dims.reduce((a, b) => a * b, 1),
      );
      const x = new ort.Tensor('float32', data, dims);
      const [got, want] = [(await msd.run({ x })).y!, (await plain.run({ x })).y!];
      expect(got.dims).toEqual(want.dims);
      expect(floats(got)).toEqual(floats(want));
    }
    for (const each of [msd, plain]) await each.release();
  });
});
