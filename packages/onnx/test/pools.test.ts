/** What slides over each channel for itself, and what follows convolutions: onnxruntime-web is the oracle. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { AttributeSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { attributesOf, type ConvShape, outOf } from './images.ts';
import { gaussian, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const all = { name: 'msd' as const, claim: 'all' as const, debug: true };

/** One node over x [batch, channels, …], in both engines; MSD has all of it. */
async function both(
  node: Omit<NodeSpec, 'outputs'>,
  initializers: TensorSpec[],
  x: Float32Array,
  dims: readonly number[],
) {
  const bytes = model({
    nodes: [{ ...node, name: 'node', outputs: ['y'] }],
    initializers,
    inputs: [{ name: 'x', dtype: 'float32', dims: dims.map((dim, i) => (i === 1 ? dim : `d${i}`)) }],
    outputs: [{ name: 'y', dtype: 'float32' }],
  });
  const [own, plain] = [await session(bytes, all), await session(bytes, 'wasm')];
  const feeds = { x: tensor(x, dims) };
  const [got, expected] = [(await own.run(feeds)).y!, (await plain.run(feeds)).y!];
  expect(reportOf(own)!.foreignSessions).toBe(0);
  await own.release();
  await plain.release();
  expect(got.dims).toEqual(expected.dims);
  return { got: floats(got), expected: floats(expected) };
}

/** Both engines round every operation once, in orders of their own. */
function expectNear(got: Float32Array, expected: Float32Array, operations: number, magnitude: number): void {
  for (const [i, value] of expected.entries())
    expect(Math.abs(got[i]! - value), `[${i}]: expected ${value}, got ${got[i]}`).toBeLessThanOrEqual(
      2 * operations * 2 ** -24 * magnitude,
    );
}

const shapes: fc.Arbitrary<ConvShape> = fc.integer({ min: 1, max: 2 }).chain((rank) => {
  const each = (min: number, max: number) => fc.array(fc.integer({ min, max }), { minLength: rank, maxLength: rank });
  return fc
    .record({
      batch: fc.integer({ min: 1, max: 2 }),
      channels: fc.integer({ min: 2, max: 21 }),
      spatial: each(1, 9),
      outs: fc.constant(0),
      kernel: each(1, 4),
      strides: each(1, 3),
      dilations: each(1, 2),
      pads: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 2 * rank, maxLength: 2 * rank }),
    })
    .filter((shape) => outOf(shape).out.every((size) => size > 0));
});

const pooled = (shape: ConvShape): boolean =>
  // onnxruntime refuses pads that a window may lie in as a whole.
  shape.kernel.every((size, d) =>
    (shape.pads as number[]).every((pad, i) => i % shape.kernel.length !== d || pad < size),
  );

describe('depthwise Conv', () => {
  it('is what onnxruntime-web gives', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(), fc.boolean(), async (shape, seed, hasBias) => {
        const next = random(seed);
        const { batch, channels, spatial, kernel } = shape;
        const x = gaussian(next, batch * channels * count(spatial));
        const w = gaussian(next, channels * count(kernel));
        const initializers: TensorSpec[] = [
          { name: 'w', dtype: 'float32', dims: [channels, 1, ...kernel], data: w },
          ...(hasBias
            ? [{ name: 'b', dtype: 'float32' as const, dims: [channels], data: gaussian(next, channels) }]
            : []),
        ];
        const attributes = { ...attributesOf(shape), group: { int: channels } };
        const inputs = ['x', 'w', ...(hasBias ? ['b'] : [])];
        const { got, expected } = await both({ opType: 'Conv', inputs, attributes }, initializers, x, [
          batch,
          channels,
          ...spatial,
        ]);
        expectNear(got, expected, count(kernel) + 2, 36 * (count(kernel) + 1));
      }),
      { numRuns: 40 },
    );
  }, 120_000);

  it('of codes that DynamicQuantizeLinear made is one of the floats', async () => {
    const next = random(4);
    const [channels, size] = [5, 6];
    const codes = Uint8Array.from({ length: channels * 9 }, () => next() * 256);
    const [scale, zero] = [0.02, 120];
    const x = gaussian(next, channels * size * size);
    const node = (
      opType: string,
      inputs: string[],
      outputs: string[],
      attributes: Record<string, AttributeSpec> = {},
    ) => {
      return { opType, name: outputs[0]!, inputs, outputs, attributes };
    };
    const one = (name: string, dtype: 'uint8' | 'float32', data: Uint8Array | Float32Array): TensorSpec => ({
      name,
      dtype,
      dims: [],
      data,
    });
    const bytes = model({
      nodes: [
        node('DynamicQuantizeLinear', ['x'], ['xq', 'xs', 'xz']),
        node('ConvInteger', ['xq', 'w', 'xz', 'wz'], ['i'], { group: { int: channels }, pads: { ints: [1, 1, 1, 1] } }),
        node('Cast', ['i'], ['sums'], { to: { int: 1 } }),
        node('Mul', ['xs', 'ws'], ['both']),
        node('Mul', ['sums', 'both'], ['y']),
      ],
      initializers: [
        { name: 'w', dtype: 'uint8', dims: [channels, 1, 3, 3], data: codes },
        one('wz', 'uint8', Uint8Array.of(zero)),
        one('ws', 'float32', Float32Array.of(scale)),
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: [1, channels, 'h', 'w'] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const s = await session(bytes, all);
    const y = floats((await s.run({ x: tensor(x, [1, channels, size, size]) })).y);
    await s.release();
    const real = Float32Array.from(codes, (code) => Math.fround(Math.fround(scale) * (code - zero)));
    const attributes = { group: { int: channels }, pads: { ints: [1, 1, 1, 1] } };
    const w: TensorSpec = { name: 'w', dtype: 'float32', dims: [channels, 1, 3, 3], data: real };
    const floatsOnly = await both({ opType: 'Conv', inputs: ['x', 'w'], attributes }, [w], x, [
      1,
      channels,
      size,
      size,
    ]);
    expectNear(y, floatsOnly.expected, 11, 6 * 2.7 * 9);
  });
});

describe('pools', () => {
  it.each(['MaxPool', 'AveragePool'])(
    '%s is what onnxruntime-web gives',
    async (opType) => {
      await fc.assert(
        fc.asyncProperty(
          shapes.filter(pooled),
          fc.nat(),
          fc.boolean(),
          fc.boolean(),
          async (shape, seed, ceil, countsPads) => {
            const { batch, channels, spatial, kernel } = shape;
            const x = gaussian(random(seed), batch * channels * count(spatial));
            const isMean = opType === 'AveragePool';
            const attributes = {
              ...attributesOf(shape),
              ceil_mode: { int: ceil && !isMean ? 1 : 0 },
              ...(isMean && { count_include_pad: { int: countsPads ? 1 : 0 } }),
            };
            const { got, expected } = await both({ opType, inputs: ['x'], attributes }, [], x, [
              batch,
              channels,
              ...spatial,
            ]);
            if (isMean) expectNear(got, expected, count(kernel) + 2, 6 * count(kernel));
            else expect(got).toEqual(expected);
          },
        ),
        { numRuns: 40 },
      );
    },
    120_000,
  );

  it('AveragePool with ceil_mode divides by what lies inside', async () => {
    const x = gaussian(random(2), 2 * 3 * 8 * 8);
    const attributes = {
      kernel_shape: { ints: [3, 3] },
      strides: { ints: [2, 2] },
      pads: { ints: [0, 0, 0, 0] },
      ceil_mode: { int: 1 },
    };
    const { got, expected } = await both({ opType: 'AveragePool', inputs: ['x'], attributes }, [], x, [2, 3, 8, 8]);
    expectNear(got, expected, 12, 6);
  });

  it('AveragePool of a window that lies in the padding is 0', async () => {
    const attributes = { kernel_shape: { ints: [2] }, dilations: { ints: [2] }, pads: { ints: [1, 1] } };
    const x = new Float32Array([3, -5]);
    const { got, expected } = await both({ opType: 'AveragePool', inputs: ['x'], attributes }, [], x, [1, 2, 1]);
    expect([...expected]).toEqual([0, 0]);
    expect([...got]).toEqual([0, 0]);
  });

  it.each(['MaxPool', 'AveragePool'])('%s of an image that lacks less than a stride to one window', async (opType) => {
    for (const [size, pads] of [
      [5, [0, 0]],
      [4, [0, 1]],
      [3, [1, 1]],
    ] as const) {
      const attributes = { kernel_shape: { ints: [7] }, strides: { ints: [3] }, pads: { ints: [...pads] } };
      const x = gaussian(random(size), 2 * size);
      const { got, expected } = await both({ opType, inputs: ['x'], attributes }, [], x, [1, 2, size]);
      expect(expected).toHaveLength(2);
      expectNear(got, expected, 9, 6 * 7);
    }
  });

  it.each([
    ['an image that lacks two strides', [1], 'MaxPool', 0],
    ['one that lacks less, where pads count', [5], 'AveragePool', 1],
  ] as const)('%s is refused', async (_, [size], opType, counts) => {
    const attributes = {
      kernel_shape: { ints: [7] },
      strides: { ints: [3] },
      ...(counts && { count_include_pad: { int: counts } }),
    };
    const bytes = model({
      nodes: [{ opType, name: 'node', inputs: ['x'], outputs: ['y'], attributes }],
      initializers: [],
      inputs: [{ name: 'x', dtype: 'float32', dims: [1, 2, 'n'] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const own = await session(bytes, all);
    await expect(own.run({ x: tensor(new Float32Array(2 * size), [1, 2, size]) })).rejects.toThrow(
      `X, expected at least 7 elements, pads included, got ${size}`,
    );
    await own.release();
  });

  it.each(['MaxPool', 'AveragePool'])(
    '%s of strides beyond its window and pads that follow is left alone',
    async (opType) => {
      const attributes = { kernel_shape: { ints: [2] }, strides: { ints: [4] }, auto_pad: { string: 'SAME_UPPER' } };
      const bytes = model({
        nodes: [
          { opType, name: 'node', inputs: ['x'], outputs: ['p'], attributes },
          { opType: 'Relu', name: 'after', inputs: ['p'], outputs: ['y'] },
        ],
        initializers: [],
        inputs: [{ name: 'x', dtype: 'float32', dims: [1, 2, 'n'] }],
        outputs: [{ name: 'y', dtype: 'float32' }],
      });
      const own = await session(bytes, all);
      const node = reportOf(own)!.nodes.find(({ name }) => name === 'node')!;
      expect([node.where, node.reason]).toEqual(['ort', `${opType}: auto_pad and wide strides or dilations`]);
      await own.release();
    },
  );

  it.each(['GlobalAveragePool', 'GlobalMaxPool'])('%s', async (opType) => {
    for (const dims of [
      [2, 5, 7],
      [1, 3, 4, 6],
      [2, 9, 1, 1],
    ]) {
      const { got, expected } = await both({ opType, inputs: ['x'] }, [], gaussian(random(3), count(dims)), dims);
      expectNear(got, expected, count(dims) + 2, 6);
    }
  });
});

describe('BatchNormalization', () => {
  it.each([[[2, 5, 3, 4]], [[3, 5]], [[2, 5, 6]]])('of %j', async (dims) => {
    const next = random(6);
    const numbers = (name: string, least = -6): TensorSpec => {
      return {
        name,
        dtype: 'float32',
        dims: [5],
        data: gaussian(next, 5).map((value) => (least > -6 ? Math.abs(value) + least : value)),
      };
    };
    const initializers = [numbers('scale'), numbers('b'), numbers('mean'), numbers('variance', 0.5)];
    const node = {
      opType: 'BatchNormalization',
      inputs: ['x', 'scale', 'b', 'mean', 'variance'],
      attributes: { epsilon: { float: 1e-3 } },
    };
    const { got, expected } = await both(node, initializers, gaussian(next, count(dims)), dims);
    expectNear(got, expected, 8, 6 * 6 * 2 + 6);
  });

  it('in training stays where it is', async () => {
    const numbers = (name: string): TensorSpec => ({ name, dtype: 'float32', dims: [2], data: Float32Array.of(1, 2) });
    const bytes = model({
      nodes: [
        {
          opType: 'BatchNormalization',
          name: 'norm',
          inputs: ['x', 'a', 'b', 'c', 'd'],
          outputs: ['y', 'm', 'v'],
          attributes: { training_mode: { int: 1 } },
        },
      ],
      initializers: ['a', 'b', 'c', 'd'].map(numbers),
      inputs: [{ name: 'x', dtype: 'float32', dims: ['n', 2] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const s = await ort.InferenceSession.create(bytes, {
      executionProviders: [all] as never,
      logSeverityLevel: 4,
    }).catch(() => undefined);
    expect(s && reportOf(s)!.nodes[0]!.where).not.toBe('msd');
    await s?.release();
  });
});
