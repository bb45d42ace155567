import { describe, expect, it } from 'vitest';
import { OnnxFormatError } from '../src/errors.ts';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { matchNodes } from '../src/passes/match.ts';
import type { Match } from '../src/passes/matcher.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { type AttributeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { type MatrixOptions, makeMatrix } from './models.ts';

await loadOperators();

interface Change {
  readonly matrix?: Partial<MatrixOptions>;
  readonly attributes?: Record<string, AttributeSpec>;
  readonly inputs?: (inputs: readonly string[]) => readonly string[];
  readonly tensor?: (tensor: TensorSpec) => TensorSpec;
  readonly extra?: readonly TensorSpec[];
  readonly opsets?: Record<string, number>;
  readonly x?: readonly (number | string)[];
  readonly drop?: readonly string[];
}

/** The decision about one MatMulNBits [N=6, K=64] with something changed. */
function decide(change: Change = {}): Match | string {
  const matrix = makeMatrix({ N: 6, K: 64, ...change.matrix });
  const node = matrix.node('x', 'y');
  const attributes = { ...node.attributes, ...change.attributes };
  const inputs = change.inputs?.(node.inputs) ?? node.inputs;
  const kept = matrix.initializers.filter((tensor) => !change.drop?.includes(tensor.name));
  const fed = matrix.initializers.filter((tensor) => change.drop?.includes(tensor.name));
  const bytes = writeModel({
    ...(change.opsets && { opsets: change.opsets }),
    graph: {
      nodes: [{ ...node, attributes, inputs }],
      initializers: [...kept.map(change.tensor ?? ((tensor) => tensor)), ...(change.extra ?? [])],
      inputs: [
        { name: 'x', dtype: 'float32', dims: change.x ?? ['rows', matrix.K] },
        ...fed.map(({ name, dtype, dims }) => ({ name, dtype, dims })),
      ],
      outputs: [{ name: 'y', dtype: 'float32' }],
    },
  });
  const graph = buildGraph(readModel(bytesSource(bytes)));
  return matchNodes(inferTypes(graph)).get(graph.nodes[0]!)!;
}

const reshaped = (name: string, dims: number[]) => (tensor: TensorSpec) =>
  tensor.name === name ? { ...tensor, dims } : tensor;

describe('claim', () => {
  it.each<[string, Change]>([
    ['4 bits', {}],
    ['8 bits', { matrix: { bits: 8 } }],
    ['blocks of 256, K shorter than one', { matrix: { blockSize: 256 } }],
    ['zero points', { matrix: { zeroPoints: true } }],
    ['8 bits with zero points', { matrix: { bits: 8, zeroPoints: true } }],
    ['a constant bias', { matrix: { bias: true } }],
    ['a computed bias', { matrix: { bias: true }, drop: ['w_bias'] }],
    ['K not a multiple of the block', { matrix: { K: 70, zeroPoints: true } }],
    ['flat scales', { tensor: reshaped('w_scales', [12]) }],
    ['any accuracy_level', { attributes: { accuracy_level: { int: 4 } } }],
    ['no opset of com.microsoft', { opsets: { '': 21 } }],
  ])('takes %s', (_, change) => {
    expect(decide(change)).toMatchObject({ op: 'product' });
  });

  it('says what a claim is', () => {
    expect(decide({ matrix: { bits: 8, zeroPoints: true, bias: true } })).toMatchObject({
      op: 'product',
      inputs: ['x', 'w_bias'],
      outputs: ['y'],
      resources: [{ matrix: { format: 'int8', N: 6, K: 64, blockSize: 32 } }, { key: 'w_bias' }],
    });
  });

  const half =
    (patterns: Uint16Array) =>
    (tensor: TensorSpec): TensorSpec =>
      tensor.name === 'w_scales' ? { ...tensor, dtype: 'float16', data: patterns } : tensor;
  it('keeps scales of float16 as they are', () => {
    expect(decide({ tensor: half(new Uint16Array(12).fill(0x3c00)) })).toMatchObject({
      resources: [{ matrix: { scale: 'f16' } }],
    });
  });

  const infinite = (tensor: TensorSpec): TensorSpec =>
    tensor.name === 'w_scales'
      ? { ...tensor, data: new Float32Array(12).fill(1).with(5, Number.POSITIVE_INFINITY) }
      : tensor;
  const huge = (tensor: TensorSpec): TensorSpec =>
    tensor.name === 'w_scales' ? { ...tensor, data: new Float32Array(12).fill(1).with(5, -(2 ** 90)) } : tensor;
  const wide = (tensor: TensorSpec): TensorSpec =>
    tensor.name === 'w_scales' ? { ...tensor, dtype: 'float64', data: new Float64Array(12) } : tensor;
  const signed = (tensor: TensorSpec): TensorSpec => (tensor.name === 'w_Q' ? { ...tensor, dtype: 'int8' } : tensor);
  const groups: TensorSpec = { name: 'g', dtype: 'float32', dims: [64], data: new Float32Array(64) };
  const floatZeros: TensorSpec = {
    name: 'zf',
    dtype: 'float32',
    dims: [12],
    data: new Float32Array(12).with(3, Number.NaN),
  };

  it.each<[string, Change]>([
    ['block_size 8 is not a power of two of at least 16', { matrix: { blockSize: 8 } }],
    ['block_size 48 is not a power of two', { matrix: { blockSize: 48 } }],
    ['3 bits', { attributes: { bits: { int: 3 } } }],
    ['K 0 and N 6 are not both positive', { attributes: { K: { int: 0 } } }],
    ['N -1 are not both positive', { attributes: { N: { int: -1 } } }],
    ["attribute 'swizzle' is not known", { attributes: { swizzle: { int: 1 } } }],
    ['weights are prepacked', { attributes: { weight_prepacked: { int: 1 } } }],
    ['B is not constant', { drop: ['w_Q'] }],
    ['scales are not constant', { drop: ['w_scales'] }],
    ['zero points are not constant', { matrix: { zeroPoints: true }, drop: ['w_zp'] }],
    ['g_idx is float32', { inputs: ([a, b, s]) => [a!, b!, s!, '', 'g'], extra: [groups] }],
    ['a zero point is NaN', { inputs: ([a, b, s]) => [a!, b!, s!, 'zf'], extra: [floatZeros] }],
    ['scales are float64', { tensor: wide }],
    ['a scale is Infinity', { tensor: half(new Uint16Array(12).with(5, 0x7c00)) }],
    ['B is int8', { tensor: signed }],
    ['a scale is Infinity', { tensor: infinite }],
    [`a scale is ${-(2 ** 90)}`, { tensor: huge }],
    ['B has shape [6, 32]', { tensor: reshaped('w_Q', [6, 32]), matrix: { K: 64 } }],
    ['scales have shape [2, 6]', { tensor: reshaped('w_scales', [2, 6]) }],
    ['version 2 of com.microsoft is not known', { opsets: { '': 21, 'com.microsoft': 2 } }],
    ['opset 99 is newer', { opsets: { '': 99 } }],
  ])('leaves a node to ONNX Runtime: %s', (reason, change) => {
    const decision = decide(change);
    expect(decision).toContain(reason);
  });

  it.each<[string, Change]>([
    ["B 'w_Q', expected 224 elements, got 192", { attributes: { N: { int: 7 } } }],
    [
      "scales 'w_scales', expected",
      { tensor: (t) => (t.name === 'w_scales' ? { ...t, dims: [6, 3], data: new Float32Array(18) } : t) },
    ],
    ["A 'x', expected a last dimension of 64, got 63", { x: ['rows', 63] }],
    ["A 'x', expected at least one dimension, got a scalar", { x: [] }],
    ["attribute 'K', expected int, got float", { attributes: { K: { float: 64 } } }],
  ])('calls a contradiction by its name: %s', (message, change) => {
    const decided = (): Match | string => decide(change);
    expect(decided).toThrow(OnnxFormatError);
    expect(decided).toThrow(message);
    expect(decided).toThrow("node 'w/MatMul_Q4'");
  });

  it('gives every other operator a reason', () => {
    const bytes = writeModel({
      graph: {
        nodes: [{ opType: 'NonZero', inputs: ['x'], outputs: ['y'] }],
        inputs: [{ name: 'x' }],
        outputs: [{ name: 'y' }],
      },
    });
    const graph = buildGraph(readModel(bytesSource(bytes)));
    expect([...matchNodes(inferTypes(graph)).values()]).toEqual(['op is not claimed by this version']);
  });
});
