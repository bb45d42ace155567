/** Activations as codes: QuantizeLinear, DequantizeLinear, and products of codes, beside onnxruntime-web. */

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
import { type AttributeSpec, type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeL2 } from './close.ts';
import { gaussian, random } from './models.ts';
import { floats, ort, session } from './ort.ts';

await loadOperators();

type CodeType = 'uint8' | 'int8' | 'uint16' | 'int16';
const ARRAYS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array };

/** `count` codes of 8 bits. */
function bytesOf(dtype: 'uint8' | 'int8', count: number, code: (i: number) => number): Uint8Array | Int8Array {
  const values = Array.from({ length: count }, (_, i) => code(i));
  return dtype === 'int8' ? Int8Array.from(values) : Uint8Array.from(values);
}

const node = (opType: string, inputs: string[], outputs: string[], attributes: Record<string, AttributeSpec> = {}) =>
  ({ opType, name: outputs[0]!, inputs, outputs, attributes }) satisfies NodeSpec;
const scale = (name: string, value: number | readonly number[], dims?: number[]): TensorSpec => {
  const data = Float32Array.from(typeof value === 'number' ? [value] : value);
  return { name, dtype: 'float32', dims: dims ?? (typeof value === 'number' ? [] : [value.length]), data };
};
const codes = (name: string, dtype: CodeType, values: readonly number[], dims: number[] = []): TensorSpec => {
  return { name, dtype, dims, data: ARRAYS[dtype].from(values) };
};

function write(graph: GraphSpec, opset = 21): Uint8Array {
  return writeModel({ opsets: { '': opset, 'com.microsoft': 1 }, graph });
}

/** Runs a model here and in ONNX Runtime; all of it has to be MSD's here. */
async function both(bytes: Uint8Array, feeds: Record<string, ort.Tensor>, options: MsdOptions = {}) {
  const mine = await session(bytes, { name: 'msd', claim: 'all', ...options });
  const theirs = await session(bytes, 'wasm');
  const { nodes } = reportOf(mine)!;
  expect(nodes.filter(({ where, region }) => where === 'ort' && region >= 0)).toEqual([]);
  const [a, b] = [await mine.run(feeds), await theirs.run(feeds)];
  await mine.release();
  await theirs.release();
  return { mine: a, theirs: b };
}

const value = (name: string, dtype: CodeType | 'float32' | 'int32', dims: (number | string)[]) => ({
  name,
  dtype,
  dims,
});

describe('QuantizeLinear and DequantizeLinear of activations', () => {
  const types = [
    ['uint8', 3, 13],
    ['uint8', 0, 10],
    ['int8', -7, 19],
    ['int8', 0, 21],
    ['uint16', 40000, 21],
    ['int16', -300, 23],
  ] as const;

  it.each(types)('gives the bits of ONNX Runtime: %s, zero point %d, opset %d', async (dtype, zero, opset) => {
    const next = random(3);
    const step = 0.0371;
    // Ties, both ends, and everything between.
    const ties = Array.from({ length: 64 }, (_, i) => Math.fround(step) * (i - 32 + 0.5));
    const wide = dtype.endsWith('16') ? 3000 : 8;
    const x = Float32Array.from([
      ...ties,
      ...gaussian(next, 400).map((v) => v * wide),
      1e30,
      -1e30,
      0,
      -0,
      Infinity,
      -Infinity,
    ]);
    const graph: GraphSpec = {
      nodes: [node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['y'])],
      initializers: [scale('s', step), codes('z', dtype, [zero])],
      inputs: [value('x', 'float32', ['n'])],
      outputs: [value('q', dtype, ['n']), value('y', 'float32', ['n'])],
    };
    const { mine, theirs } = await both(write(graph, opset), { x: new ort.Tensor('float32', x, [x.length]) });
    expect(mine.q!.type).toBe(dtype);
    expect(mine.q!.data).toEqual(theirs.q!.data);
    expect(mine.y!.data).toEqual(theirs.y!.data);
  });

  it.each([
    ['[1] scales', [1], true],
    ['no zero point', [], false],
  ] as const)('takes %s', async (_, dims, hasZero) => {
    const graph: GraphSpec = {
      nodes: [
        node('QuantizeLinear', ['x', 's', ...(hasZero ? ['z'] : [])], ['q']),
        node('DequantizeLinear', ['q', 's', ...(hasZero ? ['z'] : [])], ['y']),
      ],
      initializers: [scale('s', 0.1, [...dims]), codes('z', 'uint8', [12], [...dims])],
      inputs: [value('x', 'float32', ['a', 'b'])],
      outputs: [value('y', 'float32', ['a', 'b'])],
    };
    for (const shape of [
      [4, 5],
      [0, 5],
      [1, 1],
    ]) {
      const x = gaussian(random(1), shape[0]! * shape[1]!).map((v) => v * 10);
      const { mine, theirs } = await both(write(graph), { x: new ort.Tensor('float32', x, shape) });
      expect(mine.y!.data).toEqual(theirs.y!.data);
    }
  });

  it.each([
    ['uint8', 1, 'uint8', 13],
    ['int8', -1, 'int8', 19],
    ['uint8', 0, 'no', 13],
    ['int16', 2, 'int16', 21],
  ] as const)(
    'takes a scale for each channel: %s along axis %d, %s zero points, opset %d',
    async (dtype, axis, zeros, opset) => {
      const dims = [2, 3, 5, 4];
      const N = dims.at(axis)!;
      const names = zeros === 'no' ? ['s'] : ['s', 'z'];
      const attributes = { axis: { int: axis } };
      const steps = Array.from({ length: N }, (_, n) => 0.01 * (n + 1) ** 2);
      const graph: GraphSpec = {
        nodes: [
          node('QuantizeLinear', ['x', ...names], ['q'], attributes),
          node('DequantizeLinear', ['q', ...names], ['y'], attributes),
        ],
        initializers: [
          scale('s', steps),
          ...(zeros === 'no'
            ? []
            : [
                codes(
                  'z',
                  zeros,
                  Array.from({ length: N }, (_, n) => 7 * n),
                  [N],
                ),
              ]),
        ],
        inputs: [value('x', 'float32', ['a', 'b', 'c', 'd'])],
        outputs: [
          { name: 'q', dtype },
          { name: 'y', dtype: 'float32' },
        ],
      };
      for (const batch of axis === 0 ? [2] : [2, 0]) {
        const shape = [batch, ...dims.slice(1)];
        const x = gaussian(random(1), batch * 60).map((v, i) => (i === 7 ? 1e30 : v * 3));
        const { mine, theirs } = await both(write(graph, opset), { x: new ort.Tensor('float32', x, shape) });
        expect(mine.q!.type).toBe(theirs.q!.type);
        expect(mine.q!.data).toEqual(theirs.q!.data);
        expect(mine.y!.data).toEqual(theirs.y!.data);
      }
    },
  );

  it('says so if channels are as many as scales in no run', async () => {
    const graph: GraphSpec = {
      nodes: [node('QuantizeLinear', ['x', 's'], ['y'], { axis: { int: 0 } })],
      initializers: [scale('s', [1, 2, 3])],
      inputs: [value('x', 'float32', ['n', 2])],
      outputs: [value('y', 'uint8', ['n', 2])],
    };
    const s = await session(write(graph), { name: 'msd', claim: 'all' });
    await expect(s.run({ x: new ort.Tensor('float32', new Float32Array(2), [1, 2]) })).rejects.toThrow(
      'scales, expected 1 along axis 0 of [1, 2], got 3',
    );
    await s.release();
  });

  it('takes int32 sums and codes that are given', async () => {
    const graph: GraphSpec = {
      nodes: [node('DequantizeLinear', ['x', 's'], ['y']), node('DequantizeLinear', ['c', 's', 'z'], ['w'])],
      initializers: [scale('s', 0.013), codes('z', 'int8', [5])],
      inputs: [value('x', 'int32', ['n']), value('c', 'int8', ['n'])],
      outputs: [value('y', 'float32', ['n']), value('w', 'float32', ['n'])],
    };
    const x = Int32Array.of(0, -1, 77, 2 ** 24 + 1, -(2 ** 31), 2 ** 31 - 1);
    const feeds = {
      x: new ort.Tensor('int32', x, [6]),
      c: new ort.Tensor('int8', Int8Array.of(-128, 127, 0, 5, -5, 1), [6]),
    };
    const { mine, theirs } = await both(write(graph), feeds);
    expect(mine.y!.data).toEqual(theirs.y!.data);
    expect(mine.w!.data).toEqual(theirs.w!.data);
  });

  it('leaves a pair out with `relax`, and only then', async () => {
    const graph: GraphSpec = {
      nodes: [
        node('QuantizeLinear', ['x', 's', 'z'], ['q']),
        node('DequantizeLinear', ['q', 's', 'z'], ['d']),
        node('Neg', ['d'], ['y']),
      ],
      initializers: [scale('s', 0.5), codes('z', 'uint8', [128])],
      inputs: [value('x', 'float32', ['n'])],
      outputs: [value('y', 'float32', ['n'])],
    };
    const x = gaussian(random(2), 50);
    const feeds = { x: new ort.Tensor('float32', x, [50]) };
    const exact = await both(write(graph), feeds);
    expect(exact.mine.y!.data).toEqual(exact.theirs.y!.data);
    const relaxed = await both(write(graph), feeds, { relax: true });
    expect(relaxed.mine.y!.data).toEqual(x.map((v) => -v));
  });

  it.each([
    ['uint8', 0],
    ['uint8', 255],
    ['int8', -128],
  ] as const)('keeps the ends of codes of one sign with `relax`: %s with zero point %i', async (type, zero) => {
    const graph: GraphSpec = {
      nodes: [
        node('QuantizeLinear', ['x', 's', 'z'], ['q']),
        node('DequantizeLinear', ['q', 's', 'z'], ['d']),
        node('Neg', ['d'], ['y']),
      ],
      initializers: [scale('s', 2 ** -6), codes('z', type, [zero])],
      inputs: [value('x', 'float32', ['n'])],
      outputs: [value('y', 'float32', ['n'])],
    };
    const x = gaussian(random(3), 99).map((v) => 4 * v);
    const { mine } = await both(write(graph), { x: new ort.Tensor('float32', x, [99]) }, { relax: true });
    const [least, most] = zero === 255 ? [-255 / 64, 0] : [0, 255 / 64];
    expect(mine.y!.data).toEqual(x.map((v) => -Math.min(most, Math.max(least, v))));
  });
});

interface ProductCase {
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly aType: 'uint8';
  readonly bType: 'uint8' | 'int8';
  readonly perColumn: boolean;
  readonly zeros: boolean;
  readonly seed: number;
}

/** Real weights, and what they are to MSD: for the bound. */
function weightsOf({ K, N, bType, perColumn, zeros }: ProductCase, next: () => number) {
  const b = bytesOf(bType, K * N, () => next() * 256);
  const count = perColumn ? N : 1;
  const scales = Float32Array.from({ length: count }, () => (next() - 0.4) / 50);
  const zero = bytesOf(bType, count, () => (zeros ? next() * 200 - (bType === 'int8' ? 100 : 0) : 0));
  const data = bytesOf(bType, K * N, (i) => b[(i % K) * N + Math.floor(i / K)]!);
  const weights: QuantizedWeights = { format: 'int8', N, K, blockSize: null, data, scales, zeroPoints: zero };
  return { b, scales, zero, weights };
}

describe('products of codes', () => {
  const cases = fc.record({
    M: fc.constantFrom(0, 1, 3, 7),
    K: fc.constantFrom(1, 5, 32, 70, 300),
    N: fc.constantFrom(1, 3, 16, 37),
    aType: fc.constantFrom('uint8' as const),
    bType: fc.constantFrom('uint8' as const, 'int8' as const),
    perColumn: fc.boolean(),
    zeros: fc.boolean(),
    seed: fc.integer({ min: 1, max: 1000 }),
  });

  /**
   * A code may be another one only where the exact value r, in steps of Y, is as near to the middle between two as the error of the product,
   * and of the three f32 roundings behind it.
   */
  function check(got: ArrayLike<number>, r: Float64Array, bound: Float64Array, zeroPoint: number): void {
    for (let i = 0; i < r.length; i++) {
      const wanted = (v: number) => Math.min(255, Math.max(0, Math.round(v) + zeroPoint));
      const slack = bound[i]! + 4 * 2 ** -24 * Math.abs(r[i]!) + 1e-9;
      expect([got[i], i, r[i]]).toSatisfy(
        ([code]: number[]) => code! >= wanted(r[i]! - slack) && code! <= wanted(r[i]! + slack),
      );
    }
  }

  it.each(['QLinearMatMul', 'QGemm'] as const)('%s', { timeout: 120_000 }, async (opType) => {
    await fc.assert(
      fc.asyncProperty(cases, async (given) => {
        const { M, K, N, aType, bType, perColumn, seed } = given;
        const next = random(seed);
        const { b, scales, zero, weights } = weightsOf(given, next);
        const a = bytesOf(aType, M * K, () => next() * 256);
        const [aScale, aZero, yScale, yZero] = [Math.fround(0.02), 113, Math.fround(0.02 * Math.sqrt(K)), 131];
        const isGemm = opType === 'QGemm';
        const c = Int32Array.from({ length: N }, () => next() * 2e4 - 1e4);
        const columns = perColumn ? [N] : [];
        const inputs = isGemm
          ? ['a', 'as', 'az', 'b', 'bs', 'bz', 'c', 'ys', 'yz']
          : ['a', 'as', 'az', 'b', 'bs', 'bz', 'ys', 'yz'];
        const graph: GraphSpec = {
          nodes: [
            {
              ...node(opType, inputs, ['y'], isGemm ? { alpha: { float: 1 } } : {}),
              ...(isGemm && { domain: 'com.microsoft' }),
            },
          ],
          initializers: [
            scale('as', aScale),
            codes('az', aType, [aZero]),
            { name: 'b', dtype: bType, dims: [K, N], data: b },
            scale('bs', [...scales], columns),
            codes('bz', bType, [...zero], columns),
            { name: 'c', dtype: 'int32', dims: [N], data: c },
            scale('ys', yScale),
            codes('yz', 'uint8', [yZero]),
          ],
          inputs: [value('a', aType, ['m', K])],
          outputs: [value('y', 'uint8', ['m', N])],
        };
        const bytes = write(graph);
        const mine = await session(bytes, { name: 'msd', claim: 'all' });
        expect(reportOf(mine)!.nodes.map(({ where }) => where)).toEqual(['msd']);
        const feeds = { a: new ort.Tensor(aType, a, [M, K]) };
        const got = (await mine.run(feeds)).y!;
        expect(got.dims).toEqual([M, N]);
        const x = Float32Array.from(a, (code) => code - aZero);
        const factor = aScale / yScale;
        const at = (n: number) => (perColumn ? n : 0);
        const r = Float64Array.from({ length: M * N }, (_, i) => {
          const [m, n] = [Math.floor(i / N), i % N];
          let sum = isGemm ? c[n]! : 0;
          for (let k = 0; k < K; k++) sum += x[m * K + k]! * (b[k * N + n]! - zero[at(n)]!);
          return sum * scales[at(n)]! * factor;
        });
        const bound = errorBound(x, weights).map((error) => error * factor);
        check(got.data as Uint8Array, r, bound, yZero);
        const theirs = await session(bytes, 'wasm');
        check((await theirs.run(feeds)).y!.data as Uint8Array, r, new Float64Array(M * N), yZero);
        await mine.release();
        await theirs.release();
      }),
      { numRuns: 15, seed: 7 },
    );
  });
});

describe('functions of codes', () => {
  const functions = [
    ['QLinearAdd', 2, ([a, b]: number[]) => a! + b!],
    ['QLinearMul', 2, ([a, b]: number[]) => a! * b!],
    ['QLinearSigmoid', 1, ([a]: number[]) => 1 / (1 + Math.exp(-a!))],
    ['QLinearLeakyRelu', 1, ([a]: number[]) => (a! < 0 ? a! * Math.fround(0.2) : a!)],
  ] as const;

  it.each(functions)('%s: another code only near the middle between two', async (opType, operands, f) => {
    for (const dtype of ['uint8', 'int8'] as const) {
      const next = random(operands + dtype.length);
      const steps = [0.031, 0.057, 0.043].map(Math.fround);
      const zeros = dtype === 'uint8' ? [128, 3, 77] : [0, -100, 5];
      const count = 600;
      const names = ['a', 'b'].slice(0, operands);
      const inputs = names.flatMap((name, i) => [name, `s${i}`, `z${i}`]);
      const attributes: Record<string, AttributeSpec> = opType === 'QLinearLeakyRelu' ? { alpha: { float: 0.2 } } : {};
      const graph: GraphSpec = {
        nodes: [{ ...node(opType, [...inputs, 's2', 'z2'], ['y'], attributes), domain: 'com.microsoft' }],
        initializers: steps.flatMap((step, i) => [scale(`s${i}`, step), codes(`z${i}`, dtype, [zeros[i]!])]),
        inputs: names.map((name) => value(name, dtype, ['n'])),
        outputs: [value('y', dtype, ['n'])],
      };
      const feeds: Record<string, ort.Tensor> = {};
      const given = names.map((name) => {
        const data = bytesOf(dtype, count, () => next() * 256 - (dtype === 'int8' ? 128 : 0));
        feeds[name] = new ort.Tensor(dtype, data, [count]);
        return data;
      });
      const { mine, theirs } = await both(write(graph), feeds);
      const [low, high] = dtype === 'uint8' ? [0, 255] : [-128, 127];
      for (let i = 0; i < count; i++) {
        const numbers = given.map((data, at) => (data[i]! - zeros[at]!) * steps[at]!);
        const exact = f(numbers) / steps[2]!;
        // A handful of roundings of what is added up.
        const most = Math.max(...numbers.map(Math.abs), Math.abs(f(numbers)), 1) / steps[2]!;
        const slack = 16 * 2 ** -24 * most;
        for (const [who, got] of [
          ['msd', mine],
          ['ort', theirs],
        ] as const) {
          const code = (got.y!.data as Int8Array)[i]! - zeros[2]!;
          const near = Math.min(high! - zeros[2]!, Math.max(low! - zeros[2]!, exact));
          expect(Math.abs(code - near), `${who} ${dtype} [${i}] ${exact}`).toBeLessThanOrEqual(0.5 + slack);
        }
      }
    }
  });

  it('QLinearConcat', async () => {
    const graph: GraphSpec = {
      nodes: [
        {
          ...node('QLinearConcat', ['s2', 'z2', 'a', 's0', 'z0', 'b', 's2', 'z2'], ['y'], { axis: { int: -1 } }),
          domain: 'com.microsoft',
        },
      ],
      initializers: [
        ...[scale('s0', 0.5), scale('s2', 0.25)],
        ...[codes('z0', 'uint8', [10]), codes('z2', 'uint8', [20])],
      ],
      inputs: [value('a', 'uint8', ['n', 3]), value('b', 'uint8', ['n', 2])],
      outputs: [value('y', 'uint8', ['n', 5])],
    };
    const feeds = {
      a: new ort.Tensor('uint8', Uint8Array.of(0, 10, 20, 255, 100, 9), [2, 3]),
      b: new ort.Tensor('uint8', Uint8Array.of(1, 2, 3, 255), [2, 2]),
    };
    const { mine, theirs } = await both(write(graph), feeds);
    expect(mine.y!.data).toEqual(theirs.y!.data);
  });
});

describe('QAttention', () => {
  it.each([
    ['codes', 0],
    ['codes', 1],
    ['DynamicQuantizeLinear', 0],
  ] as const)('of %s, unidirectional %d', async (from, unidirectional) => {
    const next = random(21);
    const [B, S, D, H] = [2, 9, 32, 4];
    const weights = Int8Array.from({ length: D * 3 * D }, () => next() * 256 - 128);
    const isDynamic = from === 'DynamicQuantizeLinear';
    const graph: GraphSpec = {
      nodes: [
        isDynamic
          ? node('DynamicQuantizeLinear', ['x'], ['q', 's', 'z'])
          : node('QuantizeLinear', ['x', 's', 'z'], ['q']),
        {
          ...node('QAttention', ['q', 'w', 'bias', 's', 'ws', 'mask', 'z', 'wz'], ['y'], {
            num_heads: { int: H },
            unidirectional: { int: unidirectional },
          }),
          domain: 'com.microsoft',
        },
      ],
      initializers: [
        { name: 'w', dtype: 'int8', dims: [D, 3 * D], data: weights },
        { name: 'bias', dtype: 'float32', dims: [3 * D], data: gaussian(next, 3 * D) },
        scale('ws', 0.004),
        codes('wz', 'int8', [0]),
        ...(isDynamic ? [] : [scale('s', 0.03), codes('z', 'uint8', [120])]),
      ],
      inputs: [value('x', 'float32', ['b', 's', D]), { name: 'mask', dtype: 'int32', dims: ['b'] }],
      outputs: [value('y', 'float32', ['b', 's', D])],
    };
    const x = new ort.Tensor('float32', gaussian(next, B * S * D), [B, S, D]);
    const { mine, theirs } = await both(write(graph), { x, mask: new ort.Tensor('int32', Int32Array.of(S, 5), [B]) });
    // Codes are the same, attention is what two components give; ONNX Runtime's dynamic ones lose 8 bits' worth, which MSD does not.
    expect(relativeL2(floats(mine.y), floats(theirs.y))).toBeLessThan(isDynamic ? 2e-2 : CLOSE);
  });
});

describe('what stays ONNX Runtime’s', () => {
  const step = scale('s', 0.5);
  const zero = codes('z', 'uint8', [3]);
  const weightsZero = codes('wz', 'int8', [0]);
  const weights: TensorSpec = { name: 'w', dtype: 'int8', dims: [4, 4], data: new Int8Array(16) };
  const ms = (opType: string, inputs: string[], attributes: Record<string, AttributeSpec> = {}) => ({
    ...node(opType, inputs, ['y'], attributes),
    domain: 'com.microsoft',
  });
  const gemm = (c: string, attributes: Record<string, AttributeSpec> = {}) =>
    ms('QGemm', ['a', 's', 'z', 'w', 's', '', c, 's', 'z'], attributes);

  const cases: readonly [string, NodeSpec, readonly TensorSpec[]][] = [
    [
      'QuantizeLinear: the scale of y is not one constant number',
      node('QuantizeLinear', ['x', 'ss'], ['y']),
      [scale('ss', [1, 2, 3, 4], [2, 2])],
    ],
    [
      'QuantizeLinear: axis 3 of 3 dimensions',
      node('QuantizeLinear', ['x', 'ss'], ['y'], { axis: { int: 3 } }),
      [scale('ss', [1, 2, 3, 4])],
    ],
    [
      'QuantizeLinear: the zero points of y are not 4 constants',
      node('QuantizeLinear', ['x', 'ss', 'z'], ['y']),
      [scale('ss', [1, 2, 3, 4]), zero],
    ],
    [
      'QuantizeLinear: zero points of y are int32',
      node('QuantizeLinear', ['x', 'ss', 'zz'], ['y']),
      [scale('ss', [1, 2, 3, 4]), { name: 'zz', dtype: 'int32', dims: [4], data: new Int32Array(4) }],
    ],
    [
      'QuantizeLinear: scales of y are float16',
      node('QuantizeLinear', ['x', 'ss'], ['y']),
      [{ name: 'ss', dtype: 'float16', dims: [4], data: Uint16Array.of(1, 2, 3, 4) }],
    ],
    [
      'QuantizeLinear: the zero point of y is not one constant number',
      node('QuantizeLinear', ['x', 's', 'a'], ['y']),
      [step],
    ],
    ['QuantizeLinear: y is int4', node('QuantizeLinear', ['x', 's'], ['y'], { output_dtype: { int: 22 } }), [step]],
    ['DequantizeLinear: x is float32', node('DequantizeLinear', ['x', 's'], ['y']), [step]],
    [
      'QLinearMatMul: B is not constant',
      node('QLinearMatMul', ['a', 's', 'z', 'a', 's', 'z', 's', 'z'], ['y']),
      [step, zero],
    ],
    [
      'QLinearMatMul: the scale of B is not constant',
      node('QLinearMatMul', ['a', 's', 'z', 'w', 'x', 'wz', 's', 'z'], ['y']),
      [step, zero, weightsZero, weights],
    ],
    [
      'QLinearMatMul: zero points of B are not constant',
      node('QLinearMatMul', ['a', 's', 'z', 'w', 's', 'x', 's', 'z'], ['y']),
      [step, zero, weights],
    ],
    [
      'QLinearMatMul: A is float32',
      node('QLinearMatMul', ['x', 's', 'z', 'w', 's', 'wz', 's', 'z'], ['y']),
      [step, zero, weightsZero, weights],
    ],
    ['QGemm: A is transposed', gemm('', { transA: { int: 1 } }), [step, zero, weights]],
    ['QGemm: C is not a constant of int32', gemm('s'), [step, zero, weights]],
    [
      'QGemm: C has shape [1]',
      gemm('c'),
      [step, zero, weights, { name: 'c', dtype: 'int32', dims: [1], data: Int32Array.of(1) }],
    ],
    ['QLinearAdd: operand 1 is float32', ms('QLinearAdd', ['a', 's', 'z', 'x', 's', 'z', 's', 'z']), [step, zero]],
    [
      'QAttention: input is float32',
      ms('QAttention', ['x', 'w', '', 's', 's'], { num_heads: { int: 1 } }),
      [step, zero, weights],
    ],
    [
      'QAttention: B is not constant',
      ms('QAttention', ['a', 'a', '', 's', 's', '', 'z'], { num_heads: { int: 1 } }),
      [step, zero, weights],
    ],
  ];

  it.each(cases)('%s', (reason, each, initializers) => {
    const graph: GraphSpec = {
      nodes: [each],
      initializers,
      inputs: [value('x', 'float32', ['b', 'm', 4]), value('a', 'uint8', ['b', 4])],
      outputs: [{ name: 'y' }],
    };
    const typed = inferTypes(foldConstants(buildGraph(readModel(bytesSource(write(graph, 23))))));
    expect([...matchNodes(typed).values()]).toEqual([reason]);
  });

  it('are products of codes with `exact`', () => {
    const graph: GraphSpec = {
      nodes: [node('QLinearMatMul', ['a', 's', 'z', 'w', 's', 'wz', 's', 'z'], ['y'])],
      initializers: [step, zero, weightsZero, weights],
      inputs: [value('a', 'uint8', ['b', 4])],
      outputs: [{ name: 'y' }],
    };
    const typed = inferTypes(foldConstants(buildGraph(readModel(bytesSource(write(graph))))));
    expect([...matchNodes(typed, { exact: true }).values()]).toEqual([expect.stringContaining("option 'exact'")]);
    expect([...matchNodes(typed).values()]).toEqual([expect.objectContaining({ op: 'product' })]);
  });
});
