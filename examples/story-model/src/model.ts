/** The architecture: a Llama-style decoder small enough to be trained on one core, and the names of its weights. */
import { normal, type Random } from './random.ts';

/** Every size is a multiple of 32, so that blocks of 32 along K never straddle a row. */
export interface ModelConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly mlpSize: number;
  /** Longest sequence, prompt included. */
  readonly context: number;
  readonly normEps: number;
  readonly ropeTheta: number;
}

export const CONFIG: ModelConfig = {
  vocabSize: 480,
  hiddenSize: 256,
  layers: 2,
  heads: 8,
  kvHeads: 2,
  headDim: 32,
  mlpSize: 512,
  context: 256,
  normEps: 1e-5,
  ropeTheta: 10000,
};

export interface WeightArray {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** Hugging Face's weight names; linear layers are [out, in]. lm_head is tied to the embedding. */
export type Weights = ReadonlyMap<string, WeightArray>;

export const EMBEDDING_NAME = 'model.embed_tokens.weight';

/** Name and shape of every weight, in file order. */
export function weightShapes(config: ModelConfig): ReadonlyMap<string, readonly number[]> {
  const { vocabSize, hiddenSize, heads, kvHeads, headDim, mlpSize } = config;
  const shapes = new Map<string, readonly number[]>([[EMBEDDING_NAME, [vocabSize, hiddenSize]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [hiddenSize]);
    shapes.set(`${prefix}.self_attn.q_proj.weight`, [heads * headDim, hiddenSize]);
    shapes.set(`${prefix}.self_attn.k_proj.weight`, [kvHeads * headDim, hiddenSize]);
    shapes.set(`${prefix}.self_attn.v_proj.weight`, [kvHeads * headDim, hiddenSize]);
    shapes.set(`${prefix}.self_attn.o_proj.weight`, [hiddenSize, heads * headDim]);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [hiddenSize]);
    shapes.set(`${prefix}.mlp.gate_proj.weight`, [mlpSize, hiddenSize]);
    shapes.set(`${prefix}.mlp.up_proj.weight`, [mlpSize, hiddenSize]);
    shapes.set(`${prefix}.mlp.down_proj.weight`, [hiddenSize, mlpSize]);
  }
  shapes.set('model.norm.weight', [hiddenSize]);
  return shapes;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Deviation of the embedding: large enough that words which occur alike, such as names, stay apart from the start. */
const EMBEDDING_DEVIATION = 0.1;

/** Norm gains 1; matrices normal with deviation 1 / √in, those that write to the residual stream less by √(2 · layers). */
export function initialWeights(config: ModelConfig, random: Random): Weights {
  const weights = new Map<string, WeightArray>();
  for (const [name, shape] of weightShapes(config)) {
    const data = new Float32Array(elementCount(shape));
    const [, inputs] = shape;
    if (inputs === undefined) {
      data.fill(1);
    } else {
      const writesResidual = name.includes('o_proj') || name.includes('down_proj');
      const inner = 1 / Math.sqrt(writesResidual ? 2 * config.layers * inputs : inputs);
      const deviation = name === EMBEDDING_NAME ? EMBEDDING_DEVIATION : inner;
      for (let i = 0; i < data.length; i++) data[i] = deviation * normal(random);
    }
    weights.set(name, { shape, data });
  }
  return weights;
}

/** cos and sin of rotary position embedding, each [positions, headDim / 2]: angle = position · theta^(−2i / headDim). */
export function rotaryTables(config: ModelConfig): { cos: Float32Array; sin: Float32Array } {
  const half = config.headDim / 2;
  const cos = new Float32Array(config.context * half);
  const sin = new Float32Array(config.context * half);
  for (let position = 0; position < config.context; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * config.ropeTheta ** (-i / half);
      cos[position * half + i] = Math.cos(angle);
      sin[position * half + i] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
