/** Convolutions as products of rows: against float64 and its bounds, onnxruntime-web alongside. */

import { dequantizeWeights, errorBound, type QuantizedWeights, quantizeWeights } from '@msd/core';
import type { Copy } from '@msd/core/nn';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import type { MsdOptions } from '../src/execute/options.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { matchNodes } from '../src/passes/match.ts';
import type { Match } from '../src/passes/matcher.ts';
import { regionCode } from '../src/plan/code.ts';
import { draftRegion, newSlot } from '../src/plan/draft.ts';
import { keepPositions } from '../src/plan/layout.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import type { GraphSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { bytesOf } from './dynamic.ts';
import { attributesOf, type ConvShape, imagesOf, outOf, weightRows, windowRows } from './images.ts';
import { firstMiss, gaussian, model, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

await loadOperators();

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const open = (rank: number): string[] => Array.from({ length: rank }, (_, i) => `d${i}`);

interface Case {
  readonly shape: ConvShape;
  readonly x: Float32Array;
  readonly w: Float32Array;
  readonly bias: Float32Array | undefined;
}

function makeCase(shape: ConvShape, seed: number, hasBias: boolean): Case {
  const next = random(seed);
  const { batch, channels, spatial, outs, kernel } = shape;
  const x = gaussian(next, batch * channels * count(spatial));
  const w = gaussian(next, outs * channels * count(kernel));
  return { shape, x, w, bias: hasBias ? gaussian(next, outs) : undefined };
}

function convModel({ shape, w, bias }: Case, extra: NodeSpec[] = [], more: TensorSpec[] = []): Uint8Array {
  const { channels, outs, kernel, spatial } = shape;
  const last = extra.at(-1)?.outputs[0] ?? 'y';
  const graph: GraphSpec = {
    nodes: [
      {
        opType: 'Conv',
        name: 'conv',
        inputs: ['x', 'w', ...(bias ? ['b'] : [])],
        outputs: ['y'],
        attributes: attributesOf(shape),
      },
      ...extra,
    ],
    initializers: [
      { name: 'w', dtype: 'float32', dims: [outs, channels, ...kernel], data: w },
      ...(bias ? [{ name: 'b', dtype: 'float32' as const, dims: [outs], data: bias }] : []),
      ...more,
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', channels, ...open(spatial.length)] }],
    outputs: [
      { name: last, dtype: 'float32', dims: ['batch', outs, ...open(spatial.length).map((name) => `${name}out`)] },
    ],
  };
  return model(graph);
}

async function run(bytes: Uint8Array, { shape, x }: Case, provider: Parameters<typeof session>[1]) {
  const s = await session(bytes, provider);
  const results = await s.run({ x: tensor(x, [shape.batch, shape.channels, ...shape.spatial]) });
  const report = reportOf(s);
  await s.release();
  return { y: Object.values(results)[0]!, report };
}

const msd = (options: MsdOptions = {}) => ({ name: 'msd' as const, claim: 'all' as const, debug: true, ...options });

/** What quantized weights [outs, K] give, in the order of the result. */
function exact({ shape, x, bias }: Case, weights: QuantizedWeights): { y: Float64Array; bound: Float64Array } {
  const { rows, out, K } = windowRows(shape, x);
  const { outs } = shape;
  const real = dequantizeWeights(weights);
  const y = new Float64Array((rows.length / K) * outs);
  for (let i = 0; i < y.length; i++) {
    const [m, n] = [Math.floor(i / outs), i % outs];
    y[i] = bias?.[n] ?? 0;
    for (let k = 0; k < K; k++) y[i]! += rows[m * K + k]! * real[n * K + k]!;
  }
  const bound = errorBound(rows, weights, { bias });
  const images = (values: Float64Array) => imagesOf(values, count(out), outs);
  return { y: images(y), bound: images(bound) };
}

/** The same with float weights: one rounding per operation. */
function exactFloats({ shape, x, w, bias }: Case): { y: Float64Array; bound: Float64Array } {
  const { rows, out, K } = windowRows(shape, x);
  const { outs } = shape;
  const real = weightRows(shape, w);
  const y = new Float64Array((rows.length / K) * outs);
  const bound = new Float64Array(y.length);
  for (let i = 0; i < y.length; i++) {
    const [m, n] = [Math.floor(i / outs), i % outs];
    let magnitude = Math.abs(bias?.[n] ?? 0);
    y[i] = bias?.[n] ?? 0;
    for (let k = 0; k < K; k++) {
      const term = rows[m * K + k]! * real[n * K + k]!;
      y[i]! += term;
      magnitude += Math.abs(term);
    }
    bound[i] = (K + 2) * 2 ** -24 * (1 + 2 ** -10) * magnitude;
  }
  const images = (values: Float64Array) => imagesOf(values, count(out), outs);
  return { y: images(y), bound: images(bound) };
}

const shapes: fc.Arbitrary<ConvShape> = fc.integer({ min: 1, max: 2 }).chain((rank) => {
  const each = (min: number, max: number) => fc.array(fc.integer({ min, max }), { minLength: rank, maxLength: rank });
  const auto = fc.constantFrom('SAME_UPPER' as const, 'SAME_LOWER' as const, 'VALID' as const);
  return fc
    .record({
      batch: fc.integer({ min: 1, max: 3 }),
      channels: fc.integer({ min: 1, max: 9 }),
      spatial: each(1, 9),
      outs: fc.integer({ min: 1, max: 20 }),
      kernel: each(1, 4),
      strides: each(1, 3),
      dilations: each(1, 2),
      pads: fc.oneof(auto, fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 2 * rank, maxLength: 2 * rank })),
    })
    .filter((shape) => {
      // onnxruntime-web has SAME for dilations of 1 only.
      if (typeof shape.pads === 'string' && shape.pads !== 'VALID' && shape.dilations.some((each) => each > 1))
        return false;
      return outOf(shape).out.every((size) => size > 0);
    });
});

describe('Conv', () => {
  it('is what onnxruntime-web gives, within the bounds of both forms, whatever its windows are', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), fc.boolean(), async (shape, seed, hasBias) => {
        const one = makeCase(shape, seed, hasBias);
        const bytes = convModel(one);
        const inFloats = exactFloats(one);
        const plain = await run(bytes, one, 'wasm');
        expect(firstMiss(floats(plain.y), inFloats)).toBeUndefined();
        const own = await run(bytes, one, msd());
        expect(own.report!.foreignSessions).toBe(0);
        expect(own.y.dims).toEqual(plain.y.dims);
        expect(firstMiss(floats(own.y), inFloats)).toBeUndefined();
        const quantized = await run(bytes, one, msd({ quantize: 'int8' }));
        const { outs: N } = shape;
        const real = weightRows(shape, one.w);
        const weights = quantizeWeights(real, { N, K: real.length / N, format: 'int8', blockSize: 32 });
        expect(quantized.y.dims).toEqual(plain.y.dims);
        expect(firstMiss(floats(quantized.y), exact(one, weights))).toBeUndefined();
        expect(quantized.report!.nodes[0]!.quantized?.format).toBe('int8');
      }),
      { numRuns: 60 },
    );
  }, 120_000);
});

/** Integers of 8 bits in a file: what they stand for is scale · (code − zero point). */
interface Integers {
  readonly dtype: 'int8' | 'uint8';
  readonly isPerChannel: boolean;
  readonly hasZeroPoints: boolean;
}

const integerKinds: fc.Arbitrary<Integers> = fc.record({
  dtype: fc.constantFrom('int8' as const, 'uint8' as const),
  isPerChannel: fc.boolean(),
  hasZeroPoints: fc.boolean(),
});

/** Weights [outs, channels, …] as tensors of a file, and as rows [outs, taps · channels]. */
function integers(
  { shape }: Case,
  { dtype, isPerChannel, hasZeroPoints }: Integers,
  seed: number,
  spread: boolean,
  group = 0,
) {
  /** Of scales and zero points, which groups share. */
  const next = random(seed);
  const nextCode = random(seed + 1 + group);
  const { outs, channels, kernel } = shape;
  const Codes = bytesOf(dtype);
  const codes = Codes.from(
    { length: outs * channels * count(kernel) },
    () => nextCode() * 256 - (dtype === 'int8' ? 128 : 0),
  );
  const many = isPerChannel ? outs : 1;
  const scales = Float32Array.from({ length: many }, () => (next() - 0.3) / 40);
  const zeroPoints = Codes.from({ length: many }, () => next() * 100);
  // What multiplies sums [batch, outs, …] has a dimension for each of theirs.
  const dims = isPerChannel ? [outs, ...(spread ? kernel.map(() => 1) : [])] : [];
  const tensors: TensorSpec[] = [
    { name: 'codes', dtype, dims: [outs, channels, ...kernel], data: codes },
    { name: 'scales', dtype: 'float32', dims, data: scales },
    ...(hasZeroPoints ? [{ name: 'zeros', dtype, dims: isPerChannel ? [outs] : [], data: zeroPoints }] : []),
  ];
  const inRows = weightRows(shape, Float32Array.from(codes));
  const rows = Codes.from(inRows, (_, i) => inRows[i]!);
  const base = { format: 'int8' as const, N: outs, K: rows.length / outs, blockSize: null, data: rows, scales };
  const none = dtype === 'int8' ? undefined : new Uint8Array(many);
  const stored = hasZeroPoints ? zeroPoints : none;
  return { tensors, weights: { ...base, ...(stored && { zeroPoints: stored }) } as QuantizedWeights };
}

describe('integers of the file', () => {
  it('ConvInteger of activations that are quantized in the run is a product of the floats', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, integerKinds, fc.nat(), fc.boolean(), async (shape, kind, seed, isScaleFirst) => {
        const one = makeCase(shape, seed, false);
        const { tensors, weights } = integers(one, kind, seed, true);
        const node = (opType: string, inputs: string[], outputs: string[], attributes = {}): NodeSpec => {
          return { opType, name: outputs[0]!, inputs, outputs, attributes };
        };
        const scaled = isScaleFirst
          ? [node('Mul', ['xs', 'scales'], ['both']), node('Mul', ['sums', 'both'], ['y'])]
          : [node('Mul', ['scales', 'sums'], ['some']), node('Mul', ['some', 'xs'], ['y'])];
        const bytes = model({
          nodes: [
            node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
            node(
              'ConvInteger',
              ['xq', 'codes', 'xz', ...(kind.hasZeroPoints ? ['zeros'] : [])],
              ['i'],
              attributesOf(shape),
            ),
            node('Cast', ['i'], ['sums'], { to: { int: 1 } }),
            ...scaled,
          ],
          initializers: tensors,
          inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', shape.channels, ...open(shape.spatial.length)] }],
          outputs: [{ name: 'y', dtype: 'float32' }],
        });
        const { y, report } = await run(bytes, one, msd());
        expect(report!.foreignSessions).toBe(0);
        expect(firstMiss(floats(y), exact(one, weights))).toBeUndefined();
      }),
      { numRuns: 30 },
    );
  }, 120_000);

  it('DequantizeLinear before Conv', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, integerKinds, fc.nat(), fc.boolean(), async (shape, kind, seed, hasBias) => {
        const one = makeCase(shape, seed, hasBias);
        const { tensors, weights } = integers(one, kind, seed, false);
        const bytes = model({
          nodes: [
            {
              opType: 'DequantizeLinear',
              name: 'weights',
              inputs: ['codes', 'scales', ...(kind.hasZeroPoints ? ['zeros'] : [])],
              outputs: ['w'],
              attributes: { axis: { int: 0 } },
            },
            {
              opType: 'Conv',
              name: 'conv',
              inputs: ['x', 'w', ...(hasBias ? ['b'] : [])],
              outputs: ['y'],
              attributes: attributesOf(shape),
            },
          ],
          initializers: [
            ...tensors,
            ...(hasBias ? [{ name: 'b', dtype: 'float32' as const, dims: [shape.outs], data: one.bias! }] : []),
          ],
          inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', shape.channels, ...open(shape.spatial.length)] }],
          outputs: [{ name: 'y', dtype: 'float32' }],
        });
        const { y, report } = await run(bytes, one, msd());
        expect(report!.nodes.find(({ opType }) => opType === 'Conv')!.kernel).toMatch(/^gemm/);
        expect(firstMiss(floats(y), exact(one, weights))).toBeUndefined();
      }),
      { numRuns: 30 },
    );
  }, 120_000);
});

/** Channels [first, first + count) of an image [batch, channels, …]. */
function someChannels(x: ArrayLike<number>, batch: number, channels: number, first: number, own: number): Float32Array {
  const plane = x.length / (batch * channels);
  return Float32Array.from({ length: batch * own * plane }, (_, i) => {
    const [b, rest] = [Math.floor(i / (own * plane)), i % (own * plane)];
    return x[(b * channels + first) * plane + rest]!;
  });
}

describe('groups', () => {
  const form = fc.constantFrom('floats', 'quantized at load', 'integers' as const);
  it('are convolutions of their own, side by side', async () => {
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.integer({ min: 2, max: 4 }),
        integerKinds,
        form,
        fc.nat(),
        async (own, groups, kind, form, seed) => {
          const hasBias = form !== 'integers' && seed % 2 === 0;
          const parts = Array.from({ length: groups }, (_, g) => makeCase(own, seed + g, hasBias));
          // Codes of its own, the scale and zero point of all.
          const coded = parts.map((part, g) => integers(part, { ...kind, isPerChannel: false }, seed, true, g));
          const { batch, channels, outs, kernel, spatial } = own;
          const shape = { ...own, channels: channels * groups, outs: outs * groups };
          const image = [batch, shape.channels, ...spatial];
          const x = new Float32Array(count(image));
          const [plane, planes] = [count(spatial), channels * count(spatial)];
          for (const [g, part] of parts.entries())
            for (let b = 0; b < batch; b++)
              x.set(part.x.subarray(b * planes, (b + 1) * planes), (b * shape.channels + g * channels) * plane);
          const all = (of: (part: Case) => Float32Array): Float32Array =>
            Float32Array.from(parts.flatMap((part) => [...of(part)]));
          const dims = [shape.outs, channels, ...kernel];
          const attributes = { ...attributesOf(shape), group: { int: groups } };
          const node = (opType: string, inputs: string[], outputs: string[], more = {}): NodeSpec => {
            return { opType, name: outputs[0]!, inputs, outputs, attributes: more };
          };
          const isCoded = form === 'integers';
          const [codes, ...others] = coded[0]!.tensors as [TensorSpec, ...TensorSpec[]];
          const allCodes = coded.flatMap(({ tensors }) => [...(tensors[0]!.data as Uint8Array)]);
          const bytes = model({
            nodes: isCoded
              ? [
                  node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
                  node(
                    'ConvInteger',
                    ['xq', 'codes', 'xz', ...(kind.hasZeroPoints ? ['zeros'] : [])],
                    ['i'],
                    attributes,
                  ),
                  node('Cast', ['i'], ['sums'], { to: { int: 1 } }),
                  node('Mul', ['xs', 'scales'], ['both']),
                  node('Mul', ['sums', 'both'], ['y']),
                ]
              : [node('Conv', ['x', 'w', ...(hasBias ? ['b'] : [])], ['y'], attributes)],
            initializers: isCoded
              ? [{ ...codes, dims, data: bytesOf(kind.dtype).of(...allCodes) }, ...others]
              : [
                  { name: 'w', dtype: 'float32', dims, data: all(({ w }) => w) },
                  ...(hasBias
                    ? [{ name: 'b', dtype: 'float32' as const, dims: [shape.outs], data: all(({ bias }) => bias!) }]
                    : []),
                ],
            inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', shape.channels, ...open(spatial.length)] }],
            outputs: [{ name: 'y', dtype: 'float32' }],
          });
          const whole: Case = { shape, x, w: new Float32Array(0), bias: undefined };
          const { y, report } = await run(bytes, whole, msd(form === 'quantized at load' ? { quantize: 'int8' } : {}));
          expect(report!.foreignSessions).toBe(0);
          for (const [g, part] of parts.entries()) {
            const got = someChannels(floats(y), batch, shape.outs, g * outs, outs);
            const real = weightRows(own, part.w);
            const weights = isCoded
              ? coded[g]!.weights
              : quantizeWeights(real, { N: outs, K: real.length / outs, format: 'int8', blockSize: 32 });
            // A group for each channel is no product.
            const isFloat = form === 'floats' || (!isCoded && channels === 1 && outs === 1);
            const wanted = isFloat ? exactFloats(part) : exact(part, weights);
            expect(firstMiss(got, wanted), `group ${g}`).toBeUndefined();
          }
          if (isCoded) return;
          const plain = await run(bytes, whole, 'wasm');
          expect(y.dims).toEqual(plain.y.dims);
        },
      ),
      { numRuns: 40 },
    );
  }, 120_000);
});

/** Images that pass several nodes: [batch, 6, height, width] -> convolutions of 6, 8 and 6 channels and what lies between them. */
describe('what lies between convolutions', () => {
  const next = random(8);
  const floatTensor = (name: string, ...dims: number[]): TensorSpec => {
    return { name, dtype: 'float32', dims, data: gaussian(next, count(dims)).map((value) => value / 3) };
  };
  const longs = (name: string, ...data: number[]): TensorSpec => {
    return { name, dtype: 'int64', dims: [data.length], data: BigInt64Array.from(data, BigInt) };
  };
  const node = (
    opType: string,
    inputs: string[],
    output: string,
    attributes: NodeSpec['attributes'] = {},
  ): NodeSpec => {
    return { opType, name: output, inputs, outputs: [output], attributes };
  };
  const around = { pads: { ints: [1, 1, 1, 1] } };
  const initializers = [
    floatTensor('w1', 8, 6, 1, 1),
    floatTensor('b1', 8),
    floatTensor('w2', 8, 8, 3, 3),
    floatTensor('w3', 6, 8, 1, 1),
    floatTensor('w4', 8, 8, 1, 1),
    floatTensor('w5', 3, 4, 1, 1),
    floatTensor('channels', 8, 1, 1),
    floatTensor('whole', 1, 8, 1, 5),
    longs('rows', 0, 6, -1),
    longs('spatial', -1, 2),
    longs('line', 0, 8, -1),
    longs('halves', 0, 4, 2, -1),
    longs('batches', -1, 4, 1, 1),
  ];
  const open4 = (name: string, channels: number | string) => ({
    name,
    dtype: 'float32' as const,
    dims: ['batch', channels, `${name}h`, `${name}w`],
  });

  const chains: [string, NodeSpec[], string, number][] = [
    ['an activation, another convolution', [node('Relu', ['y1'], 'a'), node('Conv', ['a', 'w2'], 'y', around)], 'y', 2],
    [
      'a product by name, then element by element',
      [node('Sigmoid', ['y1'], 's'), node('Mul', ['y1', 's'], 'y')],
      'y',
      2,
    ],
    [
      'a residual',
      [node('Relu', ['y1'], 'a'), node('Conv', ['a', 'w2'], 'c', around), node('Add', ['c', 'a'], 'y')],
      'y',
      2,
    ],
    ['numbers of channels', [node('Mul', ['y1', 'channels'], 'm'), node('Add', ['channels', 'm'], 'y')], 'y', 2],
    [
      'an operand of another kind, and a convolution of it',
      [node('Add', ['y1', 'whole'], 'm'), node('Conv', ['m', 'w3'], 'y')],
      'y',
      4,
    ],
    [
      'a gate for each channel',
      [
        node('ReduceMean', ['y1', 'spatial'], 'g', { keepdims: { int: 1 } }),
        node('Conv', ['g', 'w4'], 'h'),
        node('Sigmoid', ['h'], 'i'),
        node('Mul', ['y1', 'i'], 'j'),
        node('Conv', ['j', 'w3'], 'y'),
      ],
      'y',
      2,
    ],
    [
      'rows of positions at the end',
      [
        node('Conv', ['y1', 'w3'], 'c'),
        node('Reshape', ['c', 'rows'], 'r'),
        node('Transpose', ['r'], 'y', { perm: { ints: [0, 2, 1] } }),
      ],
      'y',
      2,
    ],
    [
      'element by element, positions in one dimension',
      [node('Reshape', ['y1', 'line'], 'r'), node('Relu', ['r'], 'y')],
      'y',
      2,
    ],
    [
      'element by element, channels in two dimensions',
      [node('Reshape', ['y1', 'halves'], 'r'), node('Relu', ['r'], 'a'), node('Mul', ['a', 'r'], 'y')],
      'y',
      2,
    ],
    [
      'element by element, half of the channels beside the batch, and a convolution of it',
      [node('Reshape', ['y1', 'batches'], 'r'), node('Relu', ['r'], 'a'), node('Conv', ['a', 'w5'], 'y')],
      'y',
      2,
    ],
    [
      'an image that somebody needs as it is, and its positions',
      [
        node('Transpose', ['y1'], 't', { perm: { ints: [0, 2, 3, 1] } }),
        node('Softmax', ['t'], 'p', { axis: { int: -1 } }),
        node('Softmax', ['y1'], 'q', { axis: { int: -1 } }),
        node('Transpose', ['q'], 'u', { perm: { ints: [0, 2, 3, 1] } }),
        node('Add', ['p', 'u'], 'y'),
      ],
      'y',
      3,
    ],
  ];

  it.each(chains)('%s', async (_, nodes, output, copies) => {
    const bytes = model({
      nodes: [node('Conv', ['x', 'w1', 'b1'], 'y1'), ...nodes],
      initializers,
      inputs: [open4('x', 6)],
      outputs: [{ name: output, dtype: 'float32' }],
    });
    const own = await session(bytes, msd());
    const plain = await session(bytes, 'wasm');
    for (const dims of [
      [2, 6, 4, 5],
      [1, 6, 1, 5],
      [1, 6, 1, 1],
      [0, 6, 2, 5],
    ]) {
      // ONNX Runtime reshapes nothing of 0 elements into a size that it has to find.
      if (dims[0] === 0 && nodes.some(({ opType }) => opType === 'Reshape')) continue;
      const feeds = { x: tensor(gaussian(random(dims[2]!), count(dims)), dims) };
      const [a, b] = [(await own.run(feeds))[output]!, (await plain.run(feeds))[output]!];
      expect(a.dims).toEqual(b.dims);
      for (const [i, value] of floats(b).entries())
        expect(Math.abs(floats(a)[i]! - value)).toBeLessThanOrEqual(1e-5 * (1 + Math.abs(value)));
    }
    expect(reportOf(own)!.foreignSessions).toBe(0);
    await own.release();
    await plain.release();
    expect(copiesOf(bytes, [2, 6, 4, 5])).toBe(copies);
  });

  /** Copies that a plan for an x of these dims has: into rows, and back. */
  function copiesOf(bytes: Uint8Array, dims: readonly number[]): number {
    const typed = inferTypes(buildGraph(readModel(bytesSource(bytes))));
    const decisions = matchNodes(typed);
    const matches = typed.graph.nodes.map((each) => decisions.get(each) as Match);
    const code = regionCode(
      typed,
      matches,
      [...typed.graph.outputs].map(({ name }) => name),
    );
    const slots = new Map(
      matches.flatMap(({ resources = [] }) =>
        resources.flatMap((each) => {
          if (each.kind !== 'values') return [];
          const own = each.arranged?.dims ?? (each.info.dims as number[]);
          return [[each.key, newSlot('f32', own)] as const];
        }),
      ),
    );
    const draft = draftRegion(typed, code, new Map([['x', { elemType: 1, dims }]]), slots);
    const steps = keepPositions(draft.steps, draft.slots.values());
    return steps.filter(
      ({ step }) =>
        step.kind === 'op' && step.spec !== 'elementwise' && step.spec.name === 'copy' && !isWindows(step.op as Copy),
    ).length;
  }

  /** Pads, and windows that become rows. */
  const isWindows = ({ parts }: Copy): boolean => parts.length > 1 || parts[0]!.dims.length > 4;
});

describe('what is refused', () => {
  const reasonOf = (shape: Partial<ConvShape> & { group?: number }, weights = true): string => {
    const base: ConvShape = {
      batch: 1,
      channels: 2,
      spatial: [4, 4],
      outs: 4,
      kernel: [1, 1],
      strides: [1, 1],
      dilations: [1, 1],
      pads: [0, 0, 0, 0],
      ...shape,
    };
    const { channels, outs, kernel, spatial } = base;
    const group = shape.group ?? 1;
    const graph: GraphSpec = {
      nodes: [
        {
          opType: 'Conv',
          name: 'conv',
          inputs: ['x', 'w'],
          outputs: ['y'],
          attributes: { ...attributesOf(base), group: { int: group } },
        },
      ],
      initializers: weights
        ? [
            {
              name: 'w',
              dtype: 'float32',
              dims: [outs, channels / group, ...kernel],
              data: new Float32Array((outs * channels * count(kernel)) / group),
            },
          ]
        : [],
      inputs: [
        { name: 'x', dtype: 'float32', dims: [1, channels, ...spatial] },
        ...(weights ? [] : [{ name: 'w', dtype: 'float32' as const, dims: [outs, channels, ...kernel] }]),
      ],
      outputs: [{ name: 'y', dtype: 'float32' }],
    };
    const decisions = matchNodes(inferTypes(buildGraph(readModel(bytesSource(model(graph))))));
    return String([...decisions.values()][0]);
  };
  const three = {
    spatial: [4, 4, 4],
    kernel: [1, 1, 1],
    strides: [1, 1, 1],
    dilations: [1, 1, 1],
    pads: [0, 0, 0, 0, 0, 0],
  };
  it.each([
    ['three spatial dimensions', three, 'Conv: 3 spatial dimensions'],
    ['groups', { group: 65, channels: 65, outs: 130 }, 'Conv: 65 groups'],
    ['negative pads', { pads: [0, -1, 0, 0] }, 'Conv: pads [0, -1, 0, 0]'],
    ['a stride of 0', { strides: [0, 1] }, 'Conv: strides [0, 1]'],
    ['strides of another rank', { strides: [1] }, 'Conv: strides [1]'],
  ] as const)('%s', (_, shape, reason) => {
    expect(reasonOf(shape)).toBe(reason);
  });
  it('weights that are computed', () => {
    expect(reasonOf({}, false)).toBe('Conv: W is not constant');
  });
});
