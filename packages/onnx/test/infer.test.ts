/** Types and shape arithmetic, beside onnxruntime-web. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type DataTypeName, dataTypeCode } from '../src/data-types.ts';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { type Info, int64Elements, int64Numbers, newSymbols, type Size } from '../src/ir/info.ts';
import { OPERATORS } from '../src/ops/index.ts';
import { NodeView, operatorName } from '../src/ops/operator.ts';
import { NO_SYMBOLS } from '../src/ops/shape.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { type AttributeSpec, type GraphSpec, type NodeSpec, writeModel } from '../src/write/index.ts';
import { conformanceFolder, modelFolders, readTensorFiles } from './conformance.ts';
import { random } from './models.ts';
import { ort, session } from './ort.ts';

await loadOperators();

type HostType = 'float32' | 'int32' | 'int64' | 'bool';

interface Operand {
  readonly dtype: HostType;
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

const floats = (dims: number[], ...data: number[]): Operand => ({ dtype: 'float32', dims, data });
const longs = (dims: number[], ...data: number[]): Operand => ({ dtype: 'int64', dims, data });
const list = (...data: number[]): Operand => longs([data.length], ...data);
const bools = (dims: number[], ...data: number[]): Operand => ({ dtype: 'bool', dims, data });
const ints = (dims: number[], ...data: number[]): Operand => ({ dtype: 'int32', dims, data });
const counted = (dtype: HostType, ...dims: number[]): Operand => {
  const next = random(dims.length + 1);
  const count = dims.reduce((product, dim) => product * dim, 1);
  const data = Array.from({ length: count }, () => Math.round(20 * next()) - 10);
  return { dtype, dims, data: dtype === 'bool' ? data.map((value) => +(value > 0)) : data };
};

const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

function tensorOf({ dtype, dims, data }: Operand): ort.Tensor {
  const elements = dtype === 'int64' ? int64Elements(data) : ARRAYS[dtype].from(data);
  return new ort.Tensor(dtype, elements as Float32Array, dims) as ort.Tensor;
}

function numbersOf(tensor: ort.Tensor): number[] {
  return tensor.type === 'int64' ? int64Numbers(tensor.data as BigInt64Array) : Array.from(tensor.data as Float32Array);
}

/** What `infer` says of one node, and what onnxruntime-web computes. @param isComputed are elements known, too? */
async function compare([opType, operands, attributes = {}, opset = 21, outputs = 1]: Case, isComputed = true) {
  const names = operands.map((operand, i) => (operand ? `in${i}` : ''));
  const node: NodeSpec = {
    opType,
    inputs: names,
    outputs: Array.from({ length: outputs }, (_, i) => `out${i}`),
    attributes,
  };
  const inputs = operands.flatMap((operand, i) =>
    operand ? [{ name: `in${i}`, dtype: operand.dtype as DataTypeName }] : [],
  );
  const bytes = writeModel({
    opsets: { '': opset },
    graph: { nodes: [node], inputs, outputs: node.outputs.map((name) => ({ name })) },
  });
  const graph = buildGraph(readModel(bytesSource(bytes)));
  const infos = operands.map(
    (operand): Info | undefined => operand && { ...operand, elemType: dataTypeCode(operand.dtype)! },
  );
  const operator = OPERATORS.get(operatorName(graph.nodes[0]!))!;
  const inferred = operator.infer(new NodeView(graph.nodes[0]!, graph.opsets), infos, NO_SYMBOLS);
  const plain = await session(bytes, 'wasm');
  const feeds: Record<string, ort.Tensor> = {};
  operands.forEach((operand, i) => {
    if (operand) feeds[`in${i}`] = tensorOf(operand);
  });
  const results = await plain.run(feeds);
  for (const [i, name] of node.outputs.entries()) {
    const expected = results[name]!;
    const got = inferred[i];
    // Of what stays ONNX Runtime's, not everything is known.
    if (!isComputed && !got?.dims) continue;
    expect(got && { elemType: got.elemType, dims: got.dims }).toEqual({
      elemType: dataTypeCode(expected.type as DataTypeName),
      dims: expected.dims,
    });
    if (isComputed) expect(got!.data).toEqual(numbersOf(expected));
  }
  await plain.release();
}

type Case = [
  opType: string,
  operands: readonly (Operand | undefined)[],
  attributes?: Readonly<Record<string, AttributeSpec>>,
  opset?: number,
  outputs?: number,
];

const MAX = 2 ** 63;
const cases: readonly Case[] = [
  ['Shape', [floats([2, 0, 3])]],
  ['Shape', [counted('float32', 2, 3, 4)], { start: { int: -2 }, end: { int: 5 } }],
  ['Shape', [counted('float32', 2, 3, 4)], { start: { int: 2 }, end: { int: 1 } }],
  ['Size', [counted('float32', 2, 3)]],
  ['Cast', [floats([8], 1e10, -1e10, Infinity, -Infinity, Number.NaN, 300.7, -2.5, -0)], { to: { int: 6 } }],
  ['Cast', [floats([8], 1e10, -1e10, Infinity, -Infinity, Number.NaN, 300.7, -2.5, -0)], { to: { int: 7 } }],
  ['Cast', [list(2 ** 31, -(2 ** 31) - 1, 2 ** 40 + 3)], { to: { int: 6 } }],
  ['Add', [list(MAX, -MAX, 2 ** 53, 2 ** 62), list(1, 1, 2, 2 ** 62)]],
  ['Sub', [list(-MAX, 2 ** 62), list(0, -(2 ** 62))]],
  ['Mul', [list(2 ** 40, 2 ** 62, -(2 ** 60), 3 ** 20), list(2 ** 30, 4, 2 ** 10, 2 ** 25)]],
  ['Div', [list(2 ** 60, -(2 ** 60), 2 ** 60), list(2 ** 20, 1024, -1)]],
  ['Mod', [list(2 ** 60, -(2 ** 60), 2 ** 60 - 2 ** 20), list(7, 7, -1000)]],
  ['Reshape', [counted('int64', 2, 6), list(3, -1)]],
  ['Reshape', [counted('int64', 2, 6), list(0, -1, 2)]],
  ['Reshape', [longs([0, 3]), list(3, 0)], { allowzero: { int: 1 } }],
  ['Squeeze', [counted('int64', 1, 3, 1)]],
  ['Squeeze', [counted('int64', 1, 3, 1), list(-1)]],
  ['Squeeze', [counted('int64', 1, 3, 1)], { axes: { ints: [0] } }, 11],
  ['Unsqueeze', [counted('int64', 2, 3), list(0, -1)]],
  ['Unsqueeze', [counted('int64', 2, 3)], { axes: { ints: [1] } }, 11],
  ['Flatten', [counted('int64', 2, 3, 2)], { axis: { int: 2 } }],
  ['Flatten', [counted('int64', 2, 3, 2)], { axis: { int: 0 } }],
  ['Identity', [counted('int64', 2)]],
  ['ConstantOfShape', [list(2, 3)]],
  [
    'ConstantOfShape',
    [list(3)],
    { value: { tensor: { name: '', dtype: 'int64', dims: [1], data: BigInt64Array.of(7n) } } },
  ],
  ['Range', [longs([], 2), longs([], 11), longs([], 3)]],
  ['Range', [longs([], 5), longs([], 0), longs([], -2)]],
  ['Range', [floats([], 0), floats([], 1), floats([], 0.3)]],
  ['Transpose', [counted('int64', 2, 3, 4)]],
  ['Transpose', [counted('int64', 2, 3, 4)], { perm: { ints: [1, 0, 2] } }],
  ['Slice', [counted('int64', 5), list(1), list(MAX)]],
  ['Slice', [counted('int64', 5), list(-1), list(-MAX), list(0), list(-2)]],
  ['Slice', [counted('int64', 3, 4), list(-2, 1), list(9, 3), list(-1, 0)]],
  ['Slice', [counted('int64', 3, 4), list(2), list(1)]],
  ['Slice', [counted('int64', 3, 4)], { starts: { ints: [1] }, ends: { ints: [2] } }, 9],
  ['Concat', [list(1, 2), list(3), list()], { axis: { int: 0 } }],
  ['Concat', [counted('int64', 2, 1, 3), counted('int64', 2, 2, 3)], { axis: { int: -2 } }],
  ['Split', [counted('int64', 2, 7), list(3, 4)], { axis: { int: 1 } }, 21, 2],
  ['Split', [counted('int64', 7)], { num_outputs: { int: 3 } }, 21, 3],
  ['Split', [counted('int64', 4)], { split: { ints: [1, 3] } }, 11, 2],
  ['Expand', [counted('int64', 3, 1), list(2, 1, 4)]],
  ['Gather', [counted('int64', 4), longs([], -1)]],
  ['Gather', [counted('int64', 2, 3, 2), longs([2, 2], 0, 2, -3, 1)], { axis: { int: 1 } }],
  ['Add', [counted('int64', 2, 3), counted('int64', 3)]],
  ['Add', [ints([2], 2147483647, -5), ints([1], 9)]],
  ['Add', [floats([2], 0.1, 1e8), floats([1], 0.2)]],
  ['Sub', [longs([], 3), counted('int64', 2, 2)]],
  ['Mul', [ints([2], 123456789, -5), ints([2], 98765, 7)]],
  ['Mul', [floats([2], 0.1, -3), floats([2], 0.7, 0)]],
  ['Div', [list(7, -7, 6), list(2, 2, -4)]],
  ['Div', [floats([3], 1, -1, 0), floats([3], 3, 0, 5)]],
  ['Mod', [list(7, -7, 7, -7), list(3, 3, -3, -3)]],
  ['Min', [counted('int64', 4), counted('int64', 4, 1), longs([1], 2)]],
  ['Max', [counted('int64', 4), longs([], 2)]],
  ['Sum', [floats([2], 1, 2), floats([1], 0.5), floats([], 4)]],
  ['Equal', [counted('int64', 3, 3), counted('int64', 3)]],
  ['Less', [counted('int64', 3, 3), counted('int64', 3)]],
  ['LessOrEqual', [counted('float32', 4), counted('float32', 4)]],
  ['Greater', [counted('int64', 1, 4), counted('int64', 4, 1)]],
  ['GreaterOrEqual', [counted('int64', 4), longs([], 1)]],
  ['And', [counted('bool', 2, 3), counted('bool', 3)]],
  ['Or', [counted('bool', 6), counted('bool', 6)]],
  ['Xor', [counted('bool', 6), bools([1], 1)]],
  ['Not', [counted('bool', 6)]],
  ['Neg', [counted('int64', 6)]],
  ['Abs', [counted('int64', 6)]],
  ['Floor', [floats([3], -0.5, 0.5, 2)]],
  ['Ceil', [floats([3], -1.5, 0.5, 2)]],
  ['Sqrt', [floats([3], 2, 9, 0)]],
  ['Log', [floats([3], 1, 2, 8)]],
  ['Cast', [floats([4], 1.9, -1.9, 0, 3e5)], { to: { int: 7 } }],
  ['Cast', [list(0, 5, -1)], { to: { int: 9 } }],
  ['Cast', [bools([2], 0, 1)], { to: { int: 1 } }],
  ['Cast', [list(1, 2 ** 31 + 5)], { to: { int: 6 } }],
  ['Where', [counted('bool', 2, 1), counted('int64', 3), longs([], 8)]],
  ['ReduceSum', [counted('int64', 2, 3, 2), list(1)]],
  ['ReduceSum', [counted('int64', 2, 3, 2), list(0, -1)], { keepdims: { int: 0 } }],
  ['ReduceSum', [counted('int64', 2, 3), list()], { noop_with_empty_axes: { int: 1 } }],
  ['ReduceSum', [counted('int64', 2, 3)]],
  ['ReduceProd', [counted('int64', 5)]],
  ['ReduceProd', [counted('int64', 5)], { axes: { ints: [0] }, keepdims: { int: 0 } }, 13],
  ['ReduceMax', [counted('int64', 2, 4), list(1)]],
  ['ReduceMin', [counted('int64', 2, 4), list(0)]],
  ['ReduceMax', [counted('int32', 0)]],
  ['ReduceMin', [counted('int32', 0)]],
  ['ReduceMin', [counted('int32', 3)]],
  ['ArgMax', [counted('int32', 3, 7)], { axis: { int: -1 }, keepdims: { int: 0 } }],
  ['ArgMax', [counted('int32', 3, 2, 4)], { axis: { int: 1 } }],
  ['ArgMin', [ints([2, 4], 1, 3, 3, 1, 0, 0, 0, 0)], { axis: { int: 1 } }],
  ['ArgMax', [ints([2, 4], 1, 3, 3, 1, 0, 0, 0, 0)], { axis: { int: 1 }, select_last_index: { int: 1 } }],
  ['ArgMax', [floats([5], -1, Infinity, 2, Infinity, -Infinity)]],
];

describe('Reshape of nothing', () => {
  const infer = (to: readonly number[]): Info['dims'] => {
    const node: NodeSpec = { opType: 'Reshape', inputs: ['x', 'to'], outputs: ['y'] };
    const shape = { name: 'to', dtype: 'int64' as const, dims: [to.length], data: int64Elements(to) };
    const inputs = [{ name: 'x', dtype: 'float32' as const, dims: [1, 2, 3, 0, 64] }];
    const bytes = writeModel({ graph: { nodes: [node], initializers: [shape], inputs, outputs: [{ name: 'y' }] } });
    return inferTypes(buildGraph(readModel(bytesSource(bytes)))).infos.get('y')!.dims;
  };

  it('takes a 0 that was computed for itself where the copied size would make elements of nothing', () => {
    expect(infer([1, 6, 0, 64])).toEqual([1, 6, 0, 64]);
    expect(infer([1, 6, -1, 64])).toEqual([1, 6, 0, 64]);
    expect(infer([1, 2, 3, 0, 64])).toEqual([1, 2, 3, 0, 64]);
  });
});

const x = counted('float32', 2, 3, 5);
/** Of operators that stay ONNX Runtime's, with operands of different sizes. */
const foreign: readonly Case[] = [
  ['Compress', [x, bools([3], 1, 0, 1)], { axis: { int: 1 } }],
  ['ConvTranspose', [x, counted('float32', 3, 4, 2)], { strides: { ints: [2] } }],
  ['CumSum', [x, longs([], 1)]],
  ['DepthToSpace', [counted('float32', 1, 8, 2, 3)], { blocksize: { int: 2 } }],
  ['Dropout', [x], {}, 21, 2],
  ['Einsum', [x, counted('float32', 5, 4)], { equation: { string: 'bij,jk->bik' } }],
  ['GatherElements', [x, longs([1, 2, 2], 0, 1, 2, 0)], { axis: { int: 1 } }],
  ['GatherElements', [list(5, 6, 7), list(0, 0, 2, 1, 2)]],
  ['InstanceNormalization', [x, floats([3], 1, 2, 3), floats([3], 0, 1, 0)]],
  ['IsInf', [x]],
  ['LpNormalization', [x]],
  ['Mish', [x]],
  ['NonZero', [x]],
  ['PRelu', [x, counted('float32', 3, 1)]],
  ['Resize', [counted('float32', 1, 2, 3, 4), undefined, floats([4], 1, 1, 2, 2)]],
  ['ScatterElements', [x, longs([1, 1, 2], 0, 1), floats([1, 1, 2], 7, 8)], { axis: { int: 2 } }],
  ['ScatterND', [x, longs([1, 2], 1, 2), counted('float32', 1, 5)]],
  ['Selu', [x]],
  ['SpaceToDepth', [counted('float32', 1, 2, 4, 6)], { blocksize: { int: 2 } }],
  ['TensorScatter', [counted('float32', 1, 2, 6, 4), counted('float32', 1, 2, 2, 4)], {}, 24],
  ['TopK', [x, list(2)], {}, 21, 2],
  ['Trilu', [x]],
  ['Upsample', [counted('float32', 1, 2, 3, 4), floats([4], 1, 1, 2, 2)], {}, 9],
  ['DynamicQuantizeLinear', [x], {}, 21, 3],
];

describe('what is known of results of operators that stay ONNX Runtime’s', () => {
  it.each(foreign.map((each, index) => [index, ...each] as const))('%i %s', async (_, ...each) => {
    await compare(each, false);
  });

  it('is tested', () => {
    const tested = new Set(foreign.map(([opType]) => opType));
    const theirs = [...OPERATORS.values()].filter(({ match, host, hasBodies }) => !match && !host && !hasBodies);
    const names = theirs.map(({ name }) => name).filter((name) => !name.includes('.') && !name.endsWith('Integer'));
    expect(names.filter((name) => !tested.has(name) && name !== 'Shape' && name !== 'Size')).toEqual([]);
  });
});

describe('shape arithmetic gives what ONNX Runtime gives', () => {
  it.each(cases.map((each, index) => [index, ...each] as const))('%i %s', async (_, ...each) => {
    await compare(each);
  });

  it('beyond 2^53 says so where no double is the result', () => {
    const add = (a: number, b: number) => {
      const graph = nodeGraph({ opType: 'Add', inputs: ['in0', 'in1'], outputs: ['y'] }, 2);
      const infos = [list(a), list(b)].map((each) => ({ ...each, elemType: dataTypeCode('int64')! }));
      return OPERATORS.get('Add')!.infer(new NodeView(graph.nodes[0]!, graph.opsets), infos, NO_SYMBOLS)[0]!.data;
    };
    expect(add(2 ** 53, 2)).toEqual([2 ** 53 + 2]);
    expect(add(MAX, -2)).toEqual([MAX]);
    expect(() => add(2 ** 53, 1)).toThrow(
      new RangeError(
        "run: int64 element, expected one that a double can hold, as MSD computes with doubles, got 9007199254740993. Give such a model to onnxruntime-web's own provider.",
      ),
    );
  });

  it('covers every operator that plain JavaScript computes', () => {
    const tested = new Set(cases.map(([opType]) => opType));
    const host = [...OPERATORS.values()].filter((operator) => operator.host).map(({ name }) => name);
    expect(host.filter((name) => !tested.has(name))).toEqual([]);
  });

  it.each<Case>([
    ['Reshape', [counted('int64', 2, 3), list(4, -1)]],
    ['Reshape', [counted('int64', 2, 3), list(4)]],
    ['Squeeze', [counted('int64', 2), list(0)]],
    ['Gather', [list(1, 2), longs([], 2)]],
    ['Add', [counted('int64', 2), counted('int64', 3)]],
    ['Div', [list(1), list(0)]],
    ['ConstantOfShape', [list(2 ** 40)]],
    ['ConstantOfShape', [list(-1)]],
    ['Transpose', [counted('int64', 2, 2)], { perm: { ints: [0, 0] } }],
    ['Slice', [list(1, 2), list(0), list(2), list(0), list(0)]],
  ])('%s refuses what cannot be', (opType, operands, attributes = {}) => {
    const graph = nodeGraph(
      { opType, inputs: operands.map((_, i) => `in${i}`), outputs: ['y'], attributes },
      operands.length,
    );
    const infos = operands.map((operand) => ({ ...operand!, elemType: dataTypeCode(operand!.dtype)! }));
    const operator = OPERATORS.get(opType)!;
    expect(() => operator.infer(new NodeView(graph.nodes[0]!, graph.opsets), infos, newSymbols())).toThrow(
      /^run: node 'y' \(\w+\): /,
    );
  });
});

function nodeGraph(node: NodeSpec, inputs: number) {
  const names = Array.from({ length: inputs }, (_, i) => ({ name: `in${i}`, dtype: 'float32' as const }));
  return graphOf({ nodes: [node], inputs: names, outputs: [{ name: 'y' }] });
}

function graphOf(graph: GraphSpec) {
  return buildGraph(readModel(bytesSource(writeModel({ graph }))));
}

describe('symbols', () => {
  const infosOf = (nodes: readonly NodeSpec[], constants: Readonly<Record<string, readonly number[]>> = {}) =>
    inferTypes(
      graphOf({
        nodes,
        initializers: Object.entries(constants).map(([name, data]) => ({
          name,
          dtype: 'int64' as const,
          dims: name.startsWith('s') ? [] : [data.length],
          data: int64Elements(data),
        })),
        inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 'sequence', 64] }],
        outputs: [{ name: nodes.at(-1)!.outputs[0]! }],
      }),
    ).infos;

  it('pass through the arithmetic that exporters write', () => {
    const infos = infosOf(
      [
        { opType: 'Shape', inputs: ['x'], outputs: ['shape'] },
        { opType: 'Gather', inputs: ['shape', 's0'], outputs: ['batch'] },
        { opType: 'Unsqueeze', inputs: ['batch', 'zero'], outputs: ['b'] },
        { opType: 'Slice', inputs: ['shape', 'one', 'two'], outputs: ['s'] },
        { opType: 'Mul', inputs: ['s', 'one'], outputs: ['t'] },
        { opType: 'Concat', inputs: ['b', 't', 'heads'], outputs: ['to'], attributes: { axis: { int: 0 } } },
        { opType: 'Reshape', inputs: ['x', 'to'], outputs: ['split'] },
        { opType: 'Transpose', inputs: ['split'], outputs: ['moved'], attributes: { perm: { ints: [0, 2, 1, 3] } } },
        { opType: 'Reshape', inputs: ['split', 'flat'], outputs: ['back'] },
        { opType: 'Equal', inputs: ['to', 'minus'], outputs: ['isOpen'] },
        { opType: 'Where', inputs: ['isOpen', 'one', 'to'], outputs: ['target'] },
        { opType: 'Expand', inputs: ['split', 'target'], outputs: ['y'] },
      ],
      { s0: [0], zero: [0], one: [1], two: [2], heads: [8, 8], flat: [0, 0, -1], minus: [-1] },
    );
    const dims = (name: string): readonly Size[] | undefined => infos.get(name)?.dims;
    expect(infos.get('to')?.data).toEqual(['batch', 'sequence', 8, 8]);
    expect(dims('split')).toEqual(['batch', 'sequence', 8, 8]);
    expect(dims('moved')).toEqual(['batch', 8, 'sequence', 8]);
    expect(dims('back')).toEqual(['batch', 'sequence', 64]);
    expect(infos.get('target')?.data).toEqual(['batch', 'sequence', 8, 8]);
    expect(dims('y')).toEqual(['batch', 'sequence', 8, 8]);
  });

  it('are new where nothing is known, and equal for equal sizes', () => {
    const infos = infosOf([
      { opType: 'Unknown', inputs: ['x'], outputs: ['u'] },
      { opType: 'Concat', inputs: ['x', 'x'], outputs: ['c'], attributes: { axis: { int: 1 } } },
      { opType: 'Relu', inputs: ['c'], outputs: ['r'] },
      { opType: 'Add', inputs: ['c', 'r'], outputs: ['y'] },
    ]);
    expect(infos.get('u')).toEqual({ elemType: 0, dims: undefined });
    const [batch, length, width] = infos.get('c')!.dims!;
    expect([batch, width]).toEqual(['batch', 64]);
    expect(length).toMatch(/^\?\d/);
    expect(infos.get('y')!.dims).toEqual(infos.get('r')!.dims);
  });
});

it('heads of keys and of values have their own size where the caches leave it open', async () => {
  const operands = { q: [1, 3, 32], k: [1, 3, 32], v: [1, 3, 48], past_key: [1, 2, 4, 16], past_value: [1, 2, 4, 24] };
  const declared = { past_key: ['batch', 2, 'past', 'size'], past_value: ['batch', 2, 'past', 'size'] };
  const model = writeModel({
    opsets: { '': 23 },
    graph: {
      inputs: Object.entries({ ...operands, ...declared }).map(([name, dims]) => ({ name, dtype: 'float32', dims })),
      outputs: ['y', 'present_key', 'present_value'].map((name) => ({ name, dtype: 'float32' })),
      nodes: [
        {
          opType: 'Attention',
          inputs: ['q', 'k', 'v', '', 'past_key', 'past_value'],
          outputs: ['y', 'present_key', 'present_value'],
          attributes: { q_num_heads: { int: 2 }, kv_num_heads: { int: 2 } },
        },
      ],
    },
  });
  const created = await session(model, { name: 'msd', claim: 'all' });
  const shapes = created.inputMetadata.slice(3).map((input) => input.isTensor && input.shape);
  expect(shapes).toEqual([
    ['batch', 2, 'past', 16],
    ['batch', 2, 'past', 24],
  ]);
  const feeds = Object.entries(operands).map(([name, dims]) => {
    const count = dims.reduce((product, dim) => product * dim, 1);
    return [name, new ort.Tensor('float32', new Float32Array(count).fill(1), dims)] as const;
  });
  expect((await created.run(Object.fromEntries(feeds))).present_value!.dims).toEqual([1, 2, 7, 24]);
  await created.release();
});

describe.skipIf(!conformanceFolder)('types of real models (skipped where ../shared/conformance is absent)', () => {
  it('are those of the recorded outputs', () => {
    let checked = 0;
    for (const group of ['models', 'onnx-node'])
      for (const name of modelFolders(group)) {
        const folder = join(conformanceFolder!, group, name);
        const graph = buildGraph(readModel(bytesSource(readFileSync(join(folder, 'model.onnx')))));
        // Declared types of the outputs are left out: only what was inferred counts.
        const { infos } = inferTypes({ ...graph, types: new Map() });
        const set = readdirSync(folder).find((entry) => entry.startsWith('test_data_set_'))!;
        readTensorFiles(join(folder, set), 'output').forEach(({ tensor }, i) => {
          const info = infos.get(graph.outputs[i]!.name);
          if (!info || info.elemType === 0) return;
          expect(info.elemType, `${name} ${i}`).toBe(dataTypeCode(tensor.type as DataTypeName));
          if (!info.dims) return;
          expect(info.dims.length, `${name} ${i}`).toBe(tensor.dims.length);
          for (const [d, dim] of info.dims.entries())
            if (typeof dim === 'number') expect(dim, `${name} ${i}.${d}`).toBe(tensor.dims[d]);
          checked++;
        });
      }
    expect(checked).toBeGreaterThan(150);
  });
});
