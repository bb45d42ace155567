/**
 * Seeded 4-bit decoders of any shape: the node pattern of today's exports (the story model's graph), random weights, with
 * the biases of Qwen and, if asked, an embedding that stays 4-bit. Activations keep the size that trained ones have, so that
 * results can be compared; nothing else about them is real.
 */
import type { QuantizedWeights } from '@msd/core';
import type { ModelSpec, NodeSpec, TensorSpec } from '@msd/onnx/write';

import type { ModelConfig, WeightArray } from '../../../examples/story-model/src/model.ts';
import { EMBEDDING_NAME, elementCount, weightShapes } from '../../../examples/story-model/src/model.ts';
import { decoderGraph } from '../../../examples/story-model/src/onnx-graph.ts';
import type { ByteRange } from '../../../packages/onnx/src/read/source.ts';
import { gaussian, generator } from './random.ts';

export interface DecoderShape extends ModelConfig {
  readonly name: string;
  /** Of q, k and v. */
  readonly biases: boolean;
}

/** float: f32 rows and a Gather; int4: GatherBlockQuantized on the matrix of the head. */
export type Embedding = 'float' | 'int4';

export const BLOCK_SIZE = 32;
const HEAD = 'lm_head.weight';
const MICROSOFT = 'com.microsoft';

const common = { headDim: 64, context: 8192, normEps: 1e-6 } as const;
export const DECODERS: readonly DecoderShape[] = [
  {
    ...common,
    name: 'qwen2.5-0.5b',
    layers: 24,
    hiddenSize: 896,
    mlpSize: 4864,
    heads: 14,
    kvHeads: 2,
    vocabSize: 151936,
    ropeTheta: 1e6,
    biases: true,
  },
  {
    ...common,
    name: 'smollm2-360m',
    layers: 32,
    hiddenSize: 960,
    mlpSize: 2560,
    heads: 15,
    kvHeads: 5,
    vocabSize: 49152,
    ropeTheta: 1e5,
    biases: false,
  },
  {
    ...common,
    name: 'smollm2-135m',
    layers: 30,
    hiddenSize: 576,
    mlpSize: 1536,
    heads: 9,
    kvHeads: 3,
    vocabSize: 49152,
    ropeTheta: 1e5,
    biases: false,
  },
  {
    // Qwen3's, but for its norms of q and k
    ...common,
    name: 'qwen3-4b',
    context: 40960,
    layers: 36,
    hiddenSize: 2560,
    mlpSize: 9728,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    vocabSize: 151936,
    ropeTheta: 1e6,
    biases: false,
  },
  {
    ...common,
    name: 'small',
    layers: 4,
    hiddenSize: 256,
    mlpSize: 704,
    heads: 4,
    kvHeads: 2,
    vocabSize: 2048,
    ropeTheta: 1e4,
    biases: true,
  },
];

/** The same decoder with so many layers, and so much of everything that makes one wide: heads, MLP, vocabulary. */
export function scaled(shape: DecoderShape, { layers = shape.layers, scale = 1 }): DecoderShape {
  const part = (size: number, unit: number) => Math.max(unit, unit * Math.round((scale * size) / unit));
  const heads = part(shape.heads, shape.kvHeads);
  return {
    ...shape,
    layers,
    heads,
    hiddenSize: (shape.hiddenSize / shape.heads) * heads,
    mlpSize: part(shape.mlpSize, BLOCK_SIZE),
    vocabSize: part(shape.vocabSize, BLOCK_SIZE),
  };
}

/** [N, K] of each matrix by the name of its weight; those of the head and of every layer. */
function linearShapes(shape: DecoderShape): [string, readonly number[]][] {
  const matrices = [...weightShapes(shape)].filter(([name, dims]) => dims.length === 2 && name !== EMBEDDING_NAME);
  return [...matrices, [HEAD, [shape.vocabSize, shape.hiddenSize]]];
}

/** Multiply-accumulates of one token in the matrices. */
export const macsPerToken = (shape: DecoderShape): number =>
  linearShapes(shape).reduce((sum, [, dims]) => sum + elementCount(dims), 0);

/** Bytes that are made when they are asked for: a model of gigabytes is never in memory as a whole. */
interface Deferred {
  readonly byteLength: number;
  /** Fills `out` with the bytes from `offset` on. */
  fill(offset: number, out: Uint8Array): void;
}

/** @returns what `writeModel` takes; large tensors are made when they are read */
export function decoderModel(shape: DecoderShape, embedding: Embedding): ModelSpec {
  const deferred = new Map<ArrayBufferView, Deferred>();
  /** An array that holds the place of one. */
  const defer = <T extends ArrayBufferView>(empty: T, content: Deferred): T => {
    deferred.set(empty, content);
    return empty;
  };
  const weights = new Map<string, WeightArray>();
  for (const [name, dims] of weightShapes(shape))
    if (dims.length === 1) weights.set(name, { shape: dims, data: normGains(name, dims[0]!) });
  const table = defer(new Float32Array(0), floatTable(shape.vocabSize * shape.hiddenSize));
  weights.set(EMBEDDING_NAME, { shape: [shape.vocabSize, shape.hiddenSize], data: table });
  const linears = new Map<string, QuantizedWeights>();
  for (const [name, dims] of linearShapes(shape)) {
    const { N, K, data, scales } = randomMatrix(name, dims);
    linears.set(name, {
      format: 'int4',
      N,
      K,
      blockSize: BLOCK_SIZE,
      data: defer(new Uint8Array(0), data),
      scales: defer(new Float32Array(0), scales),
    });
  }
  const model = decoderGraph(shape, weights, linears);
  const initializers = (model.graph.initializers as TensorSpec[])
    .filter(({ name }) => embedding === 'float' || name !== EMBEDDING_NAME)
    .map((tensor) => {
      const content = deferred.get(tensor.data as ArrayBufferView);
      return content ? { ...tensor, data: rangeOf(tensor.name, content) } : tensor;
    });
  const steps = [shape.biases ? withBiases : undefined, embedding === 'int4' ? withQuantizedTable : undefined];
  const made = withGraph(model, model.graph.nodes as NodeSpec[], initializers);
  return steps.reduce((before, step) => (step ? step(before) : before), made);
}

function rangeOf(name: string, { byteLength, fill }: Deferred): ByteRange {
  const read = (offset: number, length: number, into?: Uint8Array): Uint8Array => {
    const out = into?.subarray(0, length) ?? new Uint8Array(length);
    fill(offset, out);
    return out;
  };
  return { source: { name, byteLength, read, close: () => {} }, offset: 0, length: byteLength };
}

const seedOf = (name: string): number =>
  [...name].reduce((hash, char) => Math.imul(hash ^ char.charCodeAt(0), 16777619), 7);

/** Around 1, four of them eight times as large: what decompositions have to cope with. */
function normGains(name: string, length: number): Float32Array<ArrayBuffer> {
  const random = generator(seedOf(name));
  const gains = Float32Array.from({ length }, () => 0.8 + 0.4 * random());
  for (let i = 0; i < 4; i++) gains[Math.floor(random() * length)]! *= 8;
  return gains;
}

/** Of prime length, so that no two rows of a matrix that repeats it are alike. */
const POOL = 1_000_003;
const CODE_DEVIATION = 2.8;
/** Of codes, two in a byte, around 8. */
let codePool: Uint8Array | undefined;

function makeCodePool(): Uint8Array {
  const code = (value: number) => Math.max(0, Math.min(15, Math.round(8 + value)));
  const values = gaussian(2 * POOL, 1, CODE_DEVIATION);
  return Uint8Array.from({ length: POOL }, (_, i) => code(values[2 * i]!) | (code(values[2 * i + 1]!) << 4));
}

/** `pool` over and over, from a byte of it on. */
function repeated(pool: Uint8Array, from: number, byteLength: number): Deferred {
  const fill = (offset: number, out: Uint8Array): void => {
    for (let at = 0, start = (from + offset) % pool.length; at < out.length; start = 0) {
      const piece = pool.subarray(start, start + out.length - at);
      out.set(piece, at);
      at += piece.length;
    }
  };
  return { byteLength, fill };
}

function floatTable(length: number): Deferred {
  return repeated(new Uint8Array(new Float32Array(gaussian(POOL, 2)).buffer), 0, 4 * length);
}

/** How large a matrix's results are beside its input: what each layer adds to the residual stream stays small. */
const GAINS: readonly (readonly [RegExp, number])[] = [
  [/[qk]_proj/, 0.8],
  [/o_proj/, 0.5],
  [/down_proj/, 0.8],
  [/lm_head/, 1.8],
];

function randomMatrix(name: string, [N = 0, K = 0]: readonly number[]) {
  codePool ??= makeCodePool();
  const random = generator(seedOf(name));
  const gain = GAINS.find(([pattern]) => pattern.test(name))?.[1] ?? 1;
  const step = gain / (CODE_DEVIATION * Math.sqrt(K));
  const data = repeated(codePool, Math.floor(random() * POOL), (N * K) / 2);
  let values: Float32Array | undefined;
  const count = (N * K) / BLOCK_SIZE;
  const scales: Deferred = {
    byteLength: 4 * count,
    fill(offset, out) {
      values ??= Float32Array.from({ length: count }, () => step * (0.8 + 0.4 * random()));
      out.set(new Uint8Array(values.buffer, offset, out.length));
      if (offset + out.length === 4 * count) values = undefined;
    },
  };
  return { N, K, data, scales };
}

/** An Add after each of q, k and v. */
function withBiases(model: ModelSpec): ModelSpec {
  const nodes: NodeSpec[] = [];
  const biases: TensorSpec[] = [];
  const renamed = new Map<string, string>();
  for (const node of model.graph.nodes as NodeSpec[]) {
    nodes.push({ ...node, inputs: node.inputs.map((name) => renamed.get(name) ?? name) });
    const path = /^(\/model\/layers\.\d+\/attn\/[qkv]_proj)\/MatMul_Q4$/.exec(node.name ?? '')?.[1];
    const N = node.attributes?.N;
    if (!path || !N || !('int' in N)) continue;
    const name = `${path.slice(1).replaceAll('/', '.')}.Add.bias`;
    const [from, to] = [node.outputs[0]!, `${path}/Add/output_0`];
    nodes.push({ name: `${path}/Add`, opType: 'Add', inputs: [from, name], outputs: [to] });
    const data = gaussian(Number(N.int), seedOf(name), 0.1);
    biases.push({ name, dtype: 'float32', dims: [data.length], data });
    renamed.set(from, to);
  }
  return withGraph(model, nodes, [...(model.graph.initializers as TensorSpec[]), ...biases]);
}

/** The embedding looks its rows up in the head's matrix, as exports with tied weights do. */
function withQuantizedTable(model: ModelSpec): ModelSpec {
  const nodes = model.graph.nodes as NodeSpec[];
  const initializers = model.graph.initializers as TensorSpec[];
  const [codes, scales] = ['Q4', 'scales'].map(
    (part) => initializers.find(({ name }) => name === `lm_head.MatMul.weight_${part}`)!,
  ) as [TensorSpec, TensorSpec];
  const [N = 0, blocks = 0] = codes.dims;
  const path = '/model/embed_tokens';
  const gather = nodes.findIndex(({ name }) => name === `${path}/Gather`);
  const rows = `${path}/Reshape/output_0`;
  const shape: TensorSpec = {
    name: `${path}/shape`,
    dtype: 'int64',
    dims: [2],
    data: BigInt64Array.of(BigInt(N), BigInt((blocks * BLOCK_SIZE) / 2)),
  };
  const lookUp: NodeSpec[] = [
    { name: `${path}/Reshape`, opType: 'Reshape', inputs: [codes.name, shape.name], outputs: [rows] },
    {
      name: `${path}/GatherBlockQuantized`,
      opType: 'GatherBlockQuantized',
      domain: MICROSOFT,
      inputs: [rows, 'input_ids', scales.name],
      outputs: nodes[gather]!.outputs,
      attributes: {
        bits: { int: 4 },
        block_size: { int: BLOCK_SIZE },
        gather_axis: { int: 0 },
        quantize_axis: { int: 1 },
      },
    },
  ];
  const tensors = initializers.map((tensor) => (tensor === scales ? { ...scales, dims: [N, blocks] } : tensor));
  return withGraph(model, nodes.toSpliced(gather, 1, ...lookUp), [...tensors, shape]);
}

function withGraph(model: ModelSpec, nodes: readonly NodeSpec[], initializers: readonly TensorSpec[]): ModelSpec {
  return { ...model, graph: { ...model.graph, nodes, initializers } };
}
