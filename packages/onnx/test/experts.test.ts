/** QMoE against float64, onnxruntime-web alongside. */

import { type ArenaHandle, toFp16 } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { Experts } from '../src/execute/experts.ts';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import type { ExpertsStep, Slot } from '../src/ops/lowering.ts';
import { matchNodes } from '../src/passes/match.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import type { AttributeSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { CLOSE, relativeL2 } from './close.ts';
import { gaussian, model, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

await loadOperators();

interface MoeOptions {
  readonly experts?: number;
  readonly k?: number;
  readonly hidden?: number;
  readonly inner?: number;
  readonly bits?: 2 | 4 | 8;
  /** 0: one scale per row. */
  readonly blockSize?: number;
  readonly zeroPoints?: boolean;
  readonly bias?: boolean;
  readonly activation?: string;
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  /** More operands, from the ninth on. */
  readonly more?: readonly string[];
  /** Weights of their own, beside the scores that choose. */
  readonly weighted?: boolean;
  /** float16 between casts. */
  readonly half?: boolean;
  /** All constants are `Constant` nodes, whose tensors have no names. */
  readonly unnamed?: boolean;
}

const cast = (from: string, to: string, elemType: number): NodeSpec => ({
  opType: 'Cast',
  name: to,
  inputs: [from],
  outputs: [to],
  attributes: { to: { int: elemType } },
});

type Activation = (row: Float64Array) => Float64Array;

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

const activations: Readonly<Record<string, (attributes: (name: string, otherwise: number) => number) => Activation>> = {
  relu: () => (row) => row.map((x) => Math.max(0, x)),
  silu: () => (row) => row.map((x) => x * sigmoid(x)),
  gelu: () => (row) => row.map((x) => 0.5 * x * (1 + Math.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))),
  identity: () => (row) => row,
  swiglu: (attribute) => (row) => {
    const [alpha, beta] = [attribute('activation_alpha', 1), attribute('activation_beta', 0)];
    const limit = attribute('swiglu_limit', Number.POSITIVE_INFINITY);
    return Float64Array.from({ length: row.length / 2 }, (_, i) => {
      const g = Math.min(row[2 * i]!, limit);
      const v = Math.max(-limit, Math.min(row[2 * i + 1]!, limit));
      return g * sigmoid(alpha * g) * (v + beta);
    });
  },
};

const float = (value: number): AttributeSpec => ({ float: value });
const GATE: Readonly<Record<string, AttributeSpec>> = {
  activation_alpha: float(1.702),
  activation_beta: float(1),
  swiglu_limit: float(7),
  swiglu_fusion: { int: 1 },
};

function moe(options: MoeOptions) {
  const { experts = 4, k = 2, hidden = 64, inner = 32, bits = 4, blockSize = 32 } = options;
  const { zeroPoints = false, bias = true, activation = 'swiglu', more = [] } = options;
  const { weighted = false, half = false, unnamed = false } = options;
  const dtype = half ? 'float16' : 'float32';
  const stored = (values: Float32Array) => (half ? Uint16Array.from(values, toFp16) : values);
  const attributes = options.attributes ?? (activation === 'swiglu' ? GATE : {});
  const next = random(hidden + inner + bits);
  const rows = activation === 'swiglu' ? 2 * inner : inner;
  const part = (name: string, N: number, K: number) => {
    const blocks = blockSize === 0 ? 1 : Math.ceil(K / blockSize);
    const data = Uint8Array.from({ length: (experts * N * K * bits) / 8 }, () => next() * 256);
    const scales = Float32Array.from({ length: experts * N * blocks }, () => (next() - 0.4) / 2 ** bits);
    const zeroBytes = Math.ceil((blocks * bits) / 8);
    const zeros = Uint8Array.from({ length: experts * N * zeroBytes }, () => next() * 256);
    const biases = gaussian(next, experts * N);
    const code = (bytes: Uint8Array, row: number, i: number) =>
      (bytes[row + Math.floor((i * bits) / 8)]! >> ((i * bits) % 8)) & (2 ** bits - 1);
    const weight = (row: number, j: number) => {
      const block = blockSize === 0 ? 0 : Math.floor(j / blockSize);
      const zero = zeroPoints ? code(zeros, row * zeroBytes, block) : 2 ** (bits - 1);
      return scales[row * blocks + block]! * (code(data, (row * K * bits) / 8, j) - zero);
    };
    const tensors: TensorSpec[] = [
      { name: `${name}_w`, dtype: 'uint8', dims: [experts, N, (K * bits) / 8], data },
      {
        name: `${name}_s`,
        dtype,
        dims: blockSize === 0 ? [experts, N] : [experts, N, blocks],
        data: stored(scales),
      },
      ...(bias ? [{ name: `${name}_b`, dtype, dims: [experts, N], data: stored(biases) } as const] : []),
      ...(zeroPoints
        ? [{ name: `${name}_z`, dtype: 'uint8' as const, dims: [experts, N, zeroBytes], data: zeros }]
        : []),
    ];
    const apply = (e: number, x: Float64Array) =>
      Float64Array.from({ length: N }, (_, n) => {
        let sum = bias ? biases[e * N + n]! : 0;
        for (let j = 0; j < K; j++) sum += x[j]! * weight(e * N + n, j);
        return sum;
      });
    return { tensors, apply, names: [`${name}_w`, `${name}_s`, bias ? `${name}_b` : ''], zero: `${name}_z` };
  };
  const [up, down] = [part('fc1', rows, hidden), part('fc2', hidden, inner)];
  const halves = half ? ['x', 'scores'].map((name) => cast(name, `${name} half`, 10)) : [];
  const inputs = [...(half ? ['x half', 'scores half'] : ['x', 'scores']), ...up.names, ...down.names];
  if (zeroPoints) inputs.push('', '', '', up.zero, down.zero);
  inputs.push(...more);
  if (weighted) inputs.push(...new Array<string>(14 - inputs.length).fill(''), 'weights');
  const tensors = [...up.tensors, ...down.tensors];
  const nodes = tensors.map(
    (each): NodeSpec => ({
      opType: 'Constant',
      inputs: [],
      outputs: [each.name],
      attributes: { value: { tensor: { ...each, name: '' } } },
    }),
  );
  const bytes = model({
    nodes: [
      ...(unnamed ? nodes : []),
      ...halves,
      {
        opType: 'QMoE',
        domain: 'com.microsoft',
        name: 'experts',
        inputs,
        outputs: [half ? 'y half' : 'y'],
        attributes: {
          k: { int: k },
          activation_type: { string: activation },
          expert_weight_bits: { int: bits },
          normalize_routing_weights: { int: 1 },
          ...(blockSize > 0 && { block_size: { int: blockSize } }),
          ...attributes,
        },
      },
      ...(half ? [cast('y half', 'y', 1)] : []),
    ],
    initializers: unnamed ? [] : tensors,
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['rows', hidden] },
      { name: 'scores', dtype: 'float32', dims: ['rows', experts] },
      ...(weighted ? [{ name: 'weights', dtype: 'float32' as const, dims: ['rows', experts] }] : []),
    ],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', hidden] }],
  });
  const act = activations[activation]!((name, otherwise) => {
    const given = attributes[name];
    return given && 'float' in given ? Math.fround(given.float) : otherwise;
  });
  const exact = (x: Float32Array, scores: Float32Array): Float64Array => {
    const y = new Float64Array(x.length);
    for (let m = 0; m < x.length / hidden; m++) {
      const own = [...scores.subarray(m * experts, (m + 1) * experts)];
      const order = own.map((_, e) => e).sort((a, b) => own[b]! - own[a]! || b - a);
      const chosen = order.slice(0, k);
      const sum = chosen.reduce((total, e) => total + Math.exp(own[e]! - own[chosen[0]!]!), 0);
      for (const e of chosen) {
        const row = Float64Array.from(x.subarray(m * hidden, (m + 1) * hidden));
        const result = down.apply(e, act(up.apply(e, row)));
        for (let j = 0; j < hidden; j++)
          y[m * hidden + j]! += (Math.exp(own[e]! - own[chosen[0]!]!) / sum) * result[j]!;
      }
    }
    return y;
  };
  return { bytes, exact, hidden, experts };
}

describe('QMoE', () => {
  it.each<[string, MoeOptions, number]>([
    ['swiglu, one row', {}, 1],
    ['swiglu, rows', {}, 7],
    ['many rows and experts', { experts: 17, k: 3, hidden: 96, inner: 64 }, 40],
    ['without bias, k 1', { bias: false, k: 1 }, 3],
    ['every expert', { experts: 3, k: 3 }, 2],
    ['without a limit, alpha and beta as they are', { attributes: { swiglu_fusion: { int: 1 } } }, 3],
    ['zero points', { zeroPoints: true, hidden: 128, inner: 64 }, 3],
    ['8 bits', { bits: 8, blockSize: 64, hidden: 128, inner: 64 }, 3],
    ['8 bits, zero points', { bits: 8, zeroPoints: true, inner: 64 }, 3],
    ['8 bits, scales of rows', { bits: 8, blockSize: 0, inner: 24, hidden: 40 }, 3],
    ['4 bits, scales of rows', { blockSize: 0, inner: 48, hidden: 80 }, 3],
    ['blocks of 16', { blockSize: 16, inner: 16, hidden: 48 }, 3],
    ['2 bits', { bits: 2, blockSize: 32, inner: 64 }, 3],
    ['relu', { activation: 'relu' }, 5],
    ['silu', { activation: 'silu' }, 5],
    ['gelu', { activation: 'gelu' }, 5],
    ['identity', { activation: 'identity' }, 5],
    ['tensors without names', { activation: 'relu', unnamed: true }, 5],
    ['weights that are not normalized', { attributes: { ...GATE, normalize_routing_weights: { int: 0 } } }, 5],
    ['no rows', {}, 0],
  ])('%s', async (_, options, rows) => {
    const { bytes, exact, hidden, experts } = moe(options);
    const x = gaussian(random(7), rows * hidden);
    const scores = gaussian(random(8), rows * experts);
    if (rows > 2) scores.fill(0.5, 0, experts); // which of equal ones?
    const feeds = { x: tensor(x, [rows, hidden]), scores: tensor(scores, [rows, experts]) };
    const want = exact(x, scores);
    const msd = await session(bytes, { name: 'msd', debug: true });
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    for (let run = 0; run < 2; run++) {
      const { y } = await msd.run(feeds);
      expect(y!.dims).toEqual([rows, hidden]);
      expect(relativeL2(floats(y), want)).toBeLessThan(CLOSE);
    }
    if (rows > 0) expect(reportOf(msd)!.nodes[0]!.kernel).toContain('gemm');
    await msd.release();
    if (rows === 0) return;
    const plain = await session(bytes, 'wasm');
    const expected = floats((await plain.run(feeds)).y as ort.Tensor);
    expect(relativeL2(expected, want)).toBeLessThan(1e-5);
    await plain.release();
  });

  it.each<[string, MoeOptions]>([
    [
      'weights of their own, as they are',
      { weighted: true, attributes: { ...GATE, normalize_routing_weights: { int: 0 } } },
    ],
    ['weights of their own, normalized', { weighted: true }],
    ['float16', { half: true, zeroPoints: true, hidden: 128, inner: 64 }],
  ])('%s: beside onnxruntime-web', async (_, options) => {
    const { bytes, hidden, experts } = moe(options);
    const [x, scores] = [gaussian(random(7), 5 * hidden), gaussian(random(8), 5 * experts)];
    const weights = tensor(gaussian(random(9), 5 * experts), [5, experts]);
    const feeds = {
      x: tensor(x, [5, hidden]),
      scores: tensor(scores, [5, experts]),
      ...(options.weighted && { weights }),
    };
    const [msd, plain] = [await session(bytes, { name: 'msd', debug: true }), await session(bytes, 'wasm')];
    expect(reportOf(msd)!.foreignSessions).toBe(0);
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    expect(relativeL2(floats(got.y), floats(want.y))).toBeLessThan(options.half ? 2 ** -10 : 5e-4);
    await Promise.all([msd.release(), plain.release()]);
  });

  it('adds up what it has, wherever memory lies after a call was made', () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const arena = {
      float32: ({ ptr, byteLength }: ArenaHandle) => new Float32Array(memory.buffer, ptr, byteLength / 4),
    };
    let end = 0;
    const handles = new Map<Slot, ArenaHandle>();
    const slot = (...dims: number[]): Slot => {
      const made = { dtype: 'f32', dims } as unknown as Slot;
      const byteLength = 4 * dims.reduce((a, b) => a * b, 1);
      handles.set(made, { arena, ptr: end, byteLength } as unknown as ArenaHandle);
      end += byteLength;
      return made;
    };
    const [M, k, hidden, inner] = [3, 2, 4, 8];
    const weights = slot(M, 2);
    const room = { weights: slot(M, k), rows: slot(M, hidden), up: [slot(M, inner)], act: slot(M, inner) };
    const [down, y] = [slot(M, hidden), slot(M, hidden)];
    const step = {
      ...{ kind: 'experts', x: slot(M, hidden), scores: slot(M, 2), k, weights: { slot: weights, normalized: true } },
      ...{ experts: [1, 2].map(() => ({ up: ['up'], down: 'down' })), inner, room: { ...room, down }, y },
    } as unknown as ExpertsStep;
    const device = {
      part: (handle: ArenaHandle) => handle,
      bind: () => {
        memory.grow(1);
        return { kernels: [] };
      },
      run: () => arena.float32(handles.get(down)!).fill(1),
    };
    arena.float32(handles.get(weights)!).fill(1);
    const shop = { device, residents: { matrix: () => undefined }, split: {} };
    new Experts(shop as unknown as ConstructorParameters<typeof Experts>[0], step, (of) => handles.get(of)!).run();
    expect(arena.float32(handles.get(y)!)).toEqual(new Float32Array(M * hidden).fill(1));
  });

  it('has the same bits with every carrier, and however many rows there are', async () => {
    const { bytes, hidden, experts } = moe({ experts: 5, k: 2 });
    const rows = 9;
    const x = gaussian(random(1), rows * hidden);
    const scores = gaussian(random(2), rows * experts);
    const results: Float32Array[] = [];
    for (const carrier of ['i16', 'i8'] as const) {
      const msd = await session(bytes, { name: 'msd', carrier, debug: true });
      const run = async (begin: number, count: number) =>
        floats(
          (
            await msd.run({
              x: tensor(x.slice(begin * hidden, (begin + count) * hidden), [count, hidden]),
              scores: tensor(scores.slice(begin * experts, (begin + count) * experts), [count, experts]),
            })
          ).y as ort.Tensor,
        );
      results.push(await run(0, rows));
      const apart = new Float32Array(rows * hidden);
      for (const [begin, count] of [
        [0, 1],
        [1, 4],
        [5, 1],
        [6, 3],
      ] as const)
        apart.set(await run(begin, count), begin * hidden);
      results.push(apart);
      await msd.release();
    }
    for (const result of results.slice(1)) expect(result).toEqual(results[0]);
  });

  it('keeps NaN in its row', async () => {
    const { bytes, hidden, experts } = moe({});
    const x = gaussian(random(1), 4 * hidden);
    const scores = gaussian(random(2), 4 * experts);
    x[hidden] = Number.NaN;
    scores.fill(Number.NaN, 3 * experts);
    const msd = await session(bytes);
    const { y } = await msd.run({ x: tensor(x, [4, hidden]), scores: tensor(scores, [4, experts]) });
    const bad = [0, 1, 2, 3].map((m) =>
      floats(y)
        .subarray(m * hidden, (m + 1) * hidden)
        .some(Number.isNaN),
    );
    expect(bad).toEqual([false, true, false, true]);
    await msd.release();
  });

  it.each<[string, MoeOptions]>([
    ['k 5 of 4 experts', { k: 5 }],
    ['swiglu_fusion 2', { attributes: { ...GATE, swiglu_fusion: { int: 2 } } }],
    ['the sparse mixer', { attributes: { ...GATE, use_sparse_mixer: { int: 1 } } }],
    ['a third product', { more: ['fc1_w', 'fc1_s', ''] }],
    ['zero points of whole rows', { blockSize: 0, bits: 8, zeroPoints: true }],
    ['block_size 48', { attributes: { ...GATE, block_size: { int: 48 } } }],
  ])('leaves to ONNX Runtime: %s', (reason, options) => {
    const record = readModel(bytesSource(moe(options).bytes));
    const [decision] = matchNodes(inferTypes(buildGraph(record))).values();
    expect(decision).toContain(reason);
  });
});
