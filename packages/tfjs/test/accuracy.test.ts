/**
 * Errors are shown where they hurt, and weights that a form would lose take a finer one or stay tfjs's. The reference is the
 * float model in float64 or stock tfjs.
 */
import { rowReader, toFp16 } from '@msd/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rowsFor } from '../src/activations.ts';
import {
  accelerate,
  DisposedError,
  formatReport,
  gather,
  loadGraphModel,
  loadLayersModel,
  type MatrixSpec,
  type ModelReport,
  matMul,
  QuantizedTensor,
  quantizationError,
  quantize,
  recordActivations,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { realValues } from '../src/rows.ts';
import { checkSpec, formatOf } from '../src/spec.ts';
import { accuracyOf } from '../src/weights/accuracy.ts';
import { type Encoded, encode } from '../src/weights/encode.ts';
import { factorsOf } from '../src/weights/powers.ts';
import type { MatrixView, TableView } from '../src/weights/view.ts';
import { artifactsOf, floats, handlerOf, ints, placeholder } from './graph.ts';
import { saved } from './layers.ts';
import { expected, within } from './manifests.ts';
import { BACKENDS, gaussian, random, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const [FEATURES, UNITS, CLASSES, SAMPLES] = [48, 64, 5, 400];

/**
 * A classifier of standardized features, whose scaler is folded into the first layer: features of 10⁻³ to 10⁴, as they come
 * out of a table of people and their incomes.
 */
function folded() {
  const next = random(7);
  const sizes = Array.from({ length: FEATURES }, () => 10 ** (7 * next() - 3));
  const first = gaussian(1, FEATURES * UNITS);
  const second = gaussian(2, UNITS * CLASSES);
  const standardized = gaussian(3, SAMPLES * FEATURES);
  const x = standardized.map((value, i) => value * sizes[i % FEATURES]!);
  const kernel = first.map((value, i) => value / sizes[Math.floor(i / UNITS)]!);
  return { x, kernel, second, labels: labelsOf(product(relu(product(standardized, first, FEATURES)), second, UNITS)) };
}

const relu = (values: Float64Array): Float64Array => values.map((value) => Math.max(0, value));

/** [M,K] · [K,N] in float64. */
function product(x: ArrayLike<number>, w: ArrayLike<number>, K: number): Float64Array {
  const [M, N] = [x.length / K, w.length / K];
  const y = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let k = 0; k < K; k++) for (let n = 0; n < N; n++) y[m * N + n]! += x[m * K + k]! * w[k * N + n]!;
  return y;
}

const labelsOf = (logits: ArrayLike<number>): number[] =>
  Array.from({ length: logits.length / CLASSES }, (_, i) => {
    const row = Array.from({ length: CLASSES }, (_own, c) => logits[i * CLASSES + c]!);
    return row.indexOf(Math.max(...row));
  });

const shareOf = (got: readonly number[], want: readonly number[]): number =>
  got.filter((label, i) => label === want[i]).length / want.length;

const placesOf = ({ nodes }: ModelReport) =>
  Object.fromEntries(
    nodes.map(({ name, where, weights, reason }) => [name, weights ? formatOf(weights.spec) : (reason ?? where)]),
  );

/** Both int8, the first with its input features on one level. */
function expectLevelled(report: ModelReport): void {
  expect(placesOf(report)).toEqual({ first: 'int8', second: 'int8' });
  const [first, second] = report.nodes.map(({ weights }) => weights!);
  expect(first!.finer).toMatch(/^int8 loses (100 %|more than all) of input feature \d+$/);
  expect(first!.accuracy!.input.error).toBeLessThan(0.02);
  expect(second).not.toHaveProperty('finer');
  expect(formatReport(report)).toContain('input features levelled');
}

describe.each(BACKENDS)('a scaler folded into the first layer, on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('is levelled in a layers model, and the answers are right', async () => {
    const { x, kernel, second, labels } = folded();
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: UNITS, activation: 'relu', useBias: false, inputShape: [FEATURES], name: 'first' }),
        tf.layers.dense({ units: CLASSES, useBias: false, name: 'second' }),
      ],
    });
    tf.tidy(() => model.setWeights([tf.tensor2d(kernel, [FEATURES, UNITS]), tf.tensor2d(second, [UNITS, CLASSES])]));
    const answers = (own: tf.LayersModel) =>
      labelsOf(tf.tidy(() => (own.predict(tf.tensor2d(x, [SAMPLES, FEATURES])) as tf.Tensor).dataSync().slice()));
    expect(shareOf(answers(model), labels)).toBe(1);
    const artifacts = await saved(model);
    const loaded = await loadLayersModel(handlerOf(artifacts), { minElements: 0 });
    expect(shareOf(answers(loaded), labels)).toBeGreaterThan(0.97);
    expectLevelled(reportOf(loaded)!);
    const { report } = await accelerate(model, { minElements: 0 });
    expectLevelled(report);
    expect(shareOf(answers(model), labels)).toBeGreaterThan(0.97);
    // Saved and loaded, by MSD and by tfjs itself: the same bits. What is read are the real weights.
    const again = await saved(loaded);
    for (const reloaded of [await loadLayersModel(handlerOf(again)), await tf.loadLayersModel(handlerOf(again))]) {
      expect(answers(reloaded)).toEqual(answers(loaded));
      const [first] = reloaded.getWeights();
      expect(relativeL2(first!.dataSync(), kernel)).toBeLessThan(0.02);
      reloaded.dispose();
    }
    model.dispose();
    loaded.dispose();
  });

  it('is levelled in a graph model', async () => {
    const { x, kernel, second, labels } = folded();
    const artifacts = artifactsOf({
      nodes: [
        placeholder('x'),
        { name: 'first', op: 'MatMul', input: ['x', 'w1'] },
        { name: 'relu', op: 'Relu', input: ['first'] },
        { name: 'second', op: 'MatMul', input: ['relu', 'w2'] },
      ],
      weights: [
        { name: 'w1', shape: [FEATURES, UNITS], values: kernel },
        { name: 'w2', shape: [UNITS, CLASSES], values: second },
      ],
      outputs: ['second'],
    });
    const model = await loadGraphModel(handlerOf(artifacts), { minElements: 0 });
    const y = tf.tidy(() => (model.execute(tf.tensor2d(x, [SAMPLES, FEATURES])) as tf.Tensor).dataSync().slice());
    expect(shareOf(labelsOf(y), labels)).toBeGreaterThan(0.97);
    expectLevelled(reportOf(model)!);
    const again = await saved(model);
    for (const reloaded of [await loadGraphModel(handlerOf(again)), await tf.loadGraphModel(handlerOf(again))]) {
      const other = tf.tidy(() =>
        (reloaded.execute(tf.tensor2d(x, [SAMPLES, FEATURES])) as tf.Tensor).dataSync().slice(),
      );
      expect([...other]).toEqual([...y]);
      reloaded.dispose();
    }
    model.dispose();
  });
});

describe.each(BACKENDS)('activations on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  /** A row that int8 loses: one input feature of weights a thousand times smaller. */
  const kernel = (K: number, N: number) => gaussian(4, K * N).map((value, i) => (i < N ? value / 1e3 : value));

  it.each([1, 2000])('decide, in a graph model: an input of size %d meets the small row', async (size) => {
    const artifacts = artifactsOf({
      nodes: [
        placeholder('x'),
        { name: 'y', op: 'MatMul', input: ['x', 'w'] },
        { name: 'z', op: 'MatMul', input: ['y', 'v'] },
      ],
      weights: [{ name: 'w', shape: [64, 48], values: kernel(64, 48) }, floats('v', [48, 32])],
      outputs: ['z'],
    });
    const x = tf.tensor2d(
      gaussian(6, 8 * 64).map((value, i) => (i % 64 ? value : size * value)),
      [8, 64],
    );
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    await withoutLeaks(async () => {
      const activations = await recordActivations(stock, x);
      expect(Object.keys(activations).sort()).toEqual(['y', 'z']);
      expect([...activations.y!.dataSync()]).toEqual([...x.dataSync()]);
      const [own, blind] = [
        await loadGraphModel(handlerOf(artifacts), { activations }),
        await loadGraphModel(handlerOf(artifacts)),
      ];
      const [{ weights: y }, { weights: z }] = reportOf(own)!.nodes as [
        ModelReport['nodes'][0],
        ModelReport['nodes'][0],
      ];
      expect(y!.finer).toEqual(
        size === 1 ? undefined : expect.stringMatching(/^int8 is off by .* for the given activations$/),
      );
      expect(y!.accuracy!.measured).toBeLessThan(0.05);
      expect(z!.accuracy!.measured).toBeLessThan(0.05);
      expect(reportOf(blind)!.nodes[0]!.weights!.finer).toMatch(/^int8 loses .* of input feature 0$/);
      expect(reportOf(blind)!.nodes[0]!.weights!.spec).toHaveProperty('powers');
      const run = (model: tf.GraphModel) => tf.tidy(() => (model.execute(x) as tf.Tensor).dataSync().slice());
      // Both layers together.
      expect(relativeL2(run(own), run(stock))).toBeLessThan(0.1);
      tf.dispose(activations);
      own.dispose();
      blind.dispose();
    });
    const activations = await recordActivations(stock, { x });
    const { report } = await accelerate(stock, { activations });
    expect(formatReport(report)).toContain('measured ');
    tf.dispose([activations, x]);
    stock.dispose();
  });

  it('decide, in a layers model, inside of others and of wrappers', async () => {
    const inner = tf.sequential({
      name: 'inner',
      layers: [tf.layers.dense({ units: 40, inputShape: [6, 48], name: 'deep' })],
    });
    const input = tf.input({ shape: [6, 64] });
    const each = tf.layers.timeDistributed({ layer: tf.layers.dense({ units: 48, name: 'one' }), name: 'each' });
    const model = tf.model({
      inputs: input,
      outputs: inner.apply(each.apply(input)) as tf.SymbolicTensor,
    });
    tf.tidy(() => each.setWeights([tf.tensor2d(kernel(64, 48), [64, 48]), tf.zeros([48])]));
    const x = tensor(3, [2, 6, 64]);
    const predict = () => tf.tidy(() => (model.predict(x) as tf.Tensor).dataSync().slice());
    const before = predict();
    await withoutLeaks(async () => {
      const activations = await recordActivations(model, x);
      expect(Object.keys(activations).sort()).toEqual(['deep', 'each/one']);
      expect(activations['each/one']!.shape).toEqual([12, 64]);
      expect(predict()).toEqual(before);
      const loaded = await loadLayersModel(handlerOf(await saved(model)), { activations });
      for (const { weights } of reportOf(loaded)!.nodes) {
        expect(weights!.finer).toBeUndefined();
        expect(weights!.accuracy!.measured).toBeLessThan(0.02);
      }
      tf.dispose(activations);
      loaded.dispose();
    });
    model.dispose();
    x.dispose();
  });

  it('are measured with stored integers as well: the large ones may be all that is left of a row', () => {
    const values = Uint16Array.from(gaussian(3, 64 * 48), (value, i) =>
      i < 48 ? 32769 + (i % 2) : 32768 + 8000 * value,
    );
    const stored = { kind: 'uint16', values, scale: 1e-4, min: -3.2768 } as const;
    const view = { kind: 'matrix', batchShape: [], N: 48, K: 64, transposed: false } as const;
    const options = { format: 'int8', blockSize: undefined } as const;
    const inputs = (size: number) =>
      rowsFor(
        gaussian(6, 8 * 64).map((value, i) => (i % 64 ? value : size * value)),
        64,
        'w',
      );
    const own = encode(stored, view, options, inputs(1)) as Encoded;
    expect(own).toMatchObject({ how: 'stored integers kept', accuracy: { error: expect.closeTo(0, 6) } });
    expect(own.accuracy!.measured).toBeLessThan(1e-4);
    expect(encode(stored, view, options, inputs(1e5))).toEqual({
      reason: expect.stringMatching(/^int16 is off by \d+ % for the given activations$/),
    });
    expect(encode(stored, view, options)).not.toHaveProperty('accuracy');
  });

  it('that do not fit are refused', async () => {
    const artifacts = artifactsOf({
      nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
      weights: [floats('w', [64, 48])],
    });
    const load = (activations: unknown) => loadGraphModel(handlerOf(artifacts), { activations: activations as never });
    await withoutLeaks(async () => {
      await expect(load(3)).rejects.toThrow('activations, expected tensors by name, got 3');
      await expect(load({ y: [1] })).rejects.toThrow('activations of y, expected a tensor of numbers');
      for (const [shape, value, message] of [
        [[2, 63], 1, 'activations of y, expected rows of 64, got 126 numbers'],
        [[2, 64], Number.NaN, 'activations of y, expected finite numbers, got NaN'],
      ] as const) {
        const y = tf.fill([...shape], value);
        await expect(load({ y })).rejects.toThrow(message);
        y.dispose();
      }
    });
  });
});

/** A table whose rows begin with -1e9: what a look-up of the others gives. */
describe.each(BACKENDS)('tables on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each([
    ['-1e9 in a row', (i: number) => i % 48 === 5 && i < 480, -1e9, /^int8 loses .*, and no finer/],
    ['-1e4 in a row', (i: number) => i % 48 === 5 && i < 480, -1e4, 'float16'],
    ['half of a row', (i: number) => i < 24, -1e9, /^int8 loses/],
    ['a whole row', (i: number) => i < 48, -1e9, 'int8'],
    ['a column', (i: number) => i % 48 === 0, 300, 'float16'],
  ])('%s does not destroy its neighbours', async (_, isLarge, large, want) => {
    const values = gaussian(8, 64 * 48).map((value, i) => (isLarge(i) ? large : value));
    const artifacts = artifactsOf({
      nodes: [placeholder('ids', 'DT_INT32'), { name: 'y', op: 'GatherV2', input: ['table', 'ids', 'axis'] }],
      weights: [{ name: 'table', shape: [64, 48], values }, ints('axis', [0], [])],
    });
    const model = await loadGraphModel(handlerOf(artifacts));
    const ids = tf.range(0, 64, 1, 'int32');
    const rows = tf.tidy(() => (model.execute(ids) as tf.Tensor).dataSync().slice());
    expect(placesOf(reportOf(model)!).y).toEqual(typeof want === 'string' ? want : expect.stringMatching(want));
    for (let row = 0; row < 64; row++) {
      const own = [...Array(48).keys()].map((i) => row * 48 + i).filter((i) => !isLarge(i));
      if (own.length)
        expect(
          relativeL2(
            own.map((i) => rows[i]!),
            own.map((i) => values[i]!),
          ),
        ).toBeLessThan(0.02);
    }
    ids.dispose();
    model.dispose();
  });
});

describe('forms of a matrix', () => {
  const [K, N] = [256, 96];
  const view: MatrixView = { kind: 'matrix', batchShape: [], N, K, transposed: false };
  const weights = gaussian(1, K * N);
  const of = (change: (value: number, k: number, n: number) => number) =>
    weights.map((value, i) => change(value, Math.floor(i / N), i % N));
  const encoded = (values: Float32Array, format: 'int8' | 'int4' | 'int2' = 'int8', x?: Float32Array) =>
    encode({ kind: 'float32', values }, view, { format, blockSize: undefined }, rowsFor(x, K, 'w'));
  const formOf = (own: Encoded | { readonly reason: string }): string => {
    if ('reason' in own) return own.reason;
    const { spec } = own.packed;
    return spec.kind === 'matrix' && spec.blockSize ? `${formatOf(spec)} ${spec.blockSize}` : formatOf(spec);
  };

  it.each<[string, Float32Array, string | RegExp, format?: 'int4' | 'int2']>([
    ['Gaussian weights', weights, 'int8'],
    ['Gaussian weights', weights, 'int4 32', 'int4'],
    ['weights ten times smaller', of((w, k) => (k === 7 ? w / 10 : w)), 'int8'],
    ['a row a hundred times smaller', of((w, k) => (k === 7 ? w / 100 : w)), 'int16'],
    ['rows of a block a hundred times smaller', of((w, k) => (k < 32 ? w / 100 : w)), 'int8 32'],
    ['a row twenty times smaller', of((w, k) => (k === 7 ? w / 20 : w)), 'int8 32', 'int4'],
    ['a row twenty times smaller', of((w, k) => (k === 7 ? w / 20 : w)), 'int2 32', 'int2'],
    [
      'a row a million times smaller',
      of((w, k) => (k === 7 ? w / 1e6 : w)),
      /^int8 loses 100 % of input feature 7, and no finer form keeps it$/,
    ],
    ['a row of nothing', of((w, k) => (k === 7 ? w * 2 ** -60 : w)), 'int8'],
    ['a row of zeros', of((w, k) => (k === 7 ? 0 : w)), 'int8'],
    [
      'one weight of -1e9, among its block',
      of((w, k, n) => (k === 3 && n === 5 ? -1e9 : w)),
      /, and no finer form keeps it$/,
    ],
    ['all far from 0', of((w) => 1000 + w), 'int8'],
    ['all far from 0', of((w) => -1000 + w), 'int4 32', 'int4'],
    ['a column far from 0', of((w, _k, n) => (n === 3 ? 1000 + w : w)), 'int16'],
    ['one value', of(() => 0.3), 'int8'],
    ['one value', of(() => -7), 'int4 32', 'int4'],
    ['zeros', of(() => 0), 'int8'],
  ])('%s', (_, values, want, format) => {
    const own = encoded(values, format);
    if (typeof want === 'string') expect(formOf(own)).toBe(want);
    else expect(formOf(own)).toMatch(want);
    expect('finer' in own).toBe(
      typeof want === 'string' && !want.startsWith(format ?? 'int8') ? true : want === 'int8 32',
    );
  });

  it('are measured per row and column, and with activations', () => {
    const own = encoded(of((w, k, n) => (k === 7 ? w / 12 : n === 5 ? w / 3 + (k === 0 ? 3 : 0) : w))) as Encoded;
    const { error, input, output, lost } = own.accuracy!;
    expect(error).toBeLessThan(0.01);
    expect(input.index).toBe(7);
    expect(input.error).toBeGreaterThan(8 * error);
    expect(output.index).toBe(5);
    expect(lost.index).toBe(5);
    const zero = new Float32Array(3 * K);
    expect((encoded(weights, 'int8', zero) as Encoded).accuracy!.measured).toBe(0);
    const x = gaussian(3, 3 * K);
    const { measured } = (encoded(weights, 'int8', x) as Encoded).accuracy!;
    expect(measured).toBeGreaterThan(0.003);
    expect(measured).toBeLessThan(0.02);
  });

  it('that lie around their middle keep what an input without a mean sees', () => {
    const values = of((w) => 1000 + w / 100);
    const { packed } = encoded(values) as Encoded;
    expect(packed.spec).toMatchObject({ offset: expect.closeTo(1000, 0) });
    const rows = new Float32Array(values.length);
    for (const [i, value] of values.entries()) rows[(i % N) * K + Math.floor(i / N)] = value;
    expect(accuracyOf(packed, rows).output.error).toBeLessThan(0.02);
  });

  it('of 16 bits are measured as well', () => {
    const half = (values: Float32Array) => ({ kind: 'float16', values: Uint16Array.from(values, toFp16) }) as const;
    const options = { format: 'int8', blockSize: undefined } as const;
    expect(formOf(encode(half(of((w, k) => (k === 7 ? w / 100 : w))), view, options))).toBe('int16');
    expect(formOf(encode(half(of((w, k) => (k === 7 ? w / 500 : 100 * w))), view, options))).toBe(
      'int16 loses 91 % of input feature 7, and no finer form keeps it',
    );
  });

  it('with levelled input features are the real ones for whoever reads them, and for gradients', () => {
    const values = of((w, k) => w * 10 ** ((k % 7) - 3));
    const options = { format: 'int8', blockSize: undefined, canLevel: true } as const;
    const { packed } = encode({ kind: 'float32', values }, view, options) as Encoded;
    expect(packed.spec).toMatchObject({ format: 'int8', blockSize: null, powers: expect.any(Array) });
    const x = gaussian(3, 2 * K).map((value, i) => value * 10 ** (3 - ((i % K) % 7)));
    expect(relativeL2(realValues(packed.spec, new Uint8Array(packed.data.buffer)), values)).toBeLessThan(0.02);
    for (const backend of BACKENDS) {
      tf.setBackend(backend);
      tf.tidy(() => {
        const w = new QuantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec);
        const [input, real] = [tf.tensor2d(x, [2, K]), tf.tensor2d(values, [K, N])];
        expect(
          relativeL2(matMul(input, w).dataSync(), tf.matMul(input as tf.Tensor2D, real as tf.Tensor2D).dataSync()),
        ).toBeLessThan(0.02);
        const [got, want] = [
          tf.grad((own) => matMul(own, w))(input),
          tf.grad((own) => tf.matMul(own as tf.Tensor2D, real as tf.Tensor2D))(input),
        ];
        expect(relativeL2(got.dataSync(), want.dataSync())).toBeLessThan(0.02);
        expect(() => gather(w, tf.tensor1d([0], 'int32'))).toThrow(RangeError);
      });
    }
    const size = packed.data.length;
    for (const powers of [[1], Array(K).fill(0.5), Array(K).fill(65), 'no', null])
      expect(() => checkSpec({ ...packed.spec, powers }, size, 'w')).toThrow(
        'w: spec.powers, expected an integer per input feature',
      );
    expect(checkSpec(JSON.parse(JSON.stringify(packed.spec)), size, 'w')).toEqual(packed.spec);
  });

  it('tables likewise', () => {
    const table: TableView = { kind: 'table', rows: K, columns: N };
    const form = (values: Float32Array) =>
      formOf(encode({ kind: 'float32', values }, table, { format: 'int8', blockSize: undefined }));
    expect(form(weights)).toBe('int8');
    expect(form(of((w, k) => (k === 7 ? w / 1e6 : w)))).toBe('int8');
    expect(form(of((w, _k, n) => (n === 7 ? w * 200 : w)))).toBe('float16');
    expect(form(of((w, _k, n) => (n === 7 ? w * 1e6 : w)))).toMatch(/^int8 loses .* no finer form keeps it$/);
  });
});

/** Sizes of rows, columns and single weights, and a common value, over many powers of ten. */
const anyFloats = fc.record({
  K: fc.integer({ min: 1, max: 300 }),
  N: fc.integer({ min: 1, max: 20 }),
  rows: fc.constantFrom(0, 0, 1, 4),
  columns: fc.constantFrom(0, 2, 6),
  outliers: fc.constantFrom(0, 0, 3, 9),
  sparse: fc.constantFrom(0, 0.7),
  middle: fc.constantFrom(0, 0, 50, -3000),
  levels: fc.constantFrom(0, 0, 2, 100),
  format: fc.constantFrom('int8', 'int8', 'int4', 'mxfp4', 'nf4'),
  canLevel: fc.boolean(),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

describe.each(BACKENDS)('any floats on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('are kept within the limits and multiplied within the bound, or left', () => {
    const forms = new Set<string>();
    fc.assert(
      fc.property(anyFloats, ({ K, N, rows, columns, outliers, sparse, middle, levels, format, canLevel, seed }) => {
        const next = random(seed);
        const size = (powers: number) => 10 ** (powers * (next() - 0.5));
        const [rowSizes, columnSizes] = [
          Array.from({ length: K }, () => size(rows)),
          Array.from({ length: N }, () => size(columns)),
        ];
        const values = gaussian(seed, K * N).map((value, i) => {
          const own = levels ? Math.round(value * levels) / levels : value;
          if (next() < sparse) return 0;
          return (
            middle + own * rowSizes[Math.floor(i / N)]! * columnSizes[i % N]! * (next() < 0.01 ? 10 ** outliers : 1)
          );
        });
        const view = { kind: 'matrix', batchShape: [], N, K, transposed: false } as const;
        const encoded = encode({ kind: 'float32', values }, view, { format, blockSize: undefined, canLevel } as never);
        if ('reason' in encoded) {
          expect(encoded.reason).toMatch(/^\S+ loses .*, and no finer form keeps it$/);
          return;
        }
        const { packed, accuracy } = encoded;
        const { spec, data } = packed as { spec: MatrixSpec; data: Int32Array };
        forms.add(`${formatOf(spec)}${spec.offset ? ' and offset' : ''}${spec.powers ? ' and powers' : ''}`);
        expect(accuracy!.input.error).toBeLessThanOrEqual(0.75);
        const real = new Float32Array(K * N);
        const row = new Float32Array(K);
        for (let n = 0; n < N; n++) {
          rowReader(spec, new Uint8Array(data.buffer as ArrayBuffer))(n, row);
          for (let k = 0; k < K; k++) real[k * N + n] = row[k]! * (factorsOf(spec)?.[k] ?? 1);
        }
        const x = gaussian(seed + 1, 2 * K).map((value, i) => (i < K ? value : value + 5));
        const y = tf.tidy(() =>
          matMul(tf.tensor2d(x, [2, K]), new QuantizedTensor(tf.tensor1d(data, 'int32'), spec))
            .dataSync()
            .slice(),
        );
        // Bytes of 16 bits, and what an offset adds to a weight that it leaves almost nothing of.
        const largest = real.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
        const step = spec.planes === 2 ? largest / 32639 : spec.offset ? largest / 256 : 0;
        const factors = factorsOf(spec) ?? new Float32Array(K).fill(1);
        const [met, meets] = [
          x.map((value, i) => value * factors[i % K]!),
          real.map((value, i) => value / factors[Math.floor(i / N)]!),
        ];
        within(y, expected(met, meets, K, N, step));
      }),
      { seed: 23, numRuns: 300 },
    );
    const coarse = ['int4', 'int8', 'mxfp4', 'nf4'];
    const all = coarse.flatMap((format) => [format, `${format} and offset`, `${format} and powers`]);
    expect([...forms].sort()).toEqual(['int16', ...all]);
  });
});

describe.each(BACKENDS)('quantizationError on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('says what quantize has lost as a report does: all, input features, output channels, products', async () => {
    await withoutLeaks(async () => {
      const [K, N] = [64, 24];
      const values = gaussian(1, K * N).map((value, i) => (Math.floor(i / N) === 5 ? value / 1000 : value));
      const tensor = tf.tensor2d(values, [K, N]);
      const w = quantize(tensor);
      const lost = await quantizationError(w, tensor);
      expect(lost.error).toBeLessThan(0.01);
      expect(lost.input).toMatchObject({ index: 5 });
      expect(lost.input.error).toBeGreaterThan(0.5);
      expect(lost.reason).toMatch(/^int8 loses .* of input feature 5$/);
      // Inputs that are small there do not mind, large ones do.
      for (const [size, isLost] of [
        [1, false],
        [1e4, true],
      ] as const) {
        const activations = tf.tensor2d(
          gaussian(2, 8 * K).map((value, i) => (i % K === 5 ? size * value : value)),
          [8, K],
        );
        const { measured, reason } = await quantizationError(w, tensor, { activations });
        expect(measured! > 0.05).toBe(isLost);
        expect(reason !== undefined).toBe(isLost);
        activations.dispose();
      }
      const turned = tf.transpose(tensor);
      const other = quantize(turned, { transpose: true });
      expect(await quantizationError(other, turned, { transpose: true })).toEqual(lost);
      const table = quantize(turned, { use: 'gather' });
      expect((await quantizationError(table, turned)).input.index).toBe(5);
      const batched = tf.tidy(() => tf.stack([tensor, tf.mul(tensor, 2)]));
      const both = quantize(batched);
      expect((await quantizationError(both, batched)).error).toBeCloseTo(lost.error, 12);
      await expect(quantizationError(w, turned)).rejects.toThrow(
        'quantizationError: tensor, expected [64,24], as was quantized, got [24,64].',
      );
      const bad = tf.fill([K, N], Number.NaN);
      await expect(quantizationError(w, bad)).rejects.toThrow(
        'quantizationError: tensor[0,0], expected finite weights, got NaN. Leave this one a float tensor.',
      );
      await expect(quantizationError(w, 5 as never)).rejects.toThrow(/tensor, expected a float32 tf.Tensor, got 5/);
      await expect(quantizationError(w, tensor, { rows: 1 } as never)).rejects.toThrow(
        /option 'rows', expected one of/,
      );
      const gone = tensor.clone();
      gone.dispose();
      await expect(quantizationError(w, gone)).rejects.toThrow(DisposedError);
      tf.dispose([tensor, turned, batched, bad]);
      for (const one of [w, other, table, both]) one.dispose();
      await expect(quantizationError(w, gone)).rejects.toThrow(DisposedError);
    });
  });
});
