/** Graphs of one operator that Transformers.js builds, in plain JavaScript: what ONNX Runtime says, without ONNX Runtime. */
import { createRequire } from 'node:module';
import * as hf from '@huggingface/transformers';
import * as ort from 'onnxruntime-web';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { oneOperatorSession } from '../src/one-operator.ts';
import type { OrtModule } from '../src/ort.ts';
import type { GraphSpec } from '../src/write/index.ts';
import { relativeL2 } from './close.ts';
import { gaussian, model, namedOp, random } from './models.ts';

const floats = (name: string, ...dims: (string | number)[]) => ({ name, dtype: 'float32' as const, dims });
const whole = (name: string, ...dims: (string | number)[]) => ({ name, dtype: 'int64' as const, dims });
const TOP_K: GraphSpec = {
  nodes: [{ opType: 'TopK', inputs: ['x', 'k'], outputs: ['v', 'i'] }],
  inputs: [floats('x', 'b', 'n'), whole('k', 1)],
  outputs: [floats('v', 'b', 'k'), whole('i', 'b', 'k')],
};
const MAT_MUL: GraphSpec = {
  nodes: [{ opType: 'MatMul', inputs: ['a', 'b'], outputs: ['c'] }],
  inputs: [floats('a', 'm', 'k'), floats('b', 'k', 'n')],
  outputs: [floats('c', 'm', 'n')],
};

type Session = ort.InferenceSession;
const create = (graph: GraphSpec): Promise<Session> =>
  ort.InferenceSession.create(model(graph), { executionProviders: ['wasm'], logSeverityLevel: 4 });
/** How often ONNX Runtime was asked for a session. */
let asked = 0;
const own = (graph: GraphSpec): Session | undefined =>
  oneOperatorSession(ort as never as OrtModule, model(graph), () => {
    asked++;
    return create(graph);
  }) as Session | undefined;

beforeAll(() => {
  ort.env.wasm.numThreads = 1;
});
beforeEach(() => {
  asked = 0;
});

const tensor = (data: Float32Array, ...dims: number[]) => new ort.Tensor('float32', data, dims);
const count = (k: number | bigint) => new ort.Tensor('int64', BigInt64Array.of(BigInt(k)), [1]);
const said = (results: ort.InferenceSession.OnnxValueMapType) =>
  Object.entries(results).map(([name, value]) => {
    const { type, dims, data } = value as ort.Tensor;
    return [name, type, dims, Array.from(data as Float32Array, (each) => Number(each) + 0)];
  });

describe('TopK', () => {
  let stock: Session;
  beforeAll(async () => {
    stock = await create(TOP_K);
  });

  const odd = Float32Array.of(3, -0, 0, -0, 3, Infinity, -Infinity, 1e-45, -1e-45, 3, -7, 0, 3e38, -3e38, 3, -7);
  const coarse = gaussian(random(4), 4000).map((value) => Math.round(value * 4));
  it.each([
    ['equal ones, zeros of both signs, infinities', odd, [1, 16]],
    ['rows', gaussian(random(1), 900), [3, 300]],
    ['many equal ones', coarse, [2, 2000]],
    ['one element', Float32Array.of(5), [1, 1]],
  ])('is ONNX Runtime’s: %s', async (_, data, dims) => {
    const session = own(TOP_K)!;
    const n = dims[1]!;
    for (const k of [1, 2, 5, 16, 200, 1023, 1024, 1025, n].filter((k) => k <= n)) {
      const feeds = { x: tensor(data, ...dims), k: count(k) };
      expect(said(await session.run(feeds))).toEqual(said(await stock.run(feeds)));
    }
    expect(asked).toBe(0);
    expect(session.inputNames).toEqual(stock.inputNames);
    expect(session.outputNames).toEqual(stock.outputNames);
    expect(session.inputMetadata).toEqual(stock.inputMetadata);
    expect(session.outputMetadata).toEqual(stock.outputMetadata);
    await session.release();
    await session.release();
    await expect(session.run({ x: tensor(data, ...dims), k: count(1) })).rejects.toThrow(/after release/);
  });

  it.each([
    ['NaN', tensor(Float32Array.of(1, Number.NaN, 2), 1, 3), count(2)],
    ['more than there are', tensor(Float32Array.of(1, 2), 1, 2), count(3)],
    ['none', tensor(Float32Array.of(1, 2), 1, 2), count(0)],
    ['fewer than none', tensor(Float32Array.of(1, 2), 1, 2), count(-1)],
    ['a type of another kind', new ort.Tensor('int32', Int32Array.of(1, 2), [1, 2]), count(1)],
    ['nothing', undefined, count(1)],
  ])('of %s is left to ONNX Runtime, and its words', async (_, x, k) => {
    const feeds = { ...(x && { x }), k } as ort.InferenceSession.FeedsType;
    const answer = (session: Session) => session.run(feeds).then((results) => JSON.stringify(said(results)), String);
    const session = own(TOP_K)!;
    expect(await answer(session)).toBe(await answer(stock));
    expect(await answer(session)).toBe(await answer(stock));
    expect(asked).toBe(1);
    await session.release();
  });
});

describe('MatMul', () => {
  /** Bands of a spectrogram: each sees a few frequencies. */
  const filters = new Float32Array(16 * 60).map((_, i) => (Math.abs((i % 60) - 4 * Math.floor(i / 60)) < 3 ? 0.3 : 0));

  it.each([
    ['filters of a spectrogram', filters, [16, 60], 100],
    ['a full matrix', gaussian(random(2), 7 * 60), [7, 60], 9],
    ['no rows', new Float32Array(0), [0, 60], 5],
  ])('is ONNX Runtime’s, and nearer to the truth: %s', async (_, a, dims, N) => {
    const b = gaussian(random(3), 60 * N);
    const feeds = { a: tensor(a, ...dims), b: tensor(b, 60, N) };
    const session = own(MAT_MUL)!;
    const { c } = await session.run(feeds);
    const stock = await create(MAT_MUL);
    const { c: want } = await stock.run(feeds);
    expect(c!.dims).toEqual(want!.dims);
    expect(relativeL2(c!.data as Float32Array, want!.data as Float32Array)).toBeLessThan(1e-6);
    const exact = Array.from({ length: dims[0]! * N }, (_, i) => {
      const [m, n] = [Math.floor(i / N), i % N];
      let sum = 0;
      for (let k = 0; k < 60; k++) sum += a[m * 60 + k]! * b[k * N + n]!;
      return Math.fround(sum);
    });
    expect(Array.from(c!.data as Float32Array)).toEqual(exact);
    expect(asked).toBe(0);
    await stock.release();
  });

  it.each([
    [
      'infinities, which zeros do not undo',
      tensor(filters, 16, 60),
      tensor(new Float32Array(60).fill(Infinity), 60, 1),
    ],
    ['widths that do not fit', tensor(new Float32Array(4), 2, 2), tensor(new Float32Array(3), 3, 1)],
    [
      'much to do',
      tensor(new Float32Array(2 ** 13).fill(1), 1, 2 ** 13),
      tensor(new Float32Array(2 ** 25), 2 ** 13, 2 ** 12),
    ],
  ])('of %s is left to ONNX Runtime', async (_, a, b) => {
    const session = own(MAT_MUL)!;
    const stock = await create(MAT_MUL);
    const answer = (session: Session) => session.run({ a, b }).then((results) => said(results)[0]![3], String);
    expect(await answer(session)).toEqual(await answer(stock));
    expect(asked).toBe(1);
    await session.release();
    await stock.release();
  });
});

describe('other graphs', () => {
  const [node] = TOP_K.nodes as readonly [{ opType: string; inputs: string[]; outputs: string[] }];
  it.each([
    ['another operator', { ...MAT_MUL, nodes: [{ opType: 'Add', inputs: ['a', 'b'], outputs: ['c'] }] }],
    ['operands in another order', { ...MAT_MUL, inputs: [...MAT_MUL.inputs].reverse() }],
    ['an attribute', { ...TOP_K, nodes: [{ ...node, attributes: { largest: { int: 0 } } }] }],
    ['one result', { ...TOP_K, outputs: TOP_K.outputs.slice(0, 1) }],
    ['another type', { ...MAT_MUL, inputs: MAT_MUL.inputs.map((each) => ({ ...each, dtype: 'float16' as const })) }],
    [
      'a constant',
      { ...MAT_MUL, initializers: [{ name: 'b', dtype: 'float32' as const, dims: [1], data: Float32Array.of(1) }] },
    ],
    ['two nodes', { ...MAT_MUL, nodes: [namedOp('Relu', ['a'], 'r'), ...(MAT_MUL.nodes as never[])] }],
  ] as readonly (readonly [string, GraphSpec])[])('are ONNX Runtime’s: %s', (_, graph) => {
    expect(own(graph)).toBeUndefined();
  });

  it('are no reason to fail: bytes that are no model', () => {
    const never = () => Promise.reject(new Error('not asked'));
    for (const bytes of [new Uint8Array(0), Uint8Array.of(1, 2, 3), new TextEncoder().encode('<html>')])
      expect(oneOperatorSession(ort as never as OrtModule, bytes, never)).toBeUndefined();
  });
});

it('is all that Transformers.js needs for ranking, sampling and spectrograms', async () => {
  const require = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));
  const { InferenceSession } = require('onnxruntime-node') as {
    InferenceSession: { create(...args: unknown[]): unknown };
  };
  InferenceSession.create = () => {
    throw new Error('ONNX Runtime was asked');
  };
  await import('../src/transformers.node.ts');
  const { matmul, topk } = hf as unknown as {
    matmul(a: hf.Tensor, b: hf.Tensor): Promise<hf.Tensor>;
    topk(x: hf.Tensor, k: number): Promise<[hf.Tensor, hf.Tensor]>;
  };
  const [values, indices] = await topk(new hf.Tensor('float32', [0.1, 0.7, 0.2], [1, 3]), 2);
  expect([values.dims, ...values.tolist(), ...indices.tolist()]).toEqual([
    [1, 2],
    [Math.fround(0.7), Math.fround(0.2)],
    [1n, 2n],
  ]);
  const a = new hf.Tensor('float32', [1, 0, 2, 0, 3, 0], [2, 3]);
  const product = await matmul(a, new hf.Tensor('float32', [1, 2, 3, 4, 5, 6], [3, 2]));
  expect(product.tolist()).toEqual([
    [11, 14],
    [9, 12],
  ]);
});
