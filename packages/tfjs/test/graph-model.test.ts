import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accelerate,
  formatReport,
  graphModelHandler,
  loadGraphModel,
  type ModelOptions,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { artifactsOf, b64, FLOAT, floats, type GraphEntry, handlerOf, ints, placeholder } from './graph.ts';
import { BACKENDS, gaussian, relativeL2, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const relu = { list: { s: [btoa('BiasAdd'), btoa('Relu')] } };
const charCodes = (text: string) => [...text].map((c) => c.charCodeAt(0));

/** Weights named w…, the result is `y`. `x` is the shape of the input, or indices. */
type Pattern = GraphEntry & { x: number[] | Int32Array; taken: string[]; fused?: string[] };

const patterns: Readonly<Record<string, Pattern>> = {
  MatMul: {
    nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'], attr: { T: FLOAT } }],
    weights: [floats('w', [64, 48])],
    x: [3, 64],
    taken: ['y'],
  },
  'MatMul, transposed': {
    nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'], attr: { transpose_b: { b: true } } }],
    weights: [floats('w', [48, 64])],
    x: [3, 64],
    taken: ['y'],
  },
  'MatMul + Reshape + BiasAdd + Relu': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'r', op: 'Reshape', input: ['m', 'shape'] },
      { name: 'b', op: 'BiasAdd', input: ['r', 'bias'] },
      { name: 'y', op: 'Relu', input: ['b'] },
    ],
    weights: [floats('w', [64, 48]), floats('bias', [48]), ints('shape', [2, -1, 48])],
    x: [6, 64],
    taken: ['m'],
    fused: ['Reshape', 'BiasAdd', 'Relu'],
  },
  'a Reshape that cuts columns': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'r', op: 'Reshape', input: ['m', 'shape'] },
      { name: 'y', op: 'AddV2', input: ['bias', 'r'] },
    ],
    weights: [floats('w', [64, 48]), floats('bias', [48]), ints('shape', [288, 1])],
    x: [6, 64],
    taken: ['m'],
    fused: ['Reshape', 'AddV2'],
  },
  'MatMul + AddV2 + Tanh': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'b', op: 'AddV2', input: ['bias', 'm'] },
      { name: 'y', op: 'Tanh', input: ['b'] },
    ],
    weights: [floats('w', [64, 48]), floats('bias', [48])],
    x: [6, 64],
    taken: ['m'],
    fused: ['AddV2', 'Tanh'],
  },
  _FusedMatMul: {
    nodes: [
      placeholder('x'),
      { name: 'y', op: '_FusedMatMul', input: ['x', 'w', 'bias'], attr: { fused_ops: relu, num_args: { i: '1' } } },
    ],
    weights: [floats('w', [70, 32]), floats('bias', [32])],
    x: [1, 70],
    taken: ['y'],
  },
  '_FusedMatMul with LeakyRelu, char codes': {
    nodes: [
      placeholder('x'),
      {
        name: 'y',
        op: '_FusedMatMul',
        input: ['x', 'w', 'bias'],
        attr: {
          fused_ops: { list: { s: [charCodes('BiasAdd'), charCodes('LeakyRelu')] } },
          num_args: { i: 1 },
          leakyrelu_alpha: { f: 0.3 },
        },
      },
    ],
    weights: [floats('w', [70, 32]), floats('bias', [32])],
    x: [2, 70],
    taken: ['y'],
  },
  BatchMatMulV2: {
    nodes: [placeholder('x'), { name: 'y', op: 'BatchMatMulV2', input: ['x', 'w'], attr: { adj_y: { b: true } } }],
    weights: [floats('w', [3, 16, 64])],
    x: [3, 5, 64],
    taken: ['y'],
  },
  'Einsum, projection': {
    nodes: [placeholder('x'), { name: 'y', op: 'Einsum', input: ['x', 'w'], attr: { equation: b64('abc,cde->abde') } }],
    weights: [floats('w', [64, 4, 16])],
    x: [2, 5, 64],
    taken: ['y'],
  },
  'Einsum, output': {
    nodes: [placeholder('x'), { name: 'y', op: 'Einsum', input: ['x', 'w'], attr: { equation: b64('abcd,cde->abe') } }],
    weights: [floats('w', [4, 16, 64])],
    x: [2, 5, 4, 16],
    taken: ['y'],
  },
  'Einsum, constant first and transposed': {
    nodes: [placeholder('x'), { name: 'y', op: 'Einsum', input: ['w', 'x'], attr: { equation: b64('oc,bc->bo') } }],
    weights: [floats('w', [48, 64])],
    x: [5, 64],
    taken: ['y'],
  },
  'Einsum that is no product of rows': {
    nodes: [placeholder('x'), { name: 'y', op: 'Einsum', input: ['x', 'w'], attr: { equation: b64('acb,cde->abde') } }],
    weights: [floats('w', [64, 4, 16])],
    x: [2, 64, 5],
    taken: [],
  },
  'Conv2D 1x1': {
    nodes: [
      placeholder('x'),
      {
        name: 'c',
        op: 'Conv2D',
        input: ['x', 'w'],
        attr: {
          strides: { list: { i: ['1', '1', '1', '1'] } },
          padding: b64('VALID'),
          data_format: b64('NHWC'),
          dilations: { list: { i: [1, 1, 1, 1] } },
        },
      },
      { name: 'y', op: 'BiasAdd', input: ['c', 'bias'], attr: { data_format: b64('NHWC') } },
    ],
    weights: [floats('w', [1, 1, 64, 24]), floats('bias', [24])],
    x: [2, 5, 3, 64],
    taken: ['c'],
    fused: ['BiasAdd'],
  },
  _FusedConv2D: {
    nodes: [
      placeholder('x'),
      {
        name: 'y',
        op: '_FusedConv2D',
        input: ['x', 'w', 'bias'],
        attr: {
          strides: { list: { i: [1, 1, 1, 1] } },
          padding: { s: charCodes('SAME') },
          data_format: b64('NHWC'),
          dilations: { list: { i: [1, 1, 1, 1] } },
          fused_ops: { list: { s: [btoa('BiasAdd'), btoa('Relu6')] } },
          num_args: { i: '1' },
        },
      },
    ],
    weights: [floats('w', [1, 1, 64, 48]), floats('bias', [48])],
    x: [2, 5, 3, 64],
    taken: ['y'],
  },
  GatherV2: {
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'y', op: 'GatherV2', input: ['w', 'x', 'axis'], attr: { batch_dims: { i: '0' } } },
    ],
    weights: [floats('w', [60, 33]), ints('axis', [0], [])],
    x: Int32Array.of(3, 59, 0, 3),
    taken: ['y'],
  },
  SparseSegmentMean: {
    nodes: [placeholder('x', 'DT_INT32'), { name: 'y', op: 'SparseSegmentMean', input: ['w', 'x', 'ids'] }],
    weights: [floats('w', [60, 33]), ints('ids', [0, 0, 1, 1])],
    x: Int32Array.of(3, 59, 0, 3),
    taken: ['y'],
  },
  SparseSegmentSum: {
    nodes: [placeholder('x', 'DT_INT32'), { name: 'y', op: 'SparseSegmentSum', input: ['w', 'x', 'ids'] }],
    weights: [floats('w', [60, 33]), ints('ids', [0, 0, 1, 1])],
    x: Int32Array.of(3, 59, 0, 3),
    taken: ['y'],
  },
  'tied embeddings behind an Identity': {
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'id', op: 'Identity', input: ['w'], attr: { T: FLOAT } },
      { name: 'e', op: 'GatherV2', input: ['id', 'x', 'axis'] },
      { name: 'y', op: 'MatMul', input: ['e', 'w'], attr: { transpose_b: { b: true } } },
    ],
    weights: [floats('w', [60, 64]), ints('axis', [0], [])],
    x: Int32Array.of(3, 59, 0, 3),
    taken: ['e', 'y'],
  },
  'weights that something else reads': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'n', op: 'Mean', input: ['w', 'axis'] },
      { name: 'y', op: 'AddV2', input: ['m', 'n'] },
    ],
    weights: [floats('w', [64, 48]), ints('axis', [0], [1])],
    x: [3, 64],
    taken: [],
  },
  ...Object.fromEntries(
    ['Relu', 'Relu6', 'Elu', 'Sigmoid', 'LeakyRelu', 'Prelu'].flatMap((activation) => [
      [`_FusedMatMul with BiasAdd and ${activation}`, fusedMatMul('BiasAdd', activation)],
      [`_FusedConv2D with BiasAdd and ${activation}`, fusedConv2D('BiasAdd', activation)],
      [`_FusedConv2D with ${activation} alone`, fusedConv2D('NoOp', activation)],
    ]),
  ),
  'fused ops that tfjs reads in its own way': {
    ...fusedMatMul('Relu'),
    taken: [],
  },
  'Prelu as a node of its own': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'y', op: 'Prelu', input: ['m', 'slopes'] },
    ],
    weights: [floats('w', [64, 48]), floats('slopes', [48])],
    x: [3, 64],
    taken: ['m'],
    fused: [],
  },
  'two readers of a product': {
    nodes: [
      placeholder('x'),
      { name: 'm', op: 'MatMul', input: ['x', 'w'] },
      { name: 'a', op: 'Relu', input: ['m'] },
      { name: 'y', op: 'AddV2', input: ['a', 'm'] },
    ],
    weights: [floats('w', [64, 48])],
    x: [3, 64],
    taken: ['m'],
    fused: [],
  },
};

/** What follows in `_Fused…` nodes: fused ops, and the operands that they add. */
function fusedWith(ops: readonly string[], N: number) {
  const operands = [...(ops[0] === 'BiasAdd' ? ['bias'] : []), ...(ops[1] === 'Prelu' ? ['slopes'] : [])];
  return {
    operands,
    weights: operands.map((name) => floats(name, [N])),
    attr: {
      fused_ops: { list: { s: ops.map((op) => btoa(op)) } },
      num_args: { i: operands.length },
      leakyrelu_alpha: { f: 0.3 },
    },
  };
}

/** A Reshape follows, which must not come before slopes are applied. */
function fusedMatMul(...ops: string[]): Pattern {
  const { operands, weights, attr } = fusedWith(ops, 32);
  return {
    nodes: [
      placeholder('x'),
      { name: 'm', op: '_FusedMatMul', input: ['x', 'w', ...operands], attr },
      { name: 'y', op: 'Reshape', input: ['m', 'shape'] },
    ],
    weights: [floats('w', [70, 32]), ...weights, ints('shape', [2, 3, 4, 8])],
    x: [6, 70],
    taken: ['m'],
  };
}

function fusedConv2D(...ops: string[]): Pattern {
  const { operands, weights, attr } = fusedWith(ops, 24);
  const strides = { list: { i: [1, 1, 1, 1] } };
  const window = { strides, dilations: strides, padding: b64('VALID'), data_format: b64('NHWC') };
  return {
    nodes: [
      placeholder('x'),
      { name: 'y', op: '_FusedConv2D', input: ['x', 'w', ...operands], attr: { ...window, ...attr } },
    ],
    weights: [floats('w', [1, 1, 64, 24]), ...weights],
    x: [2, 5, 3, 64],
    taken: ['y'],
  };
}

function sums(): Record<string, GraphEntry & { readonly x: number[] }> {
  const strides = { list: { i: [1, 1, 1, 1] } };
  const window = { strides, dilations: strides, padding: b64('SAME'), data_format: b64('NHWC') };
  const sum = (op: string, x: number[], filter: number[], added: number[] | 'x', shape?: number[]) => {
    const fused = { fused_ops: { list: { s: [btoa('BiasAdd'), btoa('Relu')] } }, num_args: { i: 1 } };
    const node = { name: 'm', op, input: ['x', 'w', added === 'x' ? 'x' : 'added'], attr: { ...window, ...fused } };
    const weights = [floats('w', filter), ...(added === 'x' ? [] : [floats('added', added)])];
    if (!shape) return { nodes: [placeholder('x'), { ...node, name: 'y' }], weights, x };
    const reshape = { name: 'y', op: 'Reshape', input: ['m', 'shape'] };
    return { nodes: [placeholder('x'), node, reshape], weights: [...weights, ints('shape', shape)], x };
  };
  return {
    'a residual': sum('_FusedMatMul', [3, 64], [64, 64], 'x'),
    'a residual of one row': sum('_FusedMatMul', [1, 64], [64, 64], 'x'),
    'a residual, and a Reshape': sum('_FusedMatMul', [3, 64], [64, 64], 'x', [-1, 4, 16]),
    'a number': sum('_FusedMatMul', [3, 64], [64, 48], []),
    'a number to one column': sum('_FusedMatMul', [3, 64], [64, 1], []),
    'a number for each row': sum('_FusedMatMul', [3, 64], [64, 48], [3, 1]),
    'a residual of a convolution': sum('_FusedConv2D', [2, 5, 4, 64], [3, 3, 64, 64], 'x'),
    'a residual of a 1x1 convolution': sum('_FusedConv2D', [2, 5, 4, 64], [1, 1, 64, 64], 'x'),
    'a number for each place': sum('_FusedConv2D', [1, 6, 6, 32], [3, 3, 32, 36], [6, 6, 1]),
    'a residual of a depthwise convolution': sum('FusedDepthwiseConv2dNative', [2, 9, 8, 64], [3, 3, 64, 1], 'x'),
    'a number to a depthwise convolution': sum('FusedDepthwiseConv2dNative', [2, 9, 8, 64], [3, 3, 64, 1], []),
  };
}

const feed = (x: number[] | Int32Array) =>
  x instanceof Int32Array
    ? tf.tensor1d(x, 'int32')
    : tf.tensor(
        gaussian(
          5,
          x.reduce((a, b) => a * b, 1),
        ),
        x,
      );

async function run(model: tf.GraphModel, x: number[] | Int32Array, output = 'y') {
  const input = feed(x);
  const y = model.execute({ x: input }, output) as tf.Tensor;
  const result = { shape: y.shape, values: y.dataSync().slice() };
  tf.dispose([y, input]);
  return result;
}

describe.each(BACKENDS)('graph models on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  const stockRuns = async (entry: GraphEntry, x: number[] | Int32Array) => {
    await useBackend('cpu');
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const want = await run(stock, x);
    stock.dispose();
    await useBackend(backend);
    return want;
  };

  describe.each(Object.entries(patterns))('%s', (_, { x, taken, fused, ...entry }) => {
    it.each([undefined, ['y']])('loads, with and without a signature', async (outputs) => {
      const want = await stockRuns({ ...entry, ...(outputs && { outputs }) }, x);
      await withoutLeaks(async () => {
        const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, ...(outputs && { outputs }) })));
        const nodes = reportOf(model)!.nodes;
        expect(
          nodes
            .filter(({ where }) => where === 'msd')
            .map(({ name }) => name)
            .sort(),
        ).toEqual([...taken].sort());
        if (fused) expect(nodes.find(({ where }) => where === 'msd')!.fused).toEqual(fused);
        for (const { where, reason } of nodes) if (where === 'tfjs') expect(reason).toMatch(/\w/);
        for (let i = 0; i < 2; i++) {
          const got = await run(model, x);
          expect(got.shape).toEqual(want.shape);
          expect(relativeL2(got.values, want.values)).toBeLessThan(0.012); // int8 per column or row
        }
        model.dispose();
      });
    });

    it('accelerates in place and restores', async () => {
      await withoutLeaks(async () => {
        const empty = tf.memory().numBytes;
        const model = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
        const bytes = tf.memory().numBytes;
        const stock = await run(model, x);
        const { report, restore } = await accelerate(model);
        const msd = await run(model, x);
        const loaded = await loadGraphModel(handlerOf(artifactsOf(entry)));
        expect(msd).toEqual(await run(loaded, x));
        loaded.dispose();
        expect(report.nodes).toEqual(reportOf(model)!.nodes);
        if (taken.length) expect(tf.memory().numBytes - empty).toBeLessThan(0.5 * (bytes - empty));
        await restore();
        await restore();
        expect(tf.memory().numBytes).toBe(bytes);
        expect(await run(model, x)).toEqual(stock);
        model.dispose();
      });
    });
  });

  // The converter makes any sum behind a product its bias; stock's wasm backend refuses all but vectors.
  it.each(Object.entries(sums()))('add what is no vector: %s', async (_, { x, ...entry }) => {
    const want = await stockRuns(entry, x);
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)), { convolutions: true, minElements: 1 });
      expect(reportOf(model)!.nodes.some(({ where }) => where === 'msd')).toBe(true);
      const got = await run(model, x);
      expect(got.shape).toEqual(want.shape);
      expect(relativeL2(got.values, want.values)).toBeLessThan(0.012);
      model.dispose();
    });
  });

  it.each(['uint8', 'uint16', 'float16'] as const)('keep a %s manifest as it is', async (stored) => {
    const entry: GraphEntry = {
      nodes: [
        placeholder('x', 'DT_INT32'),
        { name: 'e', op: 'GatherV2', input: ['table', 'x', 'axis'] },
        {
          name: 'y',
          op: '_FusedMatMul',
          input: ['e', 'kernel', 'bias'],
          attr: { fused_ops: relu, num_args: { i: '1' } },
        },
      ],
      weights: [
        floats('table', [60, 70], stored),
        floats('kernel', [70, 32], stored),
        floats('bias', [32]),
        ints('axis', [0], []),
      ],
      outputs: ['y', 'e'],
    };
    const x = Int32Array.of(7, 0, 59);
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const [rows, want] = [await run(stock, x, 'e'), await run(stock, x)];
    stock.dispose();
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
      expect(await run(model, x, 'e')).toEqual(rows); // look-ups bit for bit
      expect(relativeL2((await run(model, x)).values, want.values)).toBeLessThan(2e-4);
      const { weightBytes, stockBytes, nodes } = reportOf(model)!;
      expect(weightBytes / stockBytes).toBeLessThan(stored === 'uint8' ? 0.35 : 0.65);
      for (const { weights } of nodes) expect(weights!.error).toBeLessThan(stored === 'float16' ? 1e-4 : 1e-6);
      model.dispose();
    });
  });

  it('recover the integers of a uint8 manifest from loaded floats', async () => {
    const entry: GraphEntry = {
      nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
      weights: [floats('w', [64, 48], 'uint8')],
    };
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const want = await run(stock, [3, 64]);
    const { report } = await accelerate(stock);
    expect(report.nodes[0]!.weights!.how).toBe('integers recovered');
    expect(report.nodes[0]!.weights!.error).toBeLessThan(1e-6);
    expect(relativeL2((await run(stock, [3, 64])).values, want.values)).toBeLessThan(2e-4);
    stock.dispose();
  });

  it('restore from kept values when asked to', async () => {
    const { x, taken: _taken, ...entry } = patterns.MatMul as GraphEntry & { x: number[]; taken: string[] };
    await withoutLeaks(async () => {
      const model = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
      const stock = await run(model, x);
      const { restore } = await accelerate(model, { restorable: true });
      expect(await run(model, x)).not.toEqual(stock);
      await restore();
      expect(await run(model, x)).toEqual(stock);
      expect(reportOf(model)).toBeUndefined();
      model.dispose();
    });
  });

  it.each<[string, ModelOptions]>([
    ['int8', {}],
    ['int4', { format: 'int4', blockSize: 32 }],
    ['mxfp4', { format: 'mxfp4' }],
  ])('save and load again as %s, through MSD and through tfjs itself, with the same bits', async (_, options) => {
    const {
      x,
      taken: _taken,
      ...entry
    } = patterns['MatMul + Reshape + BiasAdd + Relu'] as GraphEntry & { x: number[]; taken: string[] };
    const [first, second] = [
      await loadGraphModel(handlerOf(artifactsOf(entry)), options),
      await tf.loadGraphModel(handlerOf(artifactsOf(entry))),
    ];
    await accelerate(second, options);
    const want = await run(first, x);
    for (const model of [first, second]) {
      let saved: tf.io.ModelArtifacts | undefined;
      await model.save(
        tf.io.withSaveHandler(async (artifacts) => {
          saved = { ...artifacts, weightData: tf.io.CompositeArrayBuffer.join(artifacts.weightData as ArrayBuffer[]) };
          return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
        }),
      );
      for (const load of [loadGraphModel, tf.loadGraphModel]) {
        const again = await load(
          handlerOf(
            JSON.parse(JSON.stringify(saved), (key, value) => (key === 'weightData' ? saved!.weightData : value)),
          ),
        );
        expect(await run(again, x)).toEqual(want);
        again.dispose();
      }
      model.dispose();
    }
  });

  it('run products inside of control flow, again and again', async () => {
    const body = (name: string, weight: string) => ({
      signature: { name, inputArg: [{ name: 'a', type: 'DT_FLOAT' }], outputArg: [{ name: 'out', type: 'DT_FLOAT' }] },
      nodeDef: [
        { name: weight, op: 'Const', attr: { dtype: FLOAT } },
        { name: 'm', op: 'MatMul', input: ['a', `${weight}:output:0`] },
        { name: 'r', op: 'Relu', input: ['m:product:0'] },
      ],
      ret: { out: 'r:activations:0' },
    });
    const entry: GraphEntry = {
      nodes: [
        placeholder('x'),
        placeholder('c', 'DT_BOOL'),
        {
          name: 'i',
          op: 'StatelessIf',
          input: ['c', 'x'],
          attr: { then_branch: { func: { name: 'then' } }, else_branch: { func: { name: 'else' } } },
        },
        { name: 'y', op: 'MatMul', input: ['i', 'w3'] },
      ],
      weights: [floats('w1', [64, 64]), floats('w2', [64, 64]), floats('w3', [64, 48])].map((w) =>
        w.name === 'w3' ? w : { ...w },
      ),
      functions: [body('then', 'w1'), body('else', 'w2')],
    };
    const artifacts = artifactsOf(entry);
    const topology = artifacts.modelTopology as unknown as { node: { name: string }[] };
    topology.node = topology.node.filter(({ name }) => name !== 'w1' && name !== 'w2'); // they belong to the bodies
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const model = await loadGraphModel(handlerOf(artifacts));
    const seen = reportOf(model)!.nodes.map(({ where, fused }) => [where, ...(fused ?? [])].join(' '));
    expect(seen.sort()).toEqual(['msd', 'msd Relu', 'msd Relu']);
    const runAsync = async (own: tf.GraphModel, choice: boolean) => {
      const inputs = { x: feed([3, 64]), c: tf.scalar(choice, 'bool') };
      const y = (await own.executeAsync(inputs, 'y')) as tf.Tensor;
      const values = y.dataSync().slice();
      tf.dispose([y, ...Object.values(inputs)]);
      return values;
    };
    for (const choice of [true, false, true]) {
      const want = await runAsync(stock, choice);
      await withoutLeaks(async () => {
        expect(relativeL2(await runAsync(model, choice), want)).toBeLessThan(0.015);
      });
    }
    stock.dispose();
    model.dispose();
  });

  it('leave CNNs alone unless asked, then take blocks', async () => {
    const {
      x: _x,
      taken: _taken,
      ...pointwise
    } = patterns._FusedConv2D as GraphEntry & { x: number[]; taken: string[] };
    const entry: GraphEntry = {
      nodes: [
        ...pointwise.nodes,
        {
          name: 'z',
          op: 'DepthwiseConv2dNative',
          input: ['y', 'd'],
          attr: {
            strides: { list: { i: [1, 1, 1, 1] } },
            padding: b64('SAME'),
            data_format: b64('NHWC'),
            dilations: { list: { i: [1, 1, 1, 1] } },
          },
        },
      ],
      weights: [...pointwise.weights, floats('d', [3, 3, 48, 1])],
    };
    const x = [2, 5, 3, 64];
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    const want = await run(stock, x, 'z');
    const auto = await accelerate(stock);
    expect(auto.report.nodes[0]).toMatchObject({ where: 'tfjs', reason: expect.stringContaining('only on request') });
    const { report } = await accelerate(stock, { convolutions: true });
    expect(report.nodes.find(({ name }) => name === 'y')!.weights!.spec).toMatchObject({
      format: 'int8',
      blockSize: 32,
    });
    expect(relativeL2((await run(stock, x, 'z')).values, want.values)).toBeLessThan(0.012);
    expect(formatReport(report)).toMatch(/msd\s+_FusedConv2D\s+y\s+int8 \[64,48\] .* quantized, error/);
    stock.dispose();
  });

  it('give no packed weight out as a result', async () => {
    await withoutLeaks(async () => {
      const entry: GraphEntry = {
        nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
        weights: [floats('w', [64, 48])],
      };
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
      const x = tf.ones([2, 64]);
      const inputs = { x };
      for (const output of ['w', 'w:0', ['y', 'w']])
        expect(() => model.execute(inputs, output)).toThrow(/^execute: output .* got a weight that is packed/);
      await expect(model.executeAsync(inputs, ['w'])).rejects.toThrow(/^executeAsync: output w, expected/);
      const y = model.execute(inputs, 'y') as tf.Tensor;
      expect(y.shape).toEqual([2, 48]);
      tf.dispose([x, y]);
      model.dispose();
    });
  });

  it('refuse bad options and models with typed errors, and change nothing', async () => {
    const entry = { nodes: patterns.MatMul!.nodes, weights: patterns.MatMul!.weights };
    const handler = handlerOf(artifactsOf(entry));
    for (const [options, message] of [
      [{ format: 'int3' }, /format, expected/],
      [{ convolutions: 'all' }, /convolutions/],
      [{ fuse: 1 }, /fuse, expected a boolean/],
      [{ bits: 4 }, /option 'bits'/],
      [{ minElements: -1 }, /minElements/],
      [{ blockSize: 48 }, /blockSize of int8/],
    ] as const)
      await withoutLeaks(() => expect(loadGraphModel(handler, options as never)).rejects.toThrow(message));
    const model = await tf.loadGraphModel(handler);
    await withoutLeaks(() => expect(accelerate(model, { blockSize: 48 })).rejects.toThrow(/blockSize/));
    const before = await run(model, [3, 64]);
    expect(await run(model, [3, 64])).toEqual(before);
    model.dispose();
    await expect(accelerate(model)).rejects.toThrow(/disposed of/);
    await expect(accelerate({} as never)).rejects.toThrow(/expected a GraphModel/);
    await expect(graphModelHandler(1 as never)).rejects.toThrow(/expected a URL or an IOHandler/);
  });
});
