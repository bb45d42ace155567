/** The q8 form of a float model: which nodes it has, and what rounding leaves. That it runs is the pages' test. */
import type { NodeSpec, TensorSpec } from '@msd/onnx/write';
import { expect, it } from 'vitest';
import { dynamicQ8 } from './dynamic-q8.ts';

it('spells products of constants as the hub’s q8 files do', () => {
  const weights = new Float32Array([0.5, -2, 1, 0.004, 0, 1.27]);
  const matMul = (name: string, inputs: string[], output: string) => ({
    name,
    opType: 'MatMul',
    inputs,
    outputs: [output],
  });
  const { graph } = dynamicQ8({
    graph: {
      nodes: [matMul('a', ['x', 'w'], 'y'), matMul('b', ['x', 'v'], 'z'), matMul('c', ['y', 'z'], 'out')],
      initializers: [
        { name: 'w', dtype: 'float32', dims: [2, 3], data: weights },
        { name: 'v', dtype: 'float32', dims: [2, 3], data: new Float32Array(6) }, // all zero: no division by it
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: [1, 2] }],
      outputs: [{ name: 'out', dtype: 'float32' }],
    },
  });
  const nodes = graph.nodes as NodeSpec[];
  const product = ['MatMulInteger', 'Cast', 'Mul', 'Mul'];
  expect(nodes.map(({ opType }) => opType)).toEqual(['DynamicQuantizeLinear', ...product, ...product, 'MatMul']);
  const made = new Set(['x', ...(graph.initializers as TensorSpec[]).map(({ name }) => name)]);
  for (const node of nodes) {
    for (const input of node.inputs) expect(made, `${node.name} reads ${input}`).toContain(input);
    for (const output of node.outputs) made.add(output);
  }
  const tensor = (name: string) => (graph.initializers as TensorSpec[]).find((one) => one.name === name);
  expect([tensor('w'), tensor('v')]).toEqual([undefined, undefined]);
  const [scale = 0] = tensor('w_scale')!.data as Float32Array;
  expect(scale).toBeCloseTo(2 / 127, 7);
  const codes = tensor('w_quantized')!.data as Int8Array;
  for (const [i, weight] of weights.entries())
    expect(Math.abs(codes[i]! * scale - weight)).toBeLessThanOrEqual(scale * (0.5 + 1e-6));
  expect([...(tensor('v_quantized')!.data as Int8Array)]).toEqual([0, 0, 0, 0, 0, 0]);
});
