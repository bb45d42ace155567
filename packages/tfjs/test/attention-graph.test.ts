/** Attention in graph models: every spelling is found, the values are stock's, and what cannot be taken says why. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, formatReport, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, b64, floats, type GraphEntry, handlerOf, ints, type NodeEntry, placeholder } from './graph.ts';
import { BACKENDS, relativeL2, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

interface Sizes {
  readonly B: number;
  readonly H: number;
  readonly M: number;
  readonly T: number;
  readonly d: number;
  readonly e: number;
}

interface Pattern {
  readonly entry: GraphEntry;
  /** Shapes of the inputs. */
  readonly inputs: (sizes: Sizes) => Readonly<Record<string, number[]>>;
  /** These shapes are left to the ops that the graph had. */
  readonly isSpelledOut?: true;
  /** Inputs that are conditions or shapes, and what they hold. */
  readonly others?: (sizes: Sizes) => Readonly<Record<string, tf.Tensor>>;
}

const node = (name: string, op: string, input: string[], attr: NodeEntry['attr'] = {}): NodeEntry => ({
  name,
  op,
  input,
  attr,
});
const scalar = (name: string, value: number) => ({ name, shape: [], values: Float32Array.of(value) });
const adjY = { adj_y: { b: true } };
const einsum = (equation: string) => ({ equation: b64(equation) });
const headsFirst = ({ B, H, M, T, d, e }: Sizes) => ({ q: [B, H, M, d], k: [B, H, T, d], v: [B, H, T, e] });
const rowsFirst = ({ B, H, M, T, d, e }: Sizes) => ({ q: [B, M, H, d], k: [B, T, H, d], v: [B, T, H, e] });
const merged = ({ B, H, M, T, d, e }: Sizes) => ({ q: [B * H, M, d], k: [B * H, T, d], v: [B * H, T, e] });
const operands = ['q', 'k', 'v'].map((name) => placeholder(name));
const masked = ({ B, T }: Sizes) =>
  tf.mul(tf.cast(tf.greater(tf.reshape(tf.range(0, B * T), [B, 1, 1, T]), tf.scalar(B * T - 3)), 'float32'), -1e9);

const patterns: Readonly<Record<string, Pattern>> = {
  'BERT: transposed heads, scale, mask': {
    entry: {
      nodes: [
        ...operands,
        placeholder('mask'),
        node('qt', 'Transpose', ['q', 'perm']),
        node('kt', 'Transpose', ['k', 'perm']),
        node('vt', 'Transpose', ['v', 'perm']),
        node('s', 'BatchMatMulV2', ['qt', 'kt'], adjY),
        node('scaled', 'Mul', ['s', 'scale']),
        node('added', 'AddV2', ['scaled', 'mask']),
        node('p', 'Softmax', ['added']),
        node('dropped', 'Identity', ['p']),
        node('o', 'BatchMatMulV2', ['dropped', 'vt']),
        node('y', 'Transpose', ['o', 'perm']),
      ],
      weights: [ints('perm', [0, 2, 1, 3]), scalar('scale', 0.2)],
    },
    inputs: rowsFirst,
    others: (sizes) => ({ mask: masked(sizes) }),
  },
  'Keras: Einsum': {
    entry: {
      nodes: [
        ...operands,
        placeholder('mask'),
        node('qs', 'Mul', ['q', 'scale']),
        node('s', 'Einsum', ['k', 'qs'], einsum('aecd,abcd->acbe')),
        node('added', 'AddV2', ['s', 'mask']),
        node('p', 'Softmax', ['added']),
        node('y', 'Einsum', ['p', 'v'], einsum('acbe,aecd->abcd')),
      ],
      weights: [scalar('scale', 0.2)],
    },
    inputs: rowsFirst,
    others: (sizes) => ({ mask: masked(sizes) }),
  },
  'BART: heads in the batch, masked in another shape': {
    entry: {
      nodes: [
        ...operands,
        placeholder('mask'),
        placeholder('by_heads', 'DT_INT32'),
        placeholder('together', 'DT_INT32'),
        node('s', 'BatchMatMul', ['q', 'k'], adjY),
        node('apart', 'Reshape', ['s', 'by_heads']),
        node('added', 'AddV2', ['apart', 'mask']),
        node('back', 'Reshape', ['added', 'together']),
        node('p', 'Softmax', ['back']),
        node('y', 'BatchMatMul', ['p', 'v']),
      ],
      weights: [],
    },
    inputs: merged,
    others: (sizes) => ({
      mask: masked(sizes),
      by_heads: tf.tensor1d([-1, sizes.H, sizes.M, sizes.T], 'int32'),
      together: tf.tensor1d([sizes.B * sizes.H, sizes.M, sizes.T], 'int32'),
    }),
  },
  'TensorFlow 1: a softmax of rows': {
    entry: {
      nodes: [
        ...operands,
        placeholder('mask'),
        node('s', 'BatchMatMul', ['q', 'k'], adjY),
        node('added', 'Add', ['mask', 's']),
        node('shape', 'Shape', ['added']),
        node('columns', 'Slice', ['shape', 'begin', 'one']),
        node('flat', 'ConcatV2', ['minus', 'columns', 'axis']),
        node('rows', 'Reshape', ['added', 'flat']),
        node('p', 'Softmax', ['rows']),
        node('back', 'Reshape', ['p', 'shape']),
        node('y', 'BatchMatMul', ['back', 'v']),
      ],
      weights: [ints('begin', [3]), ints('one', [1]), ints('minus', [-1]), ints('axis', [0], [])],
    },
    inputs: headsFirst,
    others: (sizes) => ({ mask: masked(sizes) }),
  },
  'a causal mask by SelectV2': {
    entry: {
      nodes: [
        ...operands,
        placeholder('seen', 'DT_BOOL'),
        node('s', 'BatchMatMulV2', ['q', 'k'], adjY),
        node('scaled', 'RealDiv', ['s', 'root']),
        node('m', 'SelectV2', ['seen', 'scaled', 'low']),
        node('p', 'Softmax', ['m']),
        node('y', 'BatchMatMulV2', ['p', 'v']),
      ],
      weights: [scalar('root', 4), scalar('low', -1e10)],
    },
    inputs: headsFirst,
    others: ({ M, T }) => ({
      seen: tf.greaterEqual(tf.reshape(tf.range(0, M), [M, 1]), tf.reshape(tf.range(0, T), [1, T])),
    }),
  },
  'hidden where a condition holds, squashed before': {
    entry: {
      nodes: [
        ...operands,
        placeholder('hidden', 'DT_BOOL'),
        node('s', 'BatchMatMulV2', ['q', 'k'], adjY),
        node('small', 'RealDiv', ['s', 'cap']),
        node('t', 'Tanh', ['small']),
        node('capped', 'Mul', ['cap', 't']),
        node('m', 'SelectV2', ['hidden', 'low', 'capped']),
        node('p', 'Softmax', ['m']),
        node('y', 'BatchMatMulV2', ['p', 'v']),
      ],
      weights: [scalar('cap', 5), scalar('low', -1e9)],
    },
    inputs: headsFirst,
    others: ({ B, T }) => ({ hidden: tf.equal(tf.reshape(tf.range(0, B * T), [B, 1, 1, T]), tf.scalar(1)) }),
  },
  'keys with their channels first, one head of them': {
    entry: {
      nodes: [
        ...operands,
        node('kt', 'Transpose', ['k', 'perm']),
        node('s', 'BatchMatMulV2', ['q', 'kt']),
        node('p', 'Softmax', ['s']),
        node('y', 'BatchMatMulV2', ['p', 'v']),
      ],
      weights: [ints('perm', [0, 1, 3, 2])],
    },
    inputs: ({ B, H, M, T, d, e }) => ({ q: [B, H, M, d], k: [B, 1, T, d], v: [B, 1, T, e] }),
  },
  'keys that lie with their channels first': {
    entry: {
      nodes: [
        ...operands,
        node('s', 'BatchMatMulV2', ['q', 'k']),
        node('p', 'Softmax', ['s']),
        node('y', 'BatchMatMulV2', ['p', 'v']),
      ],
      weights: [],
    },
    inputs: (sizes) => ({ ...headsFirst(sizes), k: [sizes.B, sizes.H, sizes.d, sizes.T] }),
  },
  'T5: no scale, two biases of less dimensions': {
    entry: {
      nodes: [
        ...operands,
        placeholder('position'),
        placeholder('mask'),
        node('s', 'Einsum', ['q', 'k'], einsum('bnqd,bnkd->bnqk')),
        node('b', 'AddV2', ['s', 'position']),
        node('added', 'AddV2', ['mask', 'b']),
        node('p', 'Softmax', ['added']),
        node('y', 'Einsum', ['p', 'v'], einsum('bnqk,bnkd->bnqd')),
      ],
      weights: [],
    },
    inputs: (sizes) => ({ ...headsFirst(sizes), position: [sizes.H, sizes.M, sizes.T] }),
    others: (sizes) => ({ mask: masked(sizes) }),
  },
  'both operands broadcast': {
    entry: {
      nodes: [
        ...operands,
        node('s', 'BatchMatMulV2', ['q', 'k'], adjY),
        node('p', 'Softmax', ['s']),
        node('y', 'BatchMatMulV2', ['p', 'v']),
      ],
      weights: [],
    },
    inputs: ({ B, H, M, T, d, e }) => ({ q: [B, 1, M, d], k: [1, H, T, d], v: [H, T, e] }),
  },
  'matrices alone': {
    entry: {
      nodes: [
        ...operands,
        node('s', 'MatMul', ['q', 'k'], { transpose_b: { b: true } }),
        node('p', 'Softmax', ['s']),
        node('y', 'MatMul', ['p', 'v']),
      ],
      weights: [],
    },
    inputs: ({ M, T, d, e }) => ({ q: [M, d], k: [T, d], v: [T, e] }),
  },
  'groups of heads in dimensions of their own': {
    entry: {
      nodes: [
        ...operands,
        node('s', 'Einsum', ['q', 'k'], einsum('bkgtd,bksd->bkgts')),
        node('scaled', 'Mul', ['scale', 's']),
        node('p', 'Softmax', ['scaled']),
        node('y', 'Einsum', ['p', 'v'], einsum('bkgts,bksd->bkgtd')),
      ],
      weights: [scalar('scale', 0.3)],
    },
    inputs: ({ B, H, M, T, d, e }) => ({ q: [B, H, 2, M, d], k: [B, H, T, d], v: [B, H, T, e] }),
    isSpelledOut: true,
  },
};

const smallest: Sizes = { B: 2, H: 3, M: 5, T: 7, d: 16, e: 16 };

function feedsOf({ inputs, others }: Pattern, sizes: Sizes): Record<string, tf.Tensor> {
  const floatFeeds = Object.entries(inputs(sizes)).map(([name, shape], i) => [name, tensor(i + 1, shape)] as const);
  return { ...Object.fromEntries(floatFeeds), ...others?.(sizes) };
}

/** On tensors that are gone afterwards. */
function run(model: tf.GraphModel, pattern: Pattern, sizes: Sizes) {
  return tf.tidy(() => {
    const y = model.execute(feedsOf(pattern, sizes), 'y') as tf.Tensor;
    return { shape: y.shape, values: y.dataSync().slice() };
  });
}

describe.each(BACKENDS)('attention of graph models on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(Object.entries(patterns))('%s', (_, pattern) => {
    it('is one op, with the values of stock', async () => {
      await withoutLeaks(async () => {
        const stock = await tf.loadGraphModel(handlerOf(artifactsOf({ ...pattern.entry, outputs: ['y'] })));
        const msd = await loadGraphModel(handlerOf(artifactsOf({ ...pattern.entry, outputs: ['y'] })));
        const { nodes } = reportOf(msd)!;
        expect(nodes.map(({ where, msdOp }) => [where, msdOp])).toEqual([['msd', 'MsdAttention']]);
        expect(nodes[0]!.fused).toContain('Softmax');
        expect(formatReport(reportOf(msd)!)).toContain('Softmax');
        const sizes = fc.record({
          B: fc.integer({ min: 1, max: 3 }),
          H: fc.integer({ min: 1, max: 4 }),
          M: fc.constantFrom(1, 2, 5, 65),
          T: fc.constantFrom(1, 3, 63, 64, 65, 130),
          d: fc.constantFrom(8, 15, 16, 64, 128),
          e: fc.constantFrom(8, 15, 16, 64),
        });
        fc.assert(
          fc.property(sizes, (own) => {
            const [got, want] = [run(msd, pattern, own), run(stock, pattern, own)];
            expect(got.shape).toEqual(want.shape);
            expect(relativeL2(got.values, want.values)).toBeLessThan(3e-4);
          }),
          { numRuns: 12 },
        );
        const feeds = tidied(() => feedsOf(pattern, smallest));
        const { kernelNames } = await tf.profile(() => tf.dispose(msd.execute(feeds, 'y')));
        expect(kernelNames.includes('MsdAttention')).toBe(!pattern.isSpelledOut);
        tf.dispose(feeds);
        stock.dispose();
        msd.dispose();
      });
    });
  });

  it('leave one row on keys of its own to the ops that the graph had', async () => {
    const pattern = patterns['T5: no scale, two biases of less dimensions']!;
    await withoutLeaks(async () => {
      const model = await loadGraphModel(handlerOf(artifactsOf({ ...pattern.entry, outputs: ['y'] })));
      for (const M of [1, 2]) {
        const feeds = tidied(() => feedsOf(pattern, { ...smallest, M }));
        const { kernelNames } = await tf.profile(() => tf.dispose(model.execute(feeds, 'y')));
        expect(kernelNames.includes('MsdAttention')).toBe(M === 2);
        tf.dispose(feeds);
      }
      model.dispose();
    });
  });

  it('are taken in models that are loaded already, restored, and saved', async () => {
    const pattern = patterns['BERT: transposed heads, scale, mask']!;
    await withoutLeaks(async () => {
      const model = await tf.loadGraphModel(handlerOf(artifactsOf({ ...pattern.entry, outputs: ['y'] })));
      const want = run(model, pattern, smallest);
      const { restore } = await accelerate(model);
      const got = run(model, pattern, smallest);
      expect(relativeL2(got.values, want.values)).toBeLessThan(3e-4);
      let saved: tf.io.ModelArtifacts | undefined;
      await model.save({
        save: async (artifacts) => {
          saved = { ...artifacts, weightData: artifacts.weightData };
          return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
        },
      });
      const again = await tf.loadGraphModel(handlerOf(saved!));
      expect(run(again, pattern, smallest)).toEqual(got);
      again.dispose();
      await restore();
      expect(run(model, pattern, smallest)).toEqual(want);
      model.dispose();
    });
  });

  it('keep keys and values in the form that is asked for', async () => {
    const pattern = patterns['Keras: Einsum']!;
    const artifacts = artifactsOf({ ...pattern.entry, outputs: ['y'] });
    const long = { ...smallest, T: 200 };
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const want = run(stock, pattern, long);
    const errors: number[] = [];
    for (const attention of ['float', 'int16', 'int8'] as const) {
      const model = await loadGraphModel(handlerOf(artifacts), { attention });
      errors.push(relativeL2(run(model, pattern, long).values, want.values));
      model.dispose();
    }
    expect(errors[0]).toBeLessThan(3e-4);
    expect(errors[1]).toBeLessThan(3e-4);
    expect(errors[2]).toBeGreaterThan(1e-3);
    expect(errors[2]).toBeLessThan(0.03);
    const none = await loadGraphModel(handlerOf(artifacts), { attention: false });
    expect(reportOf(none)!.nodes.map(({ where }) => where)).toEqual(['tfjs', 'tfjs']);
    expect(run(none, pattern, long)).toEqual(want);
    await expect(loadGraphModel(handlerOf(artifacts), { attention: true as never })).rejects.toThrow(RangeError);
    stock.dispose();
    none.dispose();
  });
});

describe('attention that is left alone', () => {
  beforeAll(() => useBackend('cpu'));
  const plain = (middle: NodeEntry[], last: NodeEntry[], weights: GraphEntry['weights'] = []): GraphEntry => ({
    nodes: [...operands, node('s', 'BatchMatMulV2', ['q', 'k'], adjY), ...middle, ...last],
    weights,
  });
  const softmax = (of: string) => [node('p', 'Softmax', [of]), node('y', 'BatchMatMulV2', ['p', 'v'])];

  it.each<[string, GraphEntry, string[], RegExp]>([
    [
      'the scores have another reader',
      plain([node('m', 'Max', ['s', 'axis'])], softmax('s'), [ints('axis', [0])]),
      ['y', 'm'],
      /scores are also read by m \(Max\)/,
    ],
    ['the scores are an output', plain([], softmax('s')), ['y', 's'], /scores are also read by the caller/],
    [
      'the scaled scores are an output',
      plain([node('t', 'Mul', ['s', 'c'])], softmax('t'), [scalar('c', 2)]),
      ['y', 't'],
      /scores are also read by the caller/,
    ],
    [
      'the shape of the scores is wanted',
      plain([node('n', 'Shape', ['s'])], softmax('s')),
      ['y', 'n'],
      /scores are also read by n \(Shape\)/,
    ],
    [
      'the probabilities have another reader',
      plain([], [...softmax('s'), node('m', 'Max', ['p', 'axis'])], [ints('axis', [0])]),
      ['y', 'm'],
      /probabilities are also read by m \(Max\)/,
    ],
    [
      'the probabilities are an output',
      plain([], softmax('s')),
      ['y', 'p'],
      /probabilities are also read by the caller/,
    ],
    [
      'there are no values',
      plain([], [node('y', 'Softmax', ['s'])]),
      ['y'],
      /probabilities are (not multiplied|also read by the caller)/,
    ],
    [
      'the probabilities are dropped out',
      plain([], [node('p', 'Softmax', ['s']), node('r', 'Relu', ['p']), node('y', 'BatchMatMulV2', ['r', 'v'])]),
      ['y'],
      /probabilities go through r \(Relu\)/,
    ],
    [
      'the probabilities come second',
      plain([], [node('p', 'Softmax', ['s']), node('y', 'BatchMatMulV2', ['v', 'p'])]),
      ['y'],
      /no left operand/,
    ],
    [
      'the mask is scaled, too',
      plain([node('a', 'AddV2', ['s', 'v']), node('b', 'Mul', ['a', 'c'])], softmax('b'), [scalar('c', 2)]),
      ['y'],
      /scaled after something was added/,
    ],
    [
      'the scores are multiplied by a tensor',
      plain([node('a', 'Mul', ['s', 'v'])], softmax('a')),
      ['y'],
      /multiplied by a tensor/,
    ],
    [
      'the scores are divided by a tensor',
      plain([node('a', 'RealDiv', ['s', 'v'])], softmax('a')),
      ['y'],
      /divided by a tensor/,
    ],
    [
      'the fill is no mask',
      plain([placeholder('c', 'DT_BOOL'), node('a', 'SelectV2', ['c', 's', 'zero'])], softmax('a'), [
        scalar('zero', 0),
      ]),
      ['y'],
      /replaced by 0/,
    ],
    [
      'the Einsum is another one',
      { nodes: [...operands, node('s', 'Einsum', ['q', 'k'], einsum('abcd,abcd->abc')), ...softmax('s')], weights: [] },
      ['y'],
      /no product of queries and keys/,
    ],
    [
      'the second Einsum is another one',
      plain([], [node('p', 'Softmax', ['s']), node('y', 'Einsum', ['p', 'v'], einsum('abcd,abce->abde'))]),
      ['y'],
      /no product of probabilities and values/,
    ],
  ])('%s', async (_, entry, outputs, reason) => {
    const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, outputs })));
    const { nodes } = reportOf(model)!;
    expect(nodes.every(({ where }) => where === 'tfjs')).toBe(true);
    expect(nodes.find(({ name }) => name === 's')!.reason).toMatch(reason);
    model.dispose();
  });

  it('a layer before a softmax is none', async () => {
    const nodes = [placeholder('x'), node('s', 'MatMul', ['x', 'w']), node('y', 'Softmax', ['s'])];
    const model = await loadGraphModel(
      handlerOf(artifactsOf({ nodes, weights: [floats('w', [64, 48])], outputs: ['y'] })),
    );
    expect(reportOf(model)!.nodes.map(({ msdOp }) => msdOp)).toEqual(['MsdMatMul']);
    model.dispose();
  });
});
