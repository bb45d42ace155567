/** Writes the seeds of the fuzz tests: `node test/corpus/make.ts`. Files named `regression-*` are mutants that reached rare checks; they stay. */
import { writeFileSync } from 'node:fs';
import type { DataTypeName } from '../../src/data-types.ts';
import { type GraphSpec, type NodeSpec, writeModel } from '../../src/write/index.ts';
import { Message } from '../../src/write/message.ts';
import { makeMatrix } from '../models.ts';

const K = 32;
const a = makeMatrix({ name: 'a', N: 8, K });
const b = makeMatrix({ name: 'b', N: K, K: 8, bits: 8, zeroPoints: true, bias: true });
const c = makeMatrix({ name: 'c', N: 5, K: 40, zeroPoints: true });
const value = (name: string, dtype: DataTypeName = 'float32', dims: (number | string)[] = ['m', K]) => ({
  name,
  dtype,
  dims,
});
const op = (opType: string, inputs: string[], outputs: string[], attributes: NodeSpec['attributes'] = {}): NodeSpec => {
  return { opType, name: outputs[0]!, inputs, outputs, attributes };
};

const branch = (opType: string): GraphSpec => ({
  nodes: [op(opType, ['p'], ['r'])],
  inputs: [],
  outputs: [{ name: 'r', dtype: 'float32' }],
});

const typedBias = new Message().ints(1, [8]).int(2, 1).floats(4, [1, 2, 3, 4, 5, 6, 7, 8]).string(8, 'bias');

const models: Record<string, GraphSpec> = {
  single: {
    nodes: [a.node('x', 'y')],
    initializers: a.initializers,
    inputs: [value('x')],
    outputs: [value('y', 'float32', ['m', 8])],
  },
  chain: {
    nodes: [
      op('Relu', ['x'], ['r']),
      a.node('r', 'p'),
      op('Sigmoid', ['p'], ['s']),
      b.node('s', 'q'),
      op('Add', ['q', 'r'], ['y']),
    ],
    initializers: [...a.initializers, ...b.initializers],
    inputs: [value('x')],
    outputs: [value('y'), value('p', 'float32', ['m', 8])],
  },
  branch: {
    nodes: [
      a.node('x', 'p'),
      op('If', ['flag'], ['y'], { then_branch: { graph: branch('Relu') }, else_branch: { graph: branch('Neg') } }),
    ],
    initializers: a.initializers,
    inputs: [value('x'), value('flag', 'bool', [])],
    outputs: [{ name: 'y', dtype: 'float32' }],
  },
  typed: {
    nodes: [
      op('Constant', [], ['one'], { value_float: { float: 1 } }),
      op('Constant', [], ['axes'], { value_ints: { ints: [0] } }),
      op('Add', ['x', 'one'], ['r']),
      { ...a.node('r', 'p'), inputs: ['r', 'a_Q', 'a_scales', '', '', 'bias'] },
      op('Unsqueeze', ['p', 'axes'], ['y']),
    ],
    initializers: [...a.initializers, { encoded: typedBias }],
    inputs: [value('x')],
    outputs: [{ name: 'y', dtype: 'float32' }],
  },
  tail: {
    nodes: [c.node('x', 'y')],
    initializers: c.initializers,
    inputs: [value('x', 'float32', ['m', 40])],
    outputs: [value('y', 'float32', ['m', 5])],
  },
  plain: {
    nodes: [op('MatMul', ['x', 'w'], ['h']), op('Softmax', ['h'], ['y'], { axis: { int: -1 } })],
    initializers: [{ name: 'w', dtype: 'float32', dims: [K, 2], data: new Float32Array(2 * K).fill(0.5) }],
    inputs: [value('x')],
    outputs: [value('y', 'float32', ['m', 2])],
  },
};

for (const [name, graph] of Object.entries(models)) {
  writeFileSync(new URL(`${name}.onnx`, import.meta.url), writeModel({ graph }));
}
