/** Images as codes: convolutions, pools and what else folds, and whole networks that were quantized statically, beside onnxruntime-web. */

import { errorBound, type QuantizedWeights } from '@msd/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import type { MsdOptions } from '../src/execute/options.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { foldConstants } from '../src/passes/constants.ts';
import { matchNodes } from '../src/passes/match.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { bytesOf } from './dynamic.ts';
import { attributesOf, type ConvShape, imagesOf, outOf, weightRows, windowRows } from './images.ts';
import { random } from './models.ts';
import { floats, ort, session } from './ort.ts';
import { floatFile, image, mobileNetwork, quantizeStatic, residualNetwork } from './static.ts';

await loadOperators();

type CodeType = 'uint8' | 'int8';
type Codes = Uint8Array | Int8Array;

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const open = (rank: number): string[] => Array.from({ length: rank }, (_, i) => `d${i}`);
const leastOf = (dtype: CodeType): number => (dtype === 'int8' ? -128 : 0);

const scale = (name: string, ...values: number[]): TensorSpec => ({
  name,
  dtype: 'float32',
  dims: values.length === 1 ? [] : [values.length],
  data: Float32Array.from(values),
});
const zero = (name: string, dtype: CodeType, value: number): TensorSpec => ({
  name,
  dtype,
  dims: [],
  data: bytesOf(dtype).of(value),
});
const ms = (
  opType: string,
  inputs: string[],
  attributes: Record<string, AttributeSpec> = {},
  domain = 'com.microsoft',
): NodeSpec => ({ opType, domain, name: 'y', inputs, outputs: ['y'], attributes });

function write(
  nodes: NodeSpec[],
  initializers: readonly TensorSpec[],
  inputs: ValueSpec[],
  dtype: ValueSpec['dtype'] = 'uint8',
): Uint8Array {
  const graph = { nodes, initializers, inputs, outputs: [{ name: 'y', dtype }] };
  return writeModel({ opsets: { '': 13, 'com.microsoft': 1 }, graph });
}

/** The only result, here and in ONNX Runtime; all of it has to be MSD's here. */
async function both(bytes: Uint8Array, feeds: Record<string, ort.Tensor>, options: MsdOptions = {}) {
  const mine = await session(bytes, { name: 'msd', claim: 'all', debug: true, ...options });
  const theirs = await session(bytes, 'wasm');
  expect(reportOf(mine)!.nodes.filter(({ where, region }) => where === 'ort' && region >= 0)).toEqual([]);
  const [a, b] = [(await mine.run(feeds)).y!, (await theirs.run(feeds)).y!];
  await mine.release();
  await theirs.release();
  expect([a.dims, a.type]).toEqual([b.dims, b.type]);
  return { mine: a.data as Codes, theirs: b.data as Codes };
}

/** A code may be another one only where r, in steps from the zero point, lies within `slack` of the middle between two. */
function check(who: string, got: Codes, r: ArrayLike<number>, slack: (i: number) => number, zeroPoint: number): void {
  expect(got.length).toBe(r.length);
  const [least, most] = got instanceof Int8Array ? [-128, 127] : [0, 255];
  for (const [i, code] of got.entries()) {
    const near = Math.min(most - zeroPoint, Math.max(least - zeroPoint, r[i]!));
    expect(Math.abs(code - zeroPoint - near), `${who} [${i}] ${r[i]}`).toBeLessThanOrEqual(0.5 + slack(i));
  }
}

/** Roundings of f32 behind exact numbers. */
const few = (r: number): number => 8 * 2 ** -24 * Math.abs(r) + 1e-9;

interface Case {
  readonly shape: ConvShape;
  readonly xType: CodeType;
  readonly wType: CodeType;
  readonly perChannel: boolean;
  readonly hasBias: boolean;
  readonly isDepthwise: boolean;
  readonly seed: number;
}

const shapes = fc.oneof(
  fc.record({
    batch: fc.constantFrom(0, 1, 2),
    channels: fc.constantFrom(1, 3, 16),
    spatial: fc.constantFrom([5, 7], [1, 1], [9, 4]),
    outs: fc.constantFrom(1, 5, 33),
    kernel: fc.constantFrom([1, 1], [3, 3], [2, 3]),
    strides: fc.constantFrom([1, 1], [2, 1]),
    dilations: fc.constant([1, 1]),
    pads: fc.constantFrom<ConvShape['pads']>([1, 1, 1, 1], [2, 1, 1, 2], 'SAME_UPPER'),
  }),
  fc.record({
    batch: fc.constantFrom(1, 2),
    channels: fc.constantFrom(2, 5),
    spatial: fc.constantFrom([6], [13]),
    outs: fc.constantFrom(3, 8),
    kernel: fc.constantFrom([1], [3]),
    strides: fc.constantFrom([1], [2]),
    dilations: fc.constantFrom([1], [2]),
    pads: fc.constant<ConvShape['pads']>([2, 1]),
  }),
);
const cases: fc.Arbitrary<Case> = fc.record({
  shape: shapes,
  xType: fc.constantFrom<CodeType>('uint8', 'int8'),
  wType: fc.constantFrom<CodeType>('uint8', 'int8'),
  perChannel: fc.boolean(),
  hasBias: fc.boolean(),
  isDepthwise: fc.boolean(),
  seed: fc.integer({ min: 1, max: 1000 }),
});

/** Codes of x and w, and the exact sums of their products, in units of the scale of w: with how far MSD's may be off. */
function convolve({ shape: given, xType, wType, perChannel, hasBias, isDepthwise, seed }: Case) {
  const next = random(seed);
  const shape = isDepthwise ? { ...given, outs: given.channels } : given;
  const { batch, channels, spatial, outs, kernel } = shape;
  const codes = (dtype: CodeType, length: number): Codes =>
    bytesOf(dtype).from({ length }, () => Math.floor(next() * 256) + leastOf(dtype));
  const x = codes(xType, batch * channels * count(spatial));
  const w = codes(wType, outs * (isDepthwise ? 1 : channels) * count(kernel));
  const bias = hasBias ? Int32Array.from({ length: outs }, () => next() * 2e4 - 1e4) : undefined;
  const scales = Float32Array.from({ length: perChannel ? outs : 1 }, () => (next() + 0.1) / 50);
  const [xZero, wZero] = [xType === 'uint8' ? 113 : -9, wType === 'uint8' ? 121 : 0];
  const taps = count(kernel);
  const centred = (own: Codes, point: number): Float32Array => Float32Array.from(own, (code) => code - point);
  // A group for each channel: what the others would add is 0.
  const dense = isDepthwise
    ? Float32Array.from({ length: outs * channels * taps }, (_, i) => {
        const [n, c] = [Math.floor(i / (channels * taps)), Math.floor(i / taps) % channels];
        return n === c ? w[n * taps + (i % taps)]! - wZero : 0;
      })
    : centred(w, wZero);
  const { rows, out, K } = windowRows(shape, centred(x, xZero));
  const real = weightRows(shape, dense);
  const at = (n: number): number => scales[scales.length === 1 ? 0 : n]!;
  const sums = Float64Array.from({ length: (rows.length / K) * outs }, (_, i) => {
    const [m, n] = [Math.floor(i / outs), i % outs];
    let sum = bias?.[n] ?? 0;
    for (let k = 0; k < K; k++) sum += rows[m * K + k]! * real[n * K + k]!;
    return sum * at(n);
  });
  const data = bytesOf(wType).from(real, (_, i) => real[i]! + wZero);
  const weights: QuantizedWeights = {
    format: 'int8',
    N: outs,
    K,
    blockSize: null,
    data,
    scales,
    zeroPoints: bytesOf(wType).from({ length: scales.length }, () => wZero),
  };
  const floatBias = bias && Float32Array.from(bias, (value, n) => value * at(n));
  const bound = errorBound(rows, weights, { bias: floatBias });
  const images = (values: Float64Array): Float64Array => imagesOf(values, count(out), outs);
  const tensors: TensorSpec[] = [
    { name: 'w', dtype: wType, dims: [outs, isDepthwise ? 1 : channels, ...kernel], data: w },
    scale('ws', ...scales),
    { name: 'wz', dtype: wType, dims: perChannel && outs > 1 ? [outs] : [], data: weights.zeroPoints as Codes },
    zero('xz', xType, xZero),
    ...(bias ? [{ name: 'b', dtype: 'int32' as const, dims: [outs], data: bias }] : []),
  ];
  return {
    x: new ort.Tensor(xType, x, [batch, channels, ...spatial]),
    tensors,
    sums: images(sums),
    bound: images(bound),
    attributes: { ...attributesOf(shape), group: { int: isDepthwise ? channels : 1 } },
    inputs: [{ name: 'x', dtype: xType, dims: open(kernel.length + 2) }],
    positions: count(outOf(shape).out),
  };
}

describe('convolutions of codes', { timeout: 180_000 }, () => {
  it('QLinearConv: another code only near the middle between two', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (own) => {
        // ONNX Runtime has no uint8 weights beside int8 activations.
        const given = own.xType === 'int8' ? { ...own, wType: 'int8' as const } : own;
        const { x, tensors, sums, bound, attributes, inputs } = convolve(given);
        const [xScale, yScale, yZero] = [Math.fround(0.02), Math.fround(0.31), given.xType === 'uint8' ? 131 : 4];
        const more = [scale('xs', xScale), scale('ys', yScale), zero('yz', given.xType, yZero)];
        const operands = ['x', 'xs', 'xz', 'w', 'ws', 'wz', 'ys', 'yz', ...(given.hasBias ? ['b'] : [])];
        const bytes = write([ms('QLinearConv', operands, attributes, '')], [...tensors, ...more], inputs, given.xType);
        const { mine, theirs } = await both(bytes, { x });
        const factor = xScale / yScale;
        const r = sums.map((sum) => sum * factor);
        check('msd', mine, r, (i) => bound[i]! * factor + few(r[i]!), yZero);
        check('ort', theirs, r, (i) => few(r[i]!), yZero);
      }),
      { numRuns: 30, seed: 5 },
    );
  });

  it('ConvInteger with a constant zero point: scaled sums within the bound', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (own) => {
        const given = { ...own, xType: 'uint8' as const, perChannel: false, hasBias: false };
        const { x, tensors, sums, bound, attributes, inputs } = convolve(given);
        const nodes: NodeSpec[] = [
          { ...ms('ConvInteger', ['x', 'w', 'xz', 'wz'], attributes, ''), name: 'sums', outputs: ['sums'] },
          { ...ms('Cast', ['sums'], { to: { int: 1 } }, ''), name: 'floats', outputs: ['floats'] },
          ms('Mul', ['floats', 'ws'], {}, ''),
        ];
        const { mine, theirs } = await both(write(nodes, tensors, inputs, 'float32'), { x });
        const step = Number((tensors[1]!.data as Float32Array)[0]);
        for (const [i, sum] of sums.entries()) {
          expect(theirs[i]).toBe(Math.fround(Math.round(sum / step) * step));
          expect(Math.abs(mine[i]! - sum)).toBeLessThanOrEqual(bound[i]! + few(sum));
        }
      }),
      { numRuns: 20, seed: 6 },
    );
  });

  it.each([
    ['uint8', 'MaxPool'],
    ['int8', 'MaxPool'],
  ] as const)('of %s: %s gives the codes of ONNX Runtime', async (dtype, opType) => {
    const next = random(3);
    const x = bytesOf(dtype).from({ length: 2 * 5 * 7 * 6 }, () => Math.floor(next() * 256) + leastOf(dtype));
    const attributes = { kernel_shape: { ints: [3, 2] }, strides: { ints: [2, 1] }, pads: { ints: [1, 1, 1, 0] } };
    const bytes = write([ms(opType, ['x'], attributes, '')], [], [{ name: 'x', dtype, dims: open(4) }], dtype);
    const { mine, theirs } = await both(bytes, { x: new ort.Tensor(dtype, x, [2, 5, 7, 6]) });
    expect(mine).toEqual(theirs);
  });
});

describe('functions of codes that fold', () => {
  const dims = [2, 3, 5, 4];
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const [xScale, yScale] = [Math.fround(0.05), Math.fround(0.021)];

  /** x with `dims`, and the exact result of a function of what its codes stand for. */
  async function run(
    dtype: CodeType,
    opType: string,
    attributes: Record<string, AttributeSpec>,
    exact: (real: (...place: number[]) => number) => number[],
    slack: number,
  ): Promise<void> {
    const next = random(9);
    const [xZero, yZero] = dtype === 'uint8' ? [100, 60] : [-20, -7];
    const x = bytesOf(dtype).from({ length: count(dims) }, () => Math.floor(next() * 256) + leastOf(dtype));
    const tensors = [scale('xs', xScale), zero('xz', dtype, xZero), scale('ys', yScale), zero('yz', dtype, yZero)];
    const node = ms(opType, ['x', 'xs', 'xz', 'ys', 'yz'], attributes);
    const bytes = write([node], tensors, [{ name: 'x', dtype, dims: open(4) }], dtype);
    const { mine, theirs } = await both(bytes, { x: new ort.Tensor(dtype, x, dims) });
    const real = (...place: number[]): number =>
      (x[place.reduce((at, own, d) => at * dims[d]! + own, 0)]! - xZero) * xScale;
    const r = exact(real).map((value) => value / yScale);
    check('msd', mine, r, () => 1e-4, yZero);
    check('ort', theirs, r, () => slack, yZero);
  }

  const places = (...sizes: number[]): number[][] =>
    Array.from({ length: count(sizes) }, (_, i) =>
      sizes.map((size, d) => Math.floor(i / count(sizes.slice(d + 1))) % size),
    );

  it.each(['uint8', 'int8'] as const)('QLinearGlobalAveragePool of %s', async (dtype) => {
    await run(
      dtype,
      'QLinearGlobalAveragePool',
      { channels_last: { int: 0 } },
      (real) => places(2, 3).map((outer) => mean(places(5, 4).map((inner) => real(...outer, ...inner)))),
      1e-4,
    );
  });

  it.each([
    ['uint8', 0],
    ['uint8', 1],
    ['int8', 0],
  ] as const)('QLinearAveragePool of %s, count_include_pad %d', async (dtype, counts) => {
    const attributes = {
      kernel_shape: { ints: [2, 3] },
      pads: { ints: [1, 1, 0, 1] },
      count_include_pad: { int: counts },
    };
    await run(
      dtype,
      'QLinearAveragePool',
      attributes,
      (real) =>
        places(2, 3, 5, 4).map(([b, c, i, j]) => {
          const window = places(2, 3).map(([p, q]) => [i! + p! - 1, j! + q! - 1] as const);
          const inside = window.filter(([p, q]) => p >= 0 && p < 5 && q >= 0 && q < 4);
          const sum = inside.reduce((all, [p, q]) => all + real(b!, c!, p, q), 0);
          return sum / (counts ? window.length : inside.length);
        }),
      1e-4,
    );
  });

  it.each([
    [13, -1],
    [12, 2],
  ])('QLinearSoftmax of opset %d along %d: ONNX Runtime within one code', async (opset, axis) => {
    const inner = opset < 13 ? [5, 4] : [4];
    const outer = opset < 13 ? [2, 3] : [2, 3, 5];
    await run(
      'uint8',
      'QLinearSoftmax',
      { axis: { int: axis }, opset: { int: opset } },
      (real) =>
        places(...outer).flatMap((from) => {
          const values = places(...inner).map((each) => Math.exp(real(...from, ...each)));
          const sum = values.reduce((a, b) => a + b, 0);
          return values.map((value) => value / sum);
        }),
      1,
    );
  });

  it('QLinearWhere', async () => {
    const steps = [0.05, 0.08, 0.06].map(Math.fround);
    const zeros = [100, 3, 60];
    const next = random(4);
    const [a, b] = [0, 1].map(() => Uint8Array.from({ length: 60 }, () => next() * 256)) as [Uint8Array, Uint8Array];
    const chosen = Uint8Array.from({ length: 60 }, () => (next() < 0.5 ? 1 : 0));
    const tensors = steps.flatMap((step, i) => [scale(`s${i}`, step), zero(`z${i}`, 'uint8', zeros[i]!)]);
    const node = ms('QLinearWhere', ['c', 'a', 's0', 'z0', 'b', 's1', 'z1', 's2', 'z2']);
    const codes = (name: string) => ({ name, dtype: 'uint8' as const, dims: ['n'] });
    const bytes = write([node], tensors, [{ name: 'c', dtype: 'bool', dims: ['n'] }, codes('a'), codes('b')]);
    const feeds = {
      c: new ort.Tensor('bool', chosen, [60]),
      a: new ort.Tensor('uint8', a, [60]),
      b: new ort.Tensor('uint8', b, [60]),
    };
    const { mine, theirs } = await both(bytes, feeds);
    const r = [...chosen].map((own, i) => {
      const real = own ? (a[i]! - zeros[0]!) * steps[0]! : (b[i]! - zeros[1]!) * steps[1]!;
      return real / steps[2]!;
    });
    check('msd', mine, r, () => 1e-4, zeros[2]!);
    check('ort', theirs, r, () => 1e-4, zeros[2]!);
  });
});

describe('networks that were quantized statically', { timeout: 180_000 }, () => {
  const networks = { residual: residualNetwork(), mobile: mobileNetwork() };
  const variants = [
    ['uint8', 'int8', true],
    ['int8', 'int8', true],
    ['uint8', 'uint8', false],
    ['int8', 'int8', false],
  ] as const;
  const all = Object.keys(networks).flatMap((name) =>
    (['pairs', 'operators'] as const).flatMap((form) =>
      variants.map((variant) => [name as keyof typeof networks, form, ...variant] as const),
    ),
  );

  function relativeL2(a: Float32Array, b: Float32Array): number {
    const power = (values: Float32Array): number => values.reduce((sum, value) => sum + value ** 2, 0);
    return Math.sqrt(power(a.map((value, i) => value - b[i]!)) / power(b));
  }

  it.each(all)('%s, %s, activations %s, weights %s, per channel %s', async (name, form, activations, weights, per) => {
    const network = networks[name];
    const file = await quantizeStatic(network, { activations, weights, perChannel: per, form });
    const x = image(network, 7, 2);
    const run = async (bytes: Uint8Array, options: MsdOptions | undefined): Promise<Float32Array> => {
      const s = await session(bytes, options ? { name: 'msd', ...options } : 'wasm');
      if (options) {
        const { foreignRunsPerCall, nodes } = reportOf(s)!;
        expect(foreignRunsPerCall).toBe(0);
        expect(nodes.filter(({ where, region }) => where === 'ort' && region >= 0)).toEqual([]);
      }
      const [result] = Object.values(await s.run({ x }));
      await s.release();
      return floats(result);
    };
    const exact = await run(floatFile(network), undefined);
    const theirs = await run(file, undefined);
    const mine = await run(file, {});
    // Codes that differ by one now and then: nearer to each other than the rounding to codes is to floats.
    expect(relativeL2(mine, theirs)).toBeLessThan(relativeL2(theirs, exact));
    // One scale for all weights loses as much as the activations do.
    if (form === 'pairs' && per)
      expect(relativeL2(await run(file, { relax: true }), exact)).toBeLessThan(relativeL2(theirs, exact));
  });
});

describe('what stays ONNX Runtime’s', () => {
  const tensors = [
    ...[scale('s', 0.5), zero('z', 'uint8', 3), zero('wz', 'int8', 0), scale('ss', 1, 2)],
    { name: 'w', dtype: 'int8' as const, dims: [4, 4, 1, 1], data: new Int8Array(16) },
    { name: 'w65', dtype: 'int8' as const, dims: [130, 1, 1, 1], data: new Int8Array(130) },
    { name: 'b', dtype: 'int32' as const, dims: [1], data: Int32Array.of(1) },
  ];
  const conv = (w: string, b: string[] = [], attributes: Record<string, AttributeSpec> = {}): NodeSpec =>
    ms('QLinearConv', ['a', 's', 'z', w, 's', 'wz', 's', 'z', ...b], attributes, '');
  const fold = (opType: string, attributes: Record<string, AttributeSpec> = {}, x = 'a', s = 's'): NodeSpec =>
    ms(opType, [x, s, 'z', 's', 'z'], attributes);
  const stays: readonly [string, NodeSpec][] = [
    ['QLinearConv: W is not constant', conv('a')],
    ['QLinearConv: 65 groups', conv('w65', [], { group: { int: 65 } })],
    ['QLinearConv: B is not a constant of int32', conv('w', ['s'])],
    ['QLinearConv: B has shape [1]', conv('w', ['b'])],
    ['QLinearConv: X is float32', ms('QLinearConv', ['x', 's', 'z', 'w', 's', 'wz', 's', 'z'], {}, '')],
    [
      'QLinearConv: the scale of X is not one constant number',
      ms('QLinearConv', ['a', 'ss', 'z', 'w', 's', 'wz', 's', 'z'], {}, ''),
    ],
    ['QLinearGlobalAveragePool: channels come last', fold('QLinearGlobalAveragePool', { channels_last: { int: 1 } })],
    [
      'QLinearAveragePool: channels come last',
      fold('QLinearAveragePool', { channels_last: { int: 1 }, kernel_shape: { ints: [1, 1] } }),
    ],
    ['QLinearSoftmax: not along the last axis', fold('QLinearSoftmax', { axis: { int: 1 }, opset: { int: 13 } })],
    ['QLinearSoftmax: X is float32', fold('QLinearSoftmax', { opset: { int: 13 } }, 'x')],
    [
      'QLinearSoftmax: the scale of operand 0 is not one constant number',
      fold('QLinearSoftmax', { opset: { int: 13 } }, 'a', 'ss'),
    ],
    ['QLinearWhere: the condition is not bool', ms('QLinearWhere', ['a', 'a', 's', 'z', 'a', 's', 'z', 's', 'z'])],
  ];
  const typed = (node: NodeSpec) => {
    const inputs: ValueSpec[] = [
      { name: 'x', dtype: 'float32', dims: ['b', 4, 'h', 'w'] },
      { name: 'a', dtype: 'uint8', dims: ['b', 4, 'h', 'w'] },
    ];
    return inferTypes(foldConstants(buildGraph(readModel(bytesSource(write([node], tensors, inputs))))));
  };

  it.each(stays)('%s', (reason, node) => {
    expect([...matchNodes(typed(node)).values()]).toEqual([reason]);
  });

  it('is QLinearConv with `exact`', () => {
    expect([...matchNodes(typed(conv('w')), { exact: true }).values()]).toEqual([
      expect.stringContaining("option 'exact'"),
    ]);
    expect([...matchNodes(typed(conv('w'))).values()]).toEqual([expect.objectContaining({ op: 'product' })]);
  });
});
