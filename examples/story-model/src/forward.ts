/**
 * The model as plain loops: one token in, logits out, with a KV cache. The specification of every exported graph.
 *
 *   x = E[id];  per layer: x += O · attention(norm(x));  x += D · (silu(G · norm(x)) ⊙ U · norm(x));  logits = E · norm(x)
 */
import { EMBEDDING_NAME, type ModelConfig, rotaryTables, type Weights } from './model.ts';

interface Layer {
  /** Gains [hidden]. */
  readonly inputNorm: Float32Array;
  readonly mlpNorm: Float32Array;
  /** Matrices [out, in], row-major. */
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly o: Float32Array;
  readonly gate: Float32Array;
  readonly up: Float32Array;
  readonly down: Float32Array;
  /** Rotated keys and values of all positions so far, [context, kvHeads · headDim]. */
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

/** y [out] = w [out, in] · x [in]; in is a multiple of 4. Four partial sums, as the additions of one would wait for each other. */
function multiply(w: Float32Array, x: Float32Array): Float32Array {
  const K = x.length;
  const y = new Float32Array(w.length / K);
  for (let n = 0, at = 0; n < y.length; n++) {
    let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
    for (let k = 0; k < K; k += 4, at += 4) {
      sum0 += (w[at] as number) * (x[k] as number);
      sum1 += (w[at + 1] as number) * (x[k + 1] as number);
      sum2 += (w[at + 2] as number) * (x[k + 2] as number);
      sum3 += (w[at + 3] as number) * (x[k + 3] as number);
    }
    y[n] = sum0 + sum1 + (sum2 + sum3);
  }
  return y;
}

/** x / √(mean x² + eps) ⊙ gain. */
function rmsNorm(x: Float32Array, gain: Float32Array, eps: number): Float32Array {
  let squares = 0;
  for (const value of x) squares += value * value;
  const inv = 1 / Math.sqrt(squares / x.length + eps);
  return x.map((value, i) => value * inv * (gain[i] as number));
}

/** Greedy choice: the index of the largest logit, the first one of equals. */
export function argMax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if ((logits[i] as number) > (logits[best] as number)) best = i;
  return best;
}

/** Decodes one sequence; `reset()` starts the next one. */
export class Decoder {
  readonly #config: ModelConfig;
  readonly #embedding: Float32Array;
  readonly #head: Float32Array;
  readonly #finalNorm: Float32Array;
  readonly #layers: readonly Layer[];
  readonly #cos: Float32Array;
  readonly #sin: Float32Array;
  #position = 0;

  /**
   * @param weights named as in {@link weightShapes}; an extra `lm_head.weight` [vocab, hidden] replaces the tied head.
   * @throws {@link RangeError} when a weight is missing.
   */
  constructor(config: ModelConfig, weights: Weights) {
    const get = (name: string): Float32Array => {
      const weight = weights.get(name);
      if (weight === undefined) throw new RangeError(`Decoder: weight ${name} is missing.`);
      return weight.data;
    };
    this.#config = config;
    this.#embedding = get(EMBEDDING_NAME);
    this.#head = weights.get('lm_head.weight')?.data ?? this.#embedding;
    this.#finalNorm = get('model.norm.weight');
    const cacheLength = config.context * config.kvHeads * config.headDim;
    this.#layers = Array.from({ length: config.layers }, (_, layer) => {
      const weight = (name: string): Float32Array => get(`model.layers.${layer}.${name}.weight`);
      return {
        inputNorm: weight('input_layernorm'),
        mlpNorm: weight('post_attention_layernorm'),
        q: weight('self_attn.q_proj'),
        k: weight('self_attn.k_proj'),
        v: weight('self_attn.v_proj'),
        o: weight('self_attn.o_proj'),
        gate: weight('mlp.gate_proj'),
        up: weight('mlp.up_proj'),
        down: weight('mlp.down_proj'),
        keys: new Float32Array(cacheLength),
        values: new Float32Array(cacheLength),
      };
    });
    ({ cos: this.#cos, sin: this.#sin } = rotaryTables(config));
  }

  /** Tokens read so far. */
  get position(): number {
    return this.#position;
  }

  reset(): void {
    this.#position = 0;
  }

  /**
   * Reads one token.
   *
   * @returns logits [vocab] of the token after it; the caller owns them.
   * @throws {@link RangeError} when the context is full or the id is outside the vocabulary.
   */
  step(id: number): Float32Array {
    const { hiddenSize, vocabSize, context, normEps } = this.#config;
    if (this.#position >= context)
      throw new RangeError(`Decoder: the context of ${context} tokens is full. Call reset().`);
    if (!(id >= 0 && id < vocabSize))
      throw new RangeError(`Decoder: token id expected 0 to ${vocabSize - 1}, got ${id}.`);
    const x = this.#embedding.slice(id * hiddenSize, (id + 1) * hiddenSize);
    const add = (y: Float32Array): void =>
      y.forEach((value, i) => {
        x[i] = (x[i] as number) + value;
      });
    for (const layer of this.#layers) {
      add(multiply(layer.o, this.#attend(layer, rmsNorm(x, layer.inputNorm, normEps))));
      const m = rmsNorm(x, layer.mlpNorm, normEps);
      const up = multiply(layer.up, m);
      const gated = multiply(layer.gate, m).map((g, i) => (g / (1 + Math.exp(-g))) * (up[i] as number));
      add(multiply(layer.down, gated));
    }
    this.#position++;
    return multiply(this.#head, rmsNorm(x, this.#finalNorm, normEps));
  }

  /** Attention of the newest token over itself and all before it; a [hidden] → [heads · headDim]. */
  #attend(layer: Layer, a: Float32Array): Float32Array {
    const { heads, kvHeads, headDim } = this.#config;
    const group = heads / kvHeads;
    const width = kvHeads * headDim;
    const query = this.#rotate(multiply(layer.q, a));
    layer.keys.set(this.#rotate(multiply(layer.k, a)), this.#position * width);
    layer.values.set(multiply(layer.v, a), this.#position * width);
    const out = new Float32Array(heads * headDim);
    for (let head = 0; head < heads; head++) {
      const kvColumn = Math.floor(head / group) * headDim;
      const scores = new Float64Array(this.#position + 1);
      let largest = -Infinity;
      for (let t = 0; t < scores.length; t++) {
        let dot = 0;
        for (let i = 0; i < headDim; i++) {
          dot += (query[head * headDim + i] as number) * (layer.keys[t * width + kvColumn + i] as number);
        }
        scores[t] = dot / Math.sqrt(headDim);
        largest = Math.max(largest, scores[t] as number);
      }
      let total = 0;
      for (let t = 0; t < scores.length; t++) total += scores[t] = Math.exp((scores[t] as number) - largest);
      for (let i = 0; i < headDim; i++) {
        let sum = 0;
        for (let t = 0; t < scores.length; t++)
          sum += (scores[t] as number) * (layer.values[t * width + kvColumn + i] as number);
        out[head * headDim + i] = sum / total;
      }
    }
    return out;
  }

  /** Rotary position of the newest token: the pairs (i, i + headDim / 2) of every head turn by position · theta^(−2i / headDim). */
  #rotate(x: Float32Array): Float32Array {
    const { headDim } = this.#config;
    const half = headDim / 2;
    const y = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += headDim) {
      for (let i = 0; i < half; i++) {
        const cos = this.#cos[this.#position * half + i] as number;
        const sin = this.#sin[this.#position * half + i] as number;
        const first = x[start + i] as number;
        const second = x[start + i + half] as number;
        y[start + i] = first * cos - second * sin;
        y[start + i + half] = second * cos + first * sin;
      }
    }
    return y;
  }
}
