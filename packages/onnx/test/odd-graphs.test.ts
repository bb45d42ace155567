/**
 * What plain onnxruntime-web tolerates loads, with the same names and results, and is cut; what it refuses is refused with a
 * typed error. It is asked about every file.
 */
import { describe, expect, it } from 'vitest';
import type { GraphSpec } from '../src/write/index.ts';
import { writeModel } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { around, distance, externalTensor, filled, matrix, op, outcomeOf, SIZE, withFields } from './odd.ts';

const { initializers } = matrix;
const all = { name: 'msd', claim: 'all' } as const;
const x = { name: 'x', dtype: 'float32', dims: ['m', SIZE] } as const;
const y = { name: 'y', dtype: 'float32' } as const;
const identity = (from: string, to: string) => op('Identity', [from], [to]);
const build = (changes: Partial<GraphSpec> = {}, opsets?: Record<string, number>): Uint8Array =>
  writeModel({ graph: around(changes), ...(opsets && { opsets }) });
/** A graph with an addend of the file behind the product. */
const added = (more: Partial<GraphSpec>): Partial<GraphSpec> => ({
  nodes: [matrix.node('x', 'h'), op('Add', ['h', 'b'], ['y'])],
  ...more,
});
const withTensor = (tensor: Message): Uint8Array => build({ initializers: [...initializers, { encoded: tensor }] });
/** Further fields of the graph, as a second part of it. */
const merged = (more: Message, changes: Partial<GraphSpec> = {}): Uint8Array =>
  withFields(around(changes), (message) => message.message(7, more));

function valueInfo(name: string, elemType: number, dims: readonly (number | string)[]): Message {
  const shape = new Message();
  for (const dim of dims)
    shape.message(1, typeof dim === 'number' ? new Message().int(1, dim) : new Message().string(2, dim));
  const tensor = new Message().int(1, elemType).message(2, shape);
  return new Message().string(1, name).message(2, new Message().message(1, tensor));
}

/** One element of four. */
function sparse(name: string): Message {
  const values = new Message().ints(1, [1]).int(2, 1).string(8, name).floats(4, [2]);
  const indices = new Message().ints(1, [1]).int(2, 7).string(8, `${name}_at`).ints(7, [1]);
  return new Message().message(1, values).message(2, indices).ints(3, [4]);
}

const microsoft = (...[opType, inputs, outputs, attributes]: Parameters<typeof op>) => ({
  ...op(opType, inputs, outputs, attributes),
  domain: 'com.microsoft',
});
const constant = (value: number, size = SIZE) =>
  op('Constant', [], ['b'], { value: { tensor: filled('', [size], value) } });
const scalar = (value: number) => op('Constant', [], ['b'], { value_float: { float: value } });

const tolerated: Readonly<Record<string, Uint8Array>> = {
  'a graph in two parts': merged(new Message().string(2, 'again')),
  'an output without a type': merged(new Message().message(12, new Message().string(1, 'y')), { outputs: [] }),
  'an output without a type, of integers': merged(new Message().message(12, new Message().string(1, 'n')), {
    nodes: [matrix.node('x', 'y'), op('Cast', ['y'], ['n'], { to: { int: 6 } })],
  }),
  'an output twice': build({ outputs: [y, y] }),
  'an output twice, another between': build({
    nodes: [matrix.node('x', 'y'), identity('y', 'z')],
    outputs: [y, { name: 'z', dtype: 'float32' }, y],
  }),
  'a short initializer twice': build(
    added({ initializers: [...[1, 2, 3].map((value) => filled('b', [1], value)), ...initializers] }),
  ),
  'a long initializer twice': build(
    added({ initializers: [filled('b', [SIZE], 1), filled('b', [SIZE], 2), ...initializers] }),
  ),
  'a long initializer three times': build(
    added({ initializers: [...[1, 2, 3].map((value) => filled('b', [SIZE], value)), ...initializers] }),
  ),
  'an initializer of 31 and of 32 floats, twice': build({
    nodes: [
      matrix.node('x', 'h'),
      op('Concat', ['b', 'c', 'd'], ['e'], { axis: { int: 0 } }),
      op('Add', ['h', 'e'], ['y']),
    ],
    initializers: [
      ...[1, 2].flatMap((value) => [filled('b', [31], value), filled('c', [32], value), filled('d', [1], value)]),
      ...initializers,
    ],
  }),
  'a long initializer twice, in float_data': build(
    added({
      initializers: [
        ...[1, 2].map((value) => ({
          encoded: new Message()
            .ints(1, [SIZE])
            .int(2, 1)
            .string(8, 'b')
            .floats(4, new Array<number>(SIZE).fill(value)),
        })),
        ...initializers,
      ],
    }),
  ),
  'weights twice': build({ initializers: [...initializers, ...initializers] }),
  'a Constant and an initializer of one name': build({
    nodes: [constant(3), matrix.node('x', 'h'), op('Add', ['h', 'b'], ['y'])],
    initializers: [filled('b', [SIZE], 1), ...initializers],
  }),
  'a Constant twice': build({ nodes: [constant(3), constant(4), matrix.node('x', 'h'), op('Add', ['h', 'b'], ['y'])] }),
  'a scalar Constant twice': build({
    nodes: [scalar(3), scalar(4), matrix.node('x', 'h'), op('Add', ['h', 'b'], ['y'])],
  }),
  'a mask of more places than are looked at while a model is planned': build({
    nodes: [
      matrix.node('x', 'h'),
      op('Shape', ['x'], ['rows'], { start: { int: 0 }, end: { int: 1 } }),
      op('Slice', ['mask', 'zero', 'rows', 'zero'], ['part']),
      op('Where', ['part', 'h', 'b'], ['y']),
    ],
    initializers: [
      {
        name: 'mask',
        dtype: 'bool',
        dims: [90, SIZE],
        data: Uint8Array.from({ length: 90 * SIZE }, (_, i) => +(i % 5 < 3)),
      },
      { name: 'zero', dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) },
      filled('b', [SIZE], 2),
      ...initializers,
    ],
  }),
  'an unused initializer whose file is missing': withTensor(externalTensor('u', [4], { location: 'nowhere.bin' })),
  'an unused initializer outside the folder': withTensor(externalTensor('u', [4], { location: '../nowhere.bin' })),
  'an unused initializer of the wrong size': withTensor(
    new Message().ints(1, [4]).int(2, 1).string(8, 'u').bytes(9, new Uint8Array(3)),
  ),
  'an unused initializer of negative size': withTensor(
    new Message().ints(1, [-1]).int(2, 1).string(8, 'u').bytes(9, new Uint8Array(4)),
  ),
  'an initializer without a name': withTensor(new Message().ints(1, [1]).int(2, 1).bytes(9, new Uint8Array(4))),
  'an unused string initializer': withTensor(new Message().ints(1, [1]).int(2, 8).string(8, 'u').string(6, 'text')),
  'weights that are listed as inputs': build({
    inputs: [
      x,
      { name: 'w_scales', dtype: 'float32', dims: [SIZE, 2] },
      { name: 'w_Q', dtype: 'uint8', dims: [SIZE, 2, 16] },
    ],
  }),
  'an addend that is listed as an input': build(
    added({
      inputs: [x, { name: 'b', dtype: 'float32', dims: ['n'] }],
      initializers: [filled('b', [SIZE]), ...initializers],
    }),
  ),
  'an input that nobody uses': build({ inputs: [x, { name: 'u', dtype: 'float32', dims: [3] }] }),
  'an output that is an input': build({ outputs: [y, { name: 'x', dtype: 'float32' }] }),
  'an output that is an initializer': build({
    outputs: [y, { name: 'b', dtype: 'float32' }],
    initializers: [...initializers, filled('b', [3])],
  }),
  'an output that is a scale of the weights': build({ outputs: [y, { name: 'w_scales', dtype: 'float32' }] }),
  'an output that is a Constant': build({
    nodes: [scalar(3), matrix.node('x', 'y')],
    outputs: [y, { name: 'b', dtype: 'float32' }],
  }),
  'an output that is a list of a Constant': build({
    nodes: [op('Constant', [], ['b'], { value_ints: { ints: [3, -4] } }), matrix.node('x', 'y')],
    outputs: [y, { name: 'b', dtype: 'int64' }],
  }),
  'nodes without names': build({
    nodes: [
      { ...matrix.node('x', 'h'), name: '' },
      { ...identity('h', 'y'), name: '' },
    ],
  }),
  'a type of a value that is not there': merged(new Message().message(13, valueInfo('ghost', 1, [3]))),
  'a sparse initializer that nobody uses': merged(new Message().message(15, sparse('s'))),
  'an operator set that nobody uses': build({}, { '': 21, 'com.microsoft': 1, 'my.domain': 3 }),
  'no operator set of the weights': build({}, { '': 21 }),
  'no operator set of ONNX': build(added({ initializers: [filled('b', [SIZE]), ...initializers] }), {
    'com.microsoft': 1,
  }),
  'the domain by its long name': build({
    nodes: [matrix.node('x', 'h'), { ...op('Neg', ['h'], ['y']), domain: 'ai.onnx' }],
  }),
  'nodes in no order': build({ nodes: [identity('h', 'y'), matrix.node('x', 'h')] }),
  'keepdims that is neither 0 nor 1': build({
    nodes: [
      matrix.node('x', 'h'),
      op('ReduceMean', ['h'], ['y'], { keepdims: { int: 2 } }),
      op('ArgMax', ['h'], ['z'], { keepdims: { int: -1 }, axis: { int: -1 } }),
    ],
    outputs: [y, { name: 'z', dtype: 'int64' }],
  }),
  'what an attention leaves, declared of other sizes: there is no rule for it without a past': build({
    inputs: [{ name: 'x', dtype: 'float32', dims: [1, 3, SIZE] }],
    nodes: [
      matrix.node('x', 'h'),
      microsoft('Attention', ['h', 'w', 'b'], ['a', 'present'], { num_heads: { int: 2 }, unidirectional: { int: 1 } }),
      op('Gather', ['present', 'first'], ['stacked'], { axis: { int: 0 } }),
      microsoft('MultiHeadAttention', ['a', 'h', 'h'], ['y', 'key', 'value'], { num_heads: { int: 2 } }),
    ],
    initializers: [
      ...initializers,
      filled('w', [SIZE, 3 * SIZE], 2 ** -6),
      filled('b', [3 * SIZE]),
      { name: 'first', dtype: 'int64', dims: [], data: BigInt64Array.of(0n) },
    ],
    outputs: [
      y,
      ...['stacked', 'key', 'value'].map((name) => ({ name, dtype: 'float32' as const, dims: [1, 2, SIZE / 2, 3] })),
    ],
  }),
  "a Scaler, whose scale is a list, in front of the product: scikit-learn's": build(
    {
      nodes: [
        {
          ...op('Scaler', ['x'], ['h'], {
            offset: { floats: new Array<number>(SIZE).fill(0.25) },
            scale: { floats: Array.from({ length: SIZE }, (_, i) => 1 + i / SIZE) },
          }),
          domain: 'ai.onnx.ml',
        },
        matrix.node('h', 'y'),
      ],
    },
    { '': 21, 'com.microsoft': 1, 'ai.onnx.ml': 3 },
  ),
  'an LSTM whose activations have numbers, as Keras writes hard sigmoids': build({
    nodes: [
      matrix.node('x', 'h'),
      op('Unsqueeze', ['h', 'zero'], ['s']),
      op('LSTM', ['s', 'w', 'r'], ['', 'y'], {
        hidden_size: { int: 2 },
        activations: { strings: ['HardSigmoid', 'Tanh', 'Tanh'] },
        activation_alpha: { floats: [0.25] },
        activation_beta: { floats: [0.5] },
      }),
    ],
    initializers: [
      ...initializers,
      { name: 'zero', dtype: 'int64', dims: [1], data: BigInt64Array.of(0n) },
      filled('w', [1, 8, SIZE], 2 ** -6),
      filled('r', [1, 8, 2]),
    ],
  }),
  'rows without a batch': build({ inputs: [{ name: 'x', dtype: 'float32', dims: [SIZE] }] }),
};

/** Taken as a whole, for a reason: what they hold crosses no border. */
const toleratedWhole: Readonly<Record<string, Uint8Array>> = {
  'a sparse initializer that is used': merged(new Message().message(15, sparse('s')), {
    nodes: [
      matrix.node('x', 'h'),
      op('ReduceMean', ['s'], ['r'], { keepdims: { int: 0 } }),
      op('Add', ['h', 'r'], ['y']),
    ],
  }),
  'an infinite scale, as calibration makes of masks of the lowest float': build({
    nodes: [
      matrix.node('x', 'h'),
      op('QuantizeLinear', ['h', 'infinite', 'zero'], ['q']),
      op('DequantizeLinear', ['q', 'infinite', 'zero'], ['none']),
      op('QuantizeLinear', ['none', 'step', 'zero'], ['codes']),
      op('DequantizeLinear', ['codes', 'step', 'zero'], ['y']),
    ],
    initializers: [
      ...initializers,
      filled('infinite', [], Number.POSITIVE_INFINITY),
      filled('step', [], 0.25),
      { name: 'zero', dtype: 'int8', dims: [], data: new Int8Array(1) },
    ],
  }),
  'codes of 16 bits, the least of which is beyond the lowest float': build({
    nodes: [
      matrix.node('x', 'h'),
      op('QuantizeLinear', ['low', 'large', 'last'], ['q']),
      op('DequantizeLinear', ['q', 'large', 'last'], ['mask']), // -Infinity
      op('Mul', ['mask', 'nothing'], ['none']),
      op('Add', ['h', 'none'], ['sum']),
      op('QuantizeLinear', ['sum', 'step', 'zero'], ['codes']),
      op('DequantizeLinear', ['codes', 'step', 'zero'], ['y']),
    ],
    initializers: [
      ...initializers,
      filled('low', [], -3.4028234663852886e38),
      filled('nothing', [], 0),
      filled('large', [], 3.4028234663852886e38 / 65534.9),
      filled('step', [], 0.25),
      { name: 'last', dtype: 'uint16', dims: [], data: Uint16Array.of(65535) },
      { name: 'zero', dtype: 'int8', dims: [], data: new Int8Array(1) },
    ],
  }),
  'an output that is text': build({
    outputs: [y, { name: 'u', dtype: 'string' }],
    initializers: [...initializers, { encoded: new Message().ints(1, [1]).int(2, 8).string(8, 'u').string(6, 'text') }],
  }),
};

const between = { nodes: [matrix.node('x', 'h'), identity('h', 'y')] };
const declared = (elemType: number, dims: readonly (number | string)[]): Uint8Array =>
  merged(new Message().message(13, valueInfo('h', elemType, dims)), between);

const refused: Readonly<Record<string, Uint8Array>> = {
  'constants of one name and two shapes': build(
    added({ initializers: [filled('b', [1]), filled('b', [SIZE]), ...initializers] }),
  ),
  'an input twice': build({ inputs: [x, x] }),
  'a result twice': build({ nodes: [matrix.node('x', 'y'), identity('x', 'y')] }),
  'a result that is an input': build({ nodes: [matrix.node('x', 'y'), identity('y', 'x')] }),
  'a result that is an initializer': build({
    nodes: [matrix.node('x', 'y'), identity('y', 'b')],
    initializers: [...initializers, filled('b', [SIZE])],
  }),
  'weights listed as an input of another shape': build({
    inputs: [x, { name: 'w_scales', dtype: 'float32', dims: [SIZE, 3] }],
  }),
  'an output that nobody makes': build({ outputs: [y, { name: 'nobody', dtype: 'float32' }] }),
  'an output without a name': build({ outputs: [y, { name: '' }] }),
  'an input without a type': build({ inputs: [{ name: 'x' }] }),
  'a cycle': build({
    nodes: [matrix.node('x', 'h'), op('Add', ['h', 'b'], ['a']), identity('a', 'b'), identity('a', 'y')],
  }),
  'an undefined operand': build({ nodes: [matrix.node('x', 'y'), op('Neg', ['nobody'], ['n'])] }),
  'an attribute that the operator has not': build({
    nodes: [{ ...matrix.node('x', 'y'), attributes: { ...matrix.node('x', 'y').attributes, more: { int: 1 } } }],
  }),
  'an operator set that is too new': build({}, { '': 99, 'com.microsoft': 1 }),
  'a value declared of another size': declared(1, ['m', 3]),
  'a value declared of another rank': declared(1, ['m', 2, SIZE]),
  'a value declared of another type': declared(7, ['m', SIZE]),
  'an output declared of another size': build({ outputs: [{ name: 'y', dtype: 'float32', dims: ['m', 3] }] }),
  'an output declared of another rank': build({ outputs: [{ name: 'y', dtype: 'float32', dims: ['m', 1, SIZE] }] }),
  'an output declared of another type': build({ outputs: [{ name: 'y', dtype: 'int64', dims: ['m', SIZE] }] }),
  'an input declared of another size': build({ inputs: [{ name: 'x', dtype: 'float32', dims: ['m', 3] }] }),
  'an input declared a scalar': build({ inputs: [{ name: 'x', dtype: 'float32', dims: [] }] }),
  'an addend that does not fit': build(added({ initializers: [...initializers, filled('b', [3])] })),
  'a sum declared of another size': build(
    added({
      initializers: [...initializers, filled('b', [SIZE])],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['m', 3] }],
    }),
  ),
};

const TYPED = ['OnnxFormatError', 'ReadError', 'ForeignRunError', 'RangeError', 'TypeError', 'UnsupportedError'];

describe('what onnxruntime-web tolerates', () => {
  it.each(Object.entries(tolerated))('%s: cut, with its results', async (_, bytes) => {
    const plain = await outcomeOf(bytes, 'wasm');
    expect(plain.message).toBe('');
    const own = await outcomeOf(bytes, all);
    expect(own.message).toBe('');
    expect(own.report?.whole).toBeUndefined();
    expect([own.inputNames, own.outputNames]).toEqual([plain.inputNames, plain.outputNames]);
    // Two components keep more than 16 bits of x; K = 64 products of weights of about its size.
    expect(distance(plain, own)).toBeLessThan(SIZE * 2 ** -16);
  });

  it.each(Object.entries(toleratedWhole))('%s: as a whole', async (_, bytes) => {
    const plain = await outcomeOf(bytes, 'wasm');
    const own = await outcomeOf(bytes, all);
    expect(own.message).toBe('');
    expect(own.report?.whole).toBeDefined();
    expect(distance(plain, own)).toBe(0);
  });

  it('an addend that is listed as an input cannot be fed, as there', async () => {
    const bytes = tolerated['an addend that is listed as an input']!;
    const { ort } = await import('./ort.ts');
    const feeds = () => ({
      x: new ort.Tensor('float32', new Float32Array(SIZE), [1, SIZE]),
      b: new ort.Tensor('float32', new Float32Array(SIZE), [SIZE]),
    });
    for (const provider of ['wasm', all] as const)
      expect(await outcomeOf(bytes, provider, {}, feeds)).toMatchObject({ stage: 'run', inputNames: ['x'] });
  });
});

describe('what onnxruntime-web refuses', () => {
  it.each(Object.entries(refused))('%s: refused, with a typed error', async (_, bytes) => {
    expect((await outcomeOf(bytes, 'wasm')).stage).toBe('create');
    for (const provider of ['msd', all] as const) {
      const own = await outcomeOf(bytes, provider);
      expect(own.stage).toBe('create');
      expect(TYPED).toContain(own.name);
    }
  });
});

describe('names that objects have already, or that look like ours', () => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'then', '?1', 'wᵀ', '0', 'a b', ' '];
  const places: Readonly<Record<string, (name: string) => Uint8Array>> = {
    'an input': (name) =>
      build({ inputs: [{ name, dtype: 'float32', dims: ['m', SIZE] }], nodes: [matrix.node(name, 'y')] }),
    'a value on its way to ONNX Runtime and back': (name) =>
      build({ nodes: [matrix.node('x', name), op('Selu', [name], ['h']), op('Add', ['h', name], ['y'])] }),
    'an initializer': (name) =>
      build({
        nodes: [matrix.node('x', 'h'), op('Add', ['h', name], ['y'])],
        initializers: [...initializers, filled(name, [SIZE])],
      }),
    'a node': (name) => build({ nodes: [{ ...matrix.node('x', 'h'), name }, op('Selu', ['h'], ['y'])] }),
    'a size': (name) => build({ inputs: [{ name: 'x', dtype: 'float32', dims: [name, SIZE] }] }),
    'an operator set': (name) =>
      withFields(around(), (message) => message.message(8, new Message().string(1, name).int(2, 3))),
  };
  it.each(Object.entries(places))('%s', async (_, of) => {
    for (const name of names) {
      const bytes = of(name);
      const plain = await outcomeOf(bytes, 'wasm');
      const own = await outcomeOf(bytes, all);
      expect([name, plain.message, own.message]).toEqual([name, '', '']);
      expect(own.report?.whole).toBeUndefined();
      expect(own.inputNames).toEqual(plain.inputNames);
      expect(distance(plain, own)).toBeLessThan(SIZE * 2 ** -16);
    }
  });

  it('an output (onnxruntime-web itself loses one that is called __proto__)', async () => {
    for (const name of names.filter((each) => each !== '__proto__')) {
      const bytes = build({ nodes: [matrix.node('x', name)], outputs: [{ name, dtype: 'float32' }] });
      expect(distance(await outcomeOf(bytes, 'wasm'), await outcomeOf(bytes, all))).toBeLessThan(SIZE * 2 ** -16);
    }
  });

  it('an operator or attribute that nobody has is refused by its name', async () => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const unknown = build({ nodes: [matrix.node('x', 'h'), op(name, ['h'], ['y'])] });
      expect(await outcomeOf(unknown, all)).toMatchObject({ stage: 'create', name: 'ForeignRunError' });
    }
  });
});
