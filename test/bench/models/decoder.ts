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

/** @returns what `writeModel` takes, with all weights in memory */
export function decoderModel(shape: DecoderShape, embedding: Embedding): ModelSpec {
  const weights = new Map<string, WeightArray>();
  for (const [name, dims] of weightShapes(shape))
    if (dims.length === 1) weights.set(name, { shape: dims, data: normGains(name, dims[0]!) });
  const table = embedding === 'float' ? floatTable(shape.vocabSize * shape.hiddenSize) : new Float32Array(0);
  weights.set(EMBEDDING_NAME, { shape: [shape.vocabSize, shape.hiddenSize], data: table });
  const linears = new Map(linearShapes(shape).map(([name, dims]) => [name, randomMatrix(name, dims)]));
  const model = decoderGraph(shape, weights, linears);
  const steps = [shape.biases ? withBiases : undefined, embedding === 'int4' ? withQuantizedTable : undefined];
  return steps.reduce((made, step) => (step ? step(made) : made), model);
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

/** Fills `out` with `pool` over and over. */
function repeatPool<T extends Uint8Array | Float32Array<ArrayBuffer>>(out: T, pool: T, from: number): T {
  for (let at = 0, start = from; at < out.length; start = 0) {
    const piece = pool.subarray(start, start + out.length - at);
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

function floatTable(length: number): Float32Array<ArrayBuffer> {
  return repeatPool(new Float32Array(length), new Float32Array(gaussian(POOL, 2)), 0);
}

/** How large a matrix's results are beside its input: what each layer adds to the residual stream stays small. */
const GAINS: readonly (readonly [RegExp, number])[] = [
  [/[qk]_proj/, 0.8],
  [/o_proj/, 0.5],
  [/down_proj/, 0.8],
  [/lm_head/, 1.8],
];

function randomMatrix(name: string, [N = 0, K = 0]: readonly number[]): QuantizedWeights {
  codePool ??= makeCodePool();
  const random = generator(seedOf(name));
  const gain = GAINS.find(([pattern]) => pattern.test(name))?.[1] ?? 1;
  const step = gain / (CODE_DEVIATION * Math.sqrt(K));
  const data = repeatPool(new Uint8Array((N * K) / 2), codePool, Math.floor(random() * POOL));
  const scales = Float32Array.from({ length: (N * K) / BLOCK_SIZE }, () => step * (0.8 + 0.4 * random()));
  return { format: 'int4', N, K, blockSize: BLOCK_SIZE, data, scales };
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
  const others = initializers.filter(({ name }) => name !== EMBEDDING_NAME);
  const tensors = others.map((tensor) => (tensor === scales ? { ...scales, dims: [N, blocks] } : tensor));
  return withGraph(model, nodes.toSpliced(gather, 1, ...lookUp), [...tensors, shape]);
}

function withGraph(model: ModelSpec, nodes: readonly NodeSpec[], initializers: readonly TensorSpec[]): ModelSpec {
  return { ...model, graph: { ...model.graph, nodes, initializers } };
}
