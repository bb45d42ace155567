/** Writes the seeds of the fuzz tests: `node test/corpus/make.ts`. Files named `regression-*` are mutants that reached rare checks; they stay. */
import { writeFileSync } from 'node:fs';
import type { DataTypeName } from '../../src/data-types.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../../src/write/index.ts';
import { Message } from '../../src/write/message.ts';
import { dynamicProduct, quantizeLinear } from '../dynamic.ts';
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

const floats = (name: string, ...dims: number[]): TensorSpec => ({
  name,
  dtype: 'float32',
  dims,
  data: new Float32Array(dims.reduce((product, dim) => product * dim, 1)).fill(0.5),
});
const bytes = (name: string, ...dims: number[]): TensorSpec => ({
  name,
  dtype: 'uint8',
  dims,
  data: Uint8Array.from({ length: dims.reduce((product, dim) => product * dim, 1) }, (_, i) => 37 * i),
});
const sizes = (K: number, N: number): NodeSpec['attributes'] => ({ K: { int: K }, N: { int: N } });
const longs = (name: string, ...data: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [data.length],
  data: BigInt64Array.from(data, BigInt),
});
const ms = (node: NodeSpec): NodeSpec => ({ ...node, domain: 'com.microsoft' });

const typedBias = new Message().ints(1, [8]).int(2, 1).floats(4, [1, 2, 3, 4, 5, 6, 7, 8]).string(8, 'bias');

/** Queries, keys and values [1, H, rows, 8] of one projection; keys and values behind a past. */
const decoder: GraphSpec = {
  nodes: [
    a.node('x', 'p'),
    op('Reshape', ['p', 'split'], ['four']),
    op('Transpose', ['four'], ['q'], { perm: { ints: [0, 2, 1, 3] } }),
    op('Concat', ['past', 'q'], ['present'], { axis: { int: 2 } }),
    op('Unsqueeze', ['present', 'two'], ['one']),
    op('Expand', ['one', 'twice'], ['many']),
    op('Reshape', ['many', 'joined'], ['wide']),
    op('Transpose', ['wide'], ['t'], { perm: { ints: [0, 1, 3, 2] } }),
    op('Mul', ['q', 'scale'], ['scaled']),
    op('MatMul', ['scaled', 't'], ['s']),
    op('Add', ['s', 'mask'], ['added']),
    op('Softmax', ['added'], ['w'], { axis: { int: -1 } }),
    op('Concat', ['values', 'q'], ['other'], { axis: { int: 2 } }),
    op('MatMul', ['w', 'other'], ['v']),
    op('Transpose', ['v'], ['rows'], { perm: { ints: [0, 2, 1, 3] } }),
    op('Reshape', ['rows', 'flat'], ['y']),
  ],
  initializers: [
    ...a.initializers,
    longs('split', 1, -1, 1, 8),
    longs('two', 2),
    longs('twice', 1, 1, 1, 1, 1),
    longs('joined', 1, 1, -1, 8),
    longs('flat', 0, 0, 8),
    floats('scale', 1),
  ],
  inputs: [
    value('x', 'float32', [1, 'm', K]),
    value('past', 'float32', [1, 1, 'past', 8]),
    value('values', 'float32', [1, 1, 'past', 8]),
    value('mask', 'float32', [1, 1, 'm', 'total']),
  ],
  outputs: [
    value('y', 'float32', [1, 'm', 8]),
    value('present', 'float32', [1, 1, 'total', 8]),
    value('other', 'float32', [1, 1, 'total', 8]),
  ],
};

const operators: GraphSpec = {
  nodes: [
    a.node('x', 'p'),
    ms(
      op('MultiHeadAttention', ['p', 'p', 'p', '', 'lengths', '', 'past', 'past'], ['h', 'present', 'other'], {
        num_heads: { int: 2 },
      }),
    ),
    ms(op('Attention', ['h', 'packed', 'bias'], ['y'], { num_heads: { int: 2 }, unidirectional: { int: 1 } })),
    op('Attention', ['p', 'p', 'p'], ['z'], { q_num_heads: { int: 2 }, kv_num_heads: { int: 2 } }),
  ],
  initializers: [...a.initializers, floats('packed', 8, 24), floats('bias', 24)],
  inputs: [
    value('x', 'float32', [1, 'm', K]),
    value('lengths', 'int32', [1]),
    value('past', 'float32', [1, 2, 'past', 4]),
  ],
  outputs: [
    value('y', 'float32', [1, 'm', 8]),
    value('z', 'float32', [1, 'm', 8]),
    value('present', 'float32', [1, 2, 'total', 4]),
  ],
};

const d = dynamicProduct({ name: 'd', N: 8, K, scale: [8], bias: true });
const e = dynamicProduct({ name: 'e', N: 6, K, type: 'uint8', zeroPoints: [], spelling: 'x first' });

/** Activations quantized while it runs, behind a table of 8-bit rows. */
const dynamic: GraphSpec = {
  nodes: [
    op('Gather', ['table', 'ids'], ['codes']),
    op('DequantizeLinear', ['codes', 'table_scale', 'table_zero'], ['x']),
    quantizeLinear('x'),
    ...d.nodes('x', 'p'),
    ...e.nodes('x', 'q'),
    ms(op('DynamicQuantizeMatMul', ['x', 'e_quantized', 'e_scale', 'e_zero_point'], ['r'])),
    ms(op('MatMulIntegerToFloat', ['x_quantized', 'd_quantized', 'x_scale', 'd_scale', 'x_zero_point'], ['s'])),
    op('Add', ['p', 's'], ['y']),
    op('Add', ['q', 'r'], ['z']),
  ],
  initializers: [
    ...[...d.initializers, ...e.initializers, floats('table_scale')],
    { name: 'table', dtype: 'uint8', dims: [6, K], data: new Uint8Array(6 * K).fill(130) },
    { name: 'table_zero', dtype: 'uint8', dims: [], data: Uint8Array.of(128) },
  ],
  inputs: [value('ids', 'int64', [1, 'm'])],
  outputs: [value('y', 'float32', [1, 'm', 8]), value('z', 'float32', [1, 'm', 6])],
};

const scalars = (name: string, value: number): TensorSpec => ({ ...floats(name), data: Float32Array.of(value) });
const codesOf = (name: string, dtype: 'int8' | 'uint8' | 'int4', dims: number[], length: number): TensorSpec => ({
  name,
  dtype,
  dims,
  data: Uint8Array.from({ length }, (_, i) => i * 37),
});

/** Weights behind DequantizeLinear, activations as codes, products of codes. */
const coded: GraphSpec = {
  nodes: [
    op('DequantizeLinear', ['w8', 's8', 'z8'], ['f8'], { axis: { int: 1 } }),
    op('DequantizeLinear', ['w4', 's4'], ['f4'], { axis: { int: 1 }, block_size: { int: 16 } }),
    op('Identity', ['f4'], ['f4i']),
    op('Transpose', ['f4i'], ['f4t'], { perm: { ints: [1, 0] } }),
    op('Reshape', ['f8', 'square'], ['f8r']),
    op('QuantizeLinear', ['x', 'sx', 'zx'], ['q']),
    op('DequantizeLinear', ['q', 'sx', 'zx'], ['d']),
    op('MatMul', ['d', 'f8r'], ['p']),
    op('Gemm', ['p', 'f4', 'c'], ['r'], { transB: { int: 1 } }),
    op('MatMul', ['p', 'f4t'], ['t']),
    op('QLinearMatMul', ['q', 'sx', 'zx', 'w8', 's8', 'z8', 'sx', 'zx'], ['k']),
    ms(op('QGemm', ['k', 'sx', 'zx', 'w8', 's8', 'z8', 'c8', 'sx', 'zx'], ['g'])),
    op('DequantizeLinear', ['g', 'sx', 'zx'], ['h']),
    op('Add', ['r', 't'], ['sum']),
  ],
  initializers: [
    ...[codesOf('w8', 'int8', [K, K], K * K), floats('s8', K), codesOf('z8', 'int8', [K], K), scalars('sx', 0.25)],
    ...[codesOf('w4', 'int4', [8, K], 4 * K), floats('s4', 8, 2), codesOf('zx', 'uint8', [], 1), floats('c', 8)],
    { name: 'c8', dtype: 'int32', dims: [K], data: new Int32Array(K).fill(9) },
    longs('square', K, -1),
  ],
  inputs: [value('x')],
  outputs: [value('sum', 'float32', ['m', 8]), value('h')],
};

const halves = (name: string, ...dims: number[]): TensorSpec => ({
  name,
  dtype: 'float16',
  dims,
  data: new Uint16Array(dims.reduce((product, dim) => product * dim, 1)).fill(0x3800),
});

/** Convolutions and pools of codes, and of integers whose zero point is constant. */
const codedImages: GraphSpec = {
  nodes: [
    op('QuantizeLinear', ['x', 'sx', 'zx'], ['q']),
    op('QLinearConv', ['q', 'sx', 'zx', 'w1', 's1', 'z1', 'sx', 'zx', 'b1'], ['c1'], {
      kernel_shape: { ints: [3, 3] },
      pads: { ints: [1, 1, 1, 1] },
      strides: { ints: [2, 1] },
    }),
    op('QLinearConv', ['c1', 'sx', 'zx', 'w2', 's1', '', 'sx', 'zx'], ['c2'], { group: { int: 4 } }),
    op('MaxPool', ['c2'], ['m'], { kernel_shape: { ints: [2, 2] } }),
    ms(op('QLinearAveragePool', ['m', 'sx', 'zx', 'sx', 'zx'], ['a'], { kernel_shape: { ints: [2, 1] } })),
    ms(op('QLinearSoftmax', ['a', 'sx', 'zx', 'sx', 'zx'], ['s'], { axis: { int: -1 }, opset: { int: 13 } })),
    ms(op('QLinearWhere', ['which', 'a', 'sx', 'zx', 's', 'sx', 'zx', 'sx', 'zx'], ['t'])),
    ms(op('QLinearGlobalAveragePool', ['t', 'sx', 'zx', 'sx', 'zx'], ['g'], { channels_last: { int: 0 } })),
    op('DequantizeLinear', ['g', 'sx', 'zx'], ['y']),
    op('ConvInteger', ['m', 'w3', 'zx'], ['i']),
    op('Cast', ['i'], ['z'], { to: { int: 1 } }),
  ],
  initializers: [
    ...[scalars('sx', 0.25), codesOf('zx', 'uint8', [], 1), floats('s1', 4), codesOf('z1', 'int8', [4], 4)],
    ...[codesOf('w1', 'int8', [4, 3, 3, 3], 108), codesOf('w2', 'int8', [4, 1, 1, 1], 4)],
    { name: 'b1', dtype: 'int32', dims: [4], data: Int32Array.of(9, -9, 3, 0) },
    codesOf('w3', 'int8', [2, 4, 1, 1], 8),
  ],
  inputs: [value('x', 'float32', ['b', 3, 'h', 'w']), value('which', 'bool', [1])],
  outputs: [value('y', 'float32', ['b', 4, 1, 1]), value('z', 'float32', ['b', 2, 'i', 'j'])],
};

/** float16 throughout: a table, scales and bias, a norm, a mask of its lowest number, casts. */
const half: GraphSpec = {
  nodes: [
    op('Gather', ['table', 'ids'], ['x']),
    op('SimplifiedLayerNormalization', ['x', 'row'], ['n']),
    { ...a.node('n', 'p'), inputs: ['n', 'a_Q', 'scales', '', '', 'bias'] },
    op('Where', ['seen', 'p', 'lowest'], ['w']),
    op('Softmax', ['w'], ['s'], { axis: { int: -1 } }),
    op('Cast', ['s'], ['f'], { to: { int: 1 } }),
    op('Cast', ['f'], ['y'], { to: { int: 10 } }),
    op('Trilu', ['y'], ['t']),
    op('Mul', ['t', 'factor'], ['z']),
  ],
  initializers: [
    halves('table', 16, K),
    halves('row', K),
    halves('scales', 8),
    halves('bias', 8),
    halves('factor', 1),
    { name: 'lowest', dtype: 'float16', dims: [], data: Uint16Array.of(0xfbff) },
    ...a.initializers.filter(({ name }) => name === 'a_Q'),
  ],
  inputs: [value('ids', 'int64', ['m']), value('seen', 'bool', ['m', 8])],
  outputs: [value('f', 'float32', ['m', 8]), value('z', 'float16', ['m', 8])],
};

const windows = { pads: { ints: [1, 1, 1, 1] }, kernel_shape: { ints: [3, 3] } };

/** Distances between rows as buckets, rows of a table of codes for them; groups of channels; where the largest word is. */
const distances: GraphSpec = {
  nodes: [
    a.node('x', 'p'),
    op('Shape', ['x'], ['shape']),
    op('Gather', ['shape', 'nought'], ['rows']),
    op('Range', ['nought', 'rows', 'one'], ['at']),
    op('Unsqueeze', ['at', 'first'], ['row']),
    op('Unsqueeze', ['at', 'second'], ['column']),
    op('Sub', ['row', 'column'], ['d']),
    op('Abs', ['d'], ['far']),
    op('Cast', ['far'], ['far_float'], { to: { int: 1 } }),
    op('Log', ['far_float'], ['log']),
    op('Cast', ['log'], ['whole'], { to: { int: 7 } }),
    op('Less', ['far', 'seven'], ['near']),
    op('Where', ['near', 'far', 'seven'], ['small']),
    op('Max', ['whole', 'small'], ['most']),
    op('Min', ['most', 'seven'], ['bucket']),
    op('Gather', ['codes', 'bucket'], ['picked']),
    op('DequantizeLinear', ['picked', 'scale'], ['bias']),
    op('Transpose', ['bias'], ['y'], { perm: { ints: [2, 0, 1] } }),
    op('Unsqueeze', ['p', 'first'], ['image']),
    op('Transpose', ['image'], ['channels'], { perm: { ints: [0, 2, 1] } }),
    op('Conv', ['channels', 'w'], ['c'], { group: { int: 2 }, kernel_shape: { ints: [3] }, pads: { ints: [1, 1] } }),
    op('ArgMax', ['ids'], ['best'], { axis: { int: 0 }, keepdims: { int: 0 } }),
    op('Gather', ['p', 'best'], ['z']),
    op('GatherND', ['p', 'places'], ['v']),
  ],
  initializers: [
    ...a.initializers,
    ...[longs('first', 0), longs('second', 1), floats('scale'), floats('w', 4, 4, 3)],
    ...Object.entries({ nought: 0, one: 1, seven: 7 }).map(([name, number]): TensorSpec => {
      return { name, dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(number)) };
    }),
    { name: 'places', dtype: 'int64', dims: [2, 1], data: BigInt64Array.of(0n, -1n) },
    { name: 'codes', dtype: 'int8', dims: [8, 4], data: Int8Array.from({ length: 32 }, (_, i) => 9 * i) },
  ],
  inputs: [value('x'), value('ids', 'int32', ['m'])],
  outputs: ['y', 'c', 'z', 'v'].map((name) => ({ name, dtype: 'float32' as const })),
};

/** A layer of halves whose keys and values are floats outside. */
const casts: GraphSpec = {
  nodes: [
    ...['key', 'value'].map((part) => op('Cast', [`past.${part}`], [`${part}_half`], { to: { int: 10 } })),
    a.node('x', 'p'),
    op('Cast', ['p'], ['h'], { to: { int: 10 } }),
    op('Reshape', ['h', 'split'], ['four']),
    op('Transpose', ['four'], ['q'], { perm: { ints: [0, 2, 1, 3] } }),
    op('Concat', ['key_half', 'q'], ['k'], { axis: { int: 2 } }),
    op('Concat', ['value_half', 'q'], ['v'], { axis: { int: 2 } }),
    op('Transpose', ['k'], ['t'], { perm: { ints: [0, 1, 3, 2] } }),
    op('MatMul', ['q', 't'], ['scores']),
    op('Softmax', ['scores'], ['weights'], { axis: { int: -1 } }),
    op('MatMul', ['weights', 'v'], ['sum']),
    op('Cast', ['sum'], ['y'], { to: { int: 1 } }),
    op('Cast', ['k'], ['present.key'], { to: { int: 1 } }),
    op('Cast', ['v'], ['present.value'], { to: { int: 1 } }),
  ],
  initializers: [...a.initializers, longs('split', 1, -1, 2, 4)],
  inputs: [value('x'), ...['key', 'value'].map((part) => value(`past.${part}`, 'float32', [1, 2, 'past', 4]))],
  outputs: ['y', 'present.key', 'present.value'].map((name) => ({ name, dtype: 'float32' as const })),
};

/** Convolutions of every kind, pools, and what lies between them. */
const images: GraphSpec = {
  nodes: [
    op('Conv', ['x', 'w1', 'b1'], ['c1'], { ...windows, strides: { ints: [2, 1] } }),
    op('BatchNormalization', ['c1', 'b1', 'b1', 'b1', 'b1'], ['n1']),
    op('HardSwish', ['n1'], ['h1']),
    op('Conv', ['h1', 'w2'], ['c2'], { ...windows, group: { int: 4 } }),
    op('DequantizeLinear', ['w3', 'scale'], ['w3f']),
    op('Conv', ['c2', 'w3f'], ['c3'], { auto_pad: { string: 'SAME_UPPER' }, dilations: { ints: [1, 1] } }),
    op('GlobalAveragePool', ['c3'], ['g']),
    op('Mul', ['c3', 'g'], ['gated']),
    quantizeLinear('gated'),
    op('ConvInteger', ['gated_quantized', 'w3', 'gated_zero_point'], ['i']),
    op('Cast', ['i'], ['sums'], { to: { int: 1 } }),
    op('Mul', ['sums', 'gated_scale'], ['some']),
    op('Mul', ['some', 'scale'], ['c4']),
    op('MaxPool', ['c4'], ['m'], { ...windows, ceil_mode: { int: 1 } }),
    op('AveragePool', ['m'], ['y'], { kernel_shape: { ints: [2, 1] }, strides: { ints: [2, 1] } }),
  ],
  initializers: [
    ...[floats('w1', 4, 3, 3, 3), floats('b1', 4), floats('w2', 4, 1, 3, 3), floats('scale')],
    { name: 'w3', dtype: 'int8', dims: [4, 4, 1, 1], data: new Int8Array(16).fill(3) },
  ],
  inputs: [value('x', 'float32', [1, 3, 16, 'width'])],
  outputs: [{ name: 'y', dtype: 'float32' }],
};

/** Every function of one or two operands, one after the other. */
const UNARY =
  'Neg Abs Floor Ceil Exp Tanh Sin Cos Elu Softplus Softsign Gelu HardSigmoid Round Sign Reciprocal Log com.microsoft.QuickGelu com.microsoft.Gelu';
const COMPARED = 'Equal Less LessOrEqual GreaterOrEqual';

/** Of a domain that stands before the name. */
const named = (name: string, inputs: string[], outputs: string[], attributes?: NodeSpec['attributes']): NodeSpec => {
  const opType = name.split('.').at(-1)!;
  return opType === name ? op(opType, inputs, outputs, attributes) : ms(op(opType, inputs, outputs, attributes));
};

const functions: GraphSpec = {
  nodes: [
    a.node('x', 'f0'),
    ...UNARY.split(' ').map((name, i) => named(name, [`f${i}`], [`f${i + 1}`])),
    op('Identity', [`f${UNARY.split(' ').length}`], ['f']),
    ms(op('BiasGelu', ['f', 'row'], ['g'])),
    op('CastLike', ['g', 'row'], ['h']),
    op('Min', ['f', 'h', 'row'], ['least']),
    op('Max', ['f', 'least'], ['most']),
    op('Sum', ['least', 'most'], ['sum']),
    ...COMPARED.split(' ').map((name, i) => op(name, ['sum', i === 0 ? 'row' : 'f'], [`c${i}`])),
    op('And', ['c0', 'c1'], ['d']),
    op('Or', ['d', 'c2'], ['e']),
    op('Xor', ['e', 'c3'], ['o']),
    op('Not', ['o'], ['n']),
    op('IsNaN', ['sum'], ['nan']),
    op('Where', ['n', 'sum', 'f'], ['y']),
  ],
  initializers: [...a.initializers, floats('row', 8)],
  inputs: [value('x')],
  outputs: [value('y', 'float32', ['m', 8]), value('nan', 'bool', ['m', 8])],
};

const FOLDED = ['Sum', 'Prod', 'Max', 'Min', 'L1', 'L2', 'SumSquare'];

/** Norms, reductions, rotary embedding and rows of a table in few bits. */
const rows: GraphSpec = {
  nodes: [
    ms(
      op('GatherBlockQuantized', ['codes', 'ids', 'steps'], ['x'], {
        block_size: { int: 16 },
        quantize_axis: { int: 1 },
      }),
    ),
    op('LayerNormalization', ['x', 'scale', 'scale'], ['l'], { axis: { int: -1 } }),
    ms(op('SkipLayerNormalization', ['x', 'l', 'scale', 'scale', 'scale'], ['s'])),
    op('RMSNormalization', ['s', 'scale'], ['r']),
    op('RotaryEmbedding', ['r', 'cos', 'sin', 'ids'], ['t'], { num_heads: { int: 4 } }),
    a.node('t', 'p'),
    op('LogSoftmax', ['p'], ['w'], { axis: { int: -1 } }),
    ...FOLDED.map((name) => op(`Reduce${name}`, ['w', 'last'], [`${name} of w`])),
    op(
      'Sum',
      FOLDED.map((name) => `${name} of w`),
      ['sums'],
    ),
    op('Squeeze', ['sums', 'last'], ['z']),
    op('ArgMin', ['w'], ['worst'], { axis: { int: -1 }, select_last_index: { int: 1 } }),
    op('Flatten', ['w'], ['y'], { axis: { int: 2 } }),
  ],
  initializers: [
    ...a.initializers,
    { name: 'codes', dtype: 'uint4', dims: [6, K], data: new Uint8Array(3 * K).fill(0x7c) },
    ...[floats('steps', 6, K / 16), floats('scale', K), floats('cos', 8, 4), floats('sin', 8, 4), longs('last', -1)],
  ],
  inputs: [value('ids', 'int64', [1, 'm'])],
  outputs: [value('y', 'float32', ['m', 8]), value('z', 'float32', [1, 'm']), value('worst', 'int64', [1, 'm', 1])],
};

/** Attention with caches that grow, and in a buffer of its full size; of codes. */
const caches: GraphSpec = {
  nodes: [
    a.node('x', 'p'),
    ms(
      op('GroupQueryAttention', ['p', 'p', 'p', 'past', 'past', 'ends', 'total', 'cos', 'sin'], ['g', 'k', 'v'], {
        ...{ num_heads: { int: 2 }, kv_num_heads: { int: 2 }, do_rotary: { int: 1 } },
        local_window_size: { int: 3 },
      }),
    ),
    ms(
      op(
        'DecoderMaskedMultiHeadAttention',
        ['g', 'p', 'p', '', '', 'buffer', 'buffer', 'length'],
        ['h', 'buffer k', 'buffer v'],
        { num_heads: { int: 2 }, past_present_share_buffer: { int: 1 } },
      ),
    ),
    op('QuantizeLinear', ['h', 'sx', 'zx'], ['q']),
    ms(
      op('QAttention', ['q', 'packed', 'bias', 'sx', 'sw', '', 'zx', 'zw'], ['y'], {
        num_heads: { int: 2 },
        unidirectional: { int: 1 },
      }),
    ),
  ],
  initializers: [
    ...[...a.initializers, floats('cos', 4, 2), floats('sin', 4, 2), floats('bias', 24)],
    ...[scalars('sx', 0.25), codesOf('zx', 'uint8', [], 1), scalars('sw', 0.5), codesOf('zw', 'int8', [], 1)],
    codesOf('packed', 'int8', [8, 24], 192),
  ],
  inputs: [
    value('x', 'float32', [1, 1, K]),
    ...[value('past', 'float32', [1, 2, 'past', 4]), value('buffer', 'float32', [1, 2, 4, 4])],
    ...[value('ends', 'int32', [1]), value('total', 'int32', [1]), value('length', 'int32', [1])],
  ],
  outputs: [
    value('y', 'float32', [1, 1, 8]),
    ...['k', 'v'].map((name) => value(name, 'float32', [1, 2, 'total', 4])),
    ...['buffer k', 'buffer v'].map((name) => value(name, 'float32', [1, 2, 4, 4])),
  ],
};

/** Functions of codes. */
const codeFunctions: GraphSpec = {
  nodes: [
    ms(op('QuantizeLinear', ['x', 'sx', 'zx'], ['q'])),
    op('QLinearMatMul', ['q', 'sx', 'zx', 'w', 'sx', 'zw', 'sx', 'zx'], ['p']),
    ms(op('QLinearAdd', ['p', 'sx', 'zx', 'q', 'sx', 'zx', 'sx', 'zx'], ['a'])),
    ms(op('QLinearMul', ['a', 'sx', 'zx', 'q', 'sx', 'zx', 'sx', 'zx'], ['m'])),
    ms(op('QLinearSigmoid', ['m', 'sx', 'zx', 'sx', 'zx'], ['s'])),
    ms(op('QLinearLeakyRelu', ['s', 'sx', 'zx', 'sx', 'zx'], ['l'], { alpha: { float: 0.25 } })),
    ms(op('QLinearConcat', ['sx', 'zx', 'l', 'sx', 'zx', 'a', 'sx', 'zx'], ['c'], { axis: { int: 1 } })),
    ms(op('DequantizeLinear', ['c', 'sx', 'zx'], ['f'])),
    op('Unsqueeze', ['f', 'places'], ['image']),
    op('GlobalMaxPool', ['image'], ['y']),
  ],
  initializers: [
    ...[scalars('sx', 0.25), codesOf('zx', 'uint8', [], 1), codesOf('zw', 'int8', [], 1), longs('places', 2, 3)],
    codesOf('w', 'int8', [K, K], K * K),
  ],
  inputs: [value('x')],
  outputs: [value('y', 'float32', ['m', 2 * K, 1, 1])],
};

const models: Record<string, GraphSpec> = {
  functions,
  rows,
  caches,
  'code-functions': codeFunctions,
  coded,
  'coded-images': codedImages,
  casts,
  distances,
  half,
  images,
  dynamic,
  decoder,
  operators,
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
  layer: {
    nodes: [
      op('Gather', ['table', 'ids'], ['h']),
      op('SimplifiedLayerNormalization', ['h', 'scale'], ['n'], { axis: { int: -1 }, epsilon: { float: 1e-5 } }),
      a.node('n', 'p'),
      ms(op('RotaryEmbedding', ['p', 'position', 'cos', 'sin'], ['t'])),
      op('Softmax', ['t'], ['s'], { axis: { int: -1 } }),
      b.node('s', 'q'),
      ms(
        op('SkipSimplifiedLayerNormalization', ['h', 'q', 'scale'], ['m', '', '', 'sum'], { epsilon: { float: 1e-5 } }),
      ),
      ms(op('FastGelu', ['m'], ['g'])),
      op('Clip', ['g', '', 'most'], ['y']),
      op('ReduceMean', ['sum', 'last'], ['mean'], { keepdims: { int: 0 } }),
      op('ArgMax', ['y'], ['best'], { axis: { int: -1 }, keepdims: { int: 0 } }),
    ],
    initializers: [
      ...a.initializers,
      ...b.initializers,
      ...[floats('table', 6, K), floats('scale', K), floats('cos', 4, 4), floats('sin', 4, 4), floats('most')],
      longs('last', -1),
    ],
    inputs: [value('ids', 'int64', [1, 'm']), value('position', 'int64', [1])],
    outputs: [
      { name: 'y', dtype: 'float32' },
      { name: 'mean', dtype: 'float32' },
      { name: 'best', dtype: 'int64' },
    ],
  },
  moves: {
    nodes: [
      a.node('x', 'p'),
      op('Shape', ['p'], ['shape']),
      op('Gather', ['shape', 'zero'], ['rows'], { axis: { int: 0 } }),
      op('Concat', ['rows', 'two', 'minus'], ['to'], { axis: { int: 0 } }),
      op('Reshape', ['p', 'to'], ['r']),
      op('Transpose', ['r'], ['t'], { perm: { ints: [1, 0, 2] } }),
      op('Slice', ['t', 'zero', 'one', 'zero'], ['first']),
      op('Split', ['r', 'parts'], ['left', 'right'], { axis: { int: 2 } }),
      op('Concat', ['right', 'left'], ['joined'], { axis: { int: -1 } }),
      op('Expand', ['first', 'shape3'], ['e']),
      op('Pad', ['joined', 'pads'], ['padded']),
      op('Tile', ['padded', 'repeats'], ['y']),
      op('Where', ['flag', 'e', 'e'], ['z']),
    ],
    initializers: [
      ...a.initializers,
      ...[longs('zero', 0), longs('one', 1), longs('two', 2), longs('minus', -1), longs('parts', 1, 3)],
      ...[longs('shape3', 1, 1, 4), longs('pads', 0, 0, 1, 0, 0, 1), longs('repeats', 1, 2, 1)],
    ],
    inputs: [value('x'), value('flag', 'bool', [1])],
    outputs: [
      { name: 'y', dtype: 'float32' },
      { name: 'z', dtype: 'float32' },
    ],
  },
  codebooks: {
    nodes: [
      ms(
        op('MatMulBnb4', ['x', 'codes', 'absmax'], ['p'], {
          ...sizes(K, K),
          block_size: { int: 64 },
          quant_type: { int: 1 },
        }),
      ),
      ms(
        op('QMoE', ['p', 'scores', 'fc1', 'fc1_scales', 'fc1_bias', 'fc2', 'fc2_scales'], ['y'], {
          k: { int: 1 },
          activation_type: { string: 'swiglu' },
          swiglu_fusion: { int: 1 },
          block_size: { int: 16 },
        }),
      ),
    ],
    initializers: [
      bytes('codes', (K * K) / 2),
      floats('absmax', (K * K) / 64),
      ...[bytes('fc1', 2, 32, K / 2), floats('fc1_scales', 2, 32, 2), floats('fc1_bias', 2, 32)],
      ...[bytes('fc2', 2, K, 8), floats('fc2_scales', 2, K, 1)],
    ],
    inputs: [value('x'), value('scores', 'float32', ['m', 2])],
    outputs: [value('y')],
  },
  spelt: {
    nodes: [
      op('ReduceMean', ['x', 'last'], ['mean']),
      op('Sub', ['x', 'mean'], ['d']),
      op('Pow', ['d', 'square'], ['d2']),
      op('ReduceMean', ['d2', 'last'], ['variance']),
      op('Add', ['variance', 'epsilon'], ['v']),
      op('Sqrt', ['v'], ['deviation']),
      op('Div', ['d', 'deviation'], ['n']),
      op('Mul', ['n', 'scale'], ['ns']),
      op('Add', ['ns', 'scale'], ['h']),
      a.node('h', 'p'),
      op('Div', ['p', 'root'], ['scaled']),
      op('Erf', ['scaled'], ['e']),
      op('Add', ['e', 'unit'], ['e1']),
      op('Mul', ['p', 'e1'], ['pe']),
      op('Mul', ['pe', 'half'], ['y']),
    ],
    initializers: [
      ...a.initializers,
      longs('last', -1),
      floats('scale', K),
      ...Object.entries({ square: 2, epsilon: 1e-5, root: Math.SQRT2, unit: 1, half: 0.5 }).map(
        ([name, number]): TensorSpec => ({ name, dtype: 'float32', dims: [], data: Float32Array.of(number) }),
      ),
    ],
    inputs: [value('x')],
    outputs: [value('y', 'float32', ['m', 8])],
  },
  recurrent: {
    nodes: [
      ms(
        op('DynamicQuantizeLSTM', ['x', 'W', 'R', 'B', '', '', '', '', 's', 'z', 's', 'z'], ['h'], {
          hidden_size: { int: 2 },
          direction: { string: 'bidirectional' },
        }),
      ),
      op('DequantizeLinear', ['V', 'v', 'u'], ['Vf'], { axis: { int: 1 } }),
      op('LSTM', ['x', 'Vf', 'Vf', '', '', 'state', 'state'], ['z1', 'y', 'cell'], {
        activations: { strings: ['Sigmoid', 'Tanh', 'Tanh'] },
      }),
      op('DequantizeLinear', ['G', 's1'], ['Gf']),
      op('GRU', ['x', 'Gf', 'Gf', 'Gb', '', 'state'], ['z2', 'gru'], { linear_before_reset: { int: 1 } }),
    ],
    initializers: [
      { ...bytes('W', 2, 2, 8), dtype: 'int8' },
      { ...bytes('R', 2, 2, 8), dtype: 'int8' },
      floats('B', 2, 16),
      floats('s', 2, 8),
      { name: 'z', dtype: 'int8', dims: [2, 8], data: new Int8Array(16) },
      bytes('V', 1, 8, 2),
      floats('v', 8),
      bytes('u', 8),
      { ...bytes('G', 1, 6, 2), dtype: 'int8' },
      { name: 's1', dtype: 'float32', dims: [], data: Float32Array.of(1 / 64) },
      floats('Gb', 1, 12),
    ],
    inputs: [value('x', 'float32', ['m', 1, 2]), value('state', 'float32', [1, 1, 2])],
    outputs: [
      value('h', 'float32', ['m', 2, 1, 2]),
      value('y', 'float32', [1, 1, 2]),
      value('cell', 'float32', [1, 1, 2]),
      value('gru', 'float32', [1, 1, 2]),
    ],
  },
};

/** Branches with products in branches, chosen by an input and by sizes; a function with attributes of its call. */
const called = {
  functions: [
    {
      name: 'Scaled',
      domain: 'of.this.file',
      inputs: ['x', 'by'],
      outputs: ['y'],
      attributes: ['slope'],
      defaults: { axis: { int: -1 } },
      nodes: [
        op('LeakyRelu', ['x'], ['h'], { alpha: { reference: 'slope', type: 1 } }),
        op('Mul', ['h', 'by'], ['s']),
        op('Softmax', ['s'], ['y'], { axis: { reference: 'axis', type: 2 } }),
      ],
      opsets: { '': 21 },
    },
  ],
  opsets: { '': 21, 'com.microsoft': 1, 'of.this.file': 1 },
  graph: {
    nodes: [
      op('Shape', ['x'], ['shape']),
      op('Gather', ['shape', 'zero'], ['rows']),
      op('Greater', ['rows', 'one'], ['many']),
      op('If', ['flag'], ['y', 'z'], {
        then_branch: {
          graph: {
            nodes: [
              a.node('x', 'p'),
              op('If', ['many'], ['q'], {
                then_branch: { graph: { ...branch('Relu'), nodes: [op('Relu', ['p'], ['h']), b.node('h', 'r')] } },
                else_branch: { graph: { ...branch('Neg'), nodes: [b.node('p', 'r')] } },
              }),
              op('Identity', ['x'], ['same']),
            ],
            inputs: [],
            outputs: [value('q'), value('same')],
          },
        },
        else_branch: {
          graph: {
            nodes: [
              { ...op('Scaled', ['x', 'by'], ['h'], { slope: { float: 0.5 } }), domain: 'of.this.file' },
              a.node('h', 'p'),
              b.node('p', 'r'),
              op('Constant', [], ['held'], { value_floats: { floats: [1, 2] } }),
            ],
            initializers: [floats('by', K)],
            inputs: [],
            outputs: [value('r'), { name: 'held', dtype: 'float32' as const }],
          },
        },
      }),
    ],
    initializers: [...a.initializers, ...b.initializers, longs('one', 1), longs('zero', 0)],
    inputs: [value('x'), value('flag', 'bool', [1])],
    outputs: [value('y'), { name: 'z', dtype: 'float32' as const }],
  },
};
writeFileSync(new URL('branches.onnx', import.meta.url), writeModel(called));

/** A Loop with a branch inside that ends by itself before its limit, and a Scan from the last position on. Both multiply. */
const cellOf = (x: string, y: string): NodeSpec[] => [
  a.node(x, `${y} p`),
  b.node(`${y} p`, `${y} s`),
  op('Tanh', [`${y} s`], [y]),
];
const loops: GraphSpec = {
  nodes: [
    op('Loop', ['three', '', 'x'], ['last', 'all'], {
      body: {
        graph: {
          nodes: [
            op('Less', ['i', 'two'], ['on']),
            op('If', ['on'], ['begin'], {
              then_branch: { graph: { nodes: [op('Mul', ['h', 'by'], ['r'])], inputs: [], outputs: [value('r')] } },
              else_branch: { graph: { nodes: cellOf('x', 'r'), inputs: [], outputs: [value('r')] } },
            }),
            ...cellOf('begin', 'next'),
            op('ReduceMax', ['next'], ['most'], { keepdims: { int: 0 } }),
          ],
          inputs: [value('i', 'int64', []), value('going', 'bool', []), value('h')],
          outputs: [value('on', 'bool', []), value('next'), value('most', 'float32', [])],
        },
      },
    }),
    op('Scan', ['start', 'last'], ['end', 'y'], {
      num_scan_inputs: { int: 1 },
      scan_input_directions: { ints: [1] },
      scan_output_axes: { ints: [1] },
      body: {
        graph: {
          nodes: [op('Add', ['g', 'row'], ['both']), ...cellOf('both', 'left'), op('Identity', ['left'], ['told'])],
          inputs: [value('g', 'float32', [1, K]), value('row', 'float32', [K])],
          outputs: [value('left', 'float32', [1, K]), value('told', 'float32', [1, K])],
        },
      },
    }),
  ],
  initializers: [
    ...a.initializers,
    ...b.initializers,
    floats('by', K),
    floats('start', 1, K),
    { name: 'two', dtype: 'int64', dims: [], data: BigInt64Array.of(2n) },
    { name: 'three', dtype: 'int64', dims: [], data: BigInt64Array.of(3n) },
  ],
  inputs: [value('x')],
  outputs: [value('y', 'float32', [1, 'm', K]), value('end', 'float32', [1, K]), value('all', 'float32', ['n'])],
};
writeFileSync(new URL('loops.onnx', import.meta.url), writeModel({ graph: loops }));

/** Operators of operator set 23. */
const NEWER = { rows: 23 } as Record<string, number>;

for (const [name, graph] of Object.entries(models)) {
  const opsets = { '': NEWER[name] ?? 21, 'com.microsoft': 1 };
  writeFileSync(new URL(`${name}.onnx`, import.meta.url), writeModel({ opsets, graph }));
}
