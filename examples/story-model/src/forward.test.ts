import { describe, expect, it } from 'vitest';
import { argMax, Decoder } from './forward.ts';
import { greedy, negativeLogLikelihood, sampleStory } from './generate.ts';
import { initialWeights, type ModelConfig, type Weights } from './model.ts';
import { seededRandom } from './random.ts';

const TINY: ModelConfig = {
  vocabSize: 32,
  hiddenSize: 32,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  mlpSize: 32,
  context: 16,
  normEps: 1e-5,
  ropeTheta: 10000,
};

/**
 * The model once more, written independently: whole sequence at once, no cache, float64, positions as complex rotations.
 *
 * @returns logits [time][vocab]
 */
function prefillReference(weights: Weights, ids: readonly number[]): number[][] {
  const matrix = (name: string): number[][] => {
    const {
      data,
      shape: [rows = 0, columns = 1],
    } = weights.get(name) as { data: Float32Array; shape: readonly number[] };
    return Array.from({ length: rows }, (_, r) => Array.from(data.subarray(r * columns, (r + 1) * columns)));
  };
  const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
  const apply = (w: number[][], xs: number[][]): number[][] => xs.map((x) => w.map((row) => dot(row, x)));
  const plus = (xs: number[][], ys: number[][]): number[][] =>
    xs.map((x, t) => x.map((value, i) => value + (ys[t]?.[i] as number)));
  const norm = (xs: number[][], gain: number[][]): number[][] =>
    xs.map((x) =>
      x.map(
        (value, i) => (value * (gain[i]?.[0] as number)) / Math.hypot(Math.sqrt(dot(x, x) / x.length), Math.sqrt(1e-5)),
      ),
    );
  const rotate = (xs: number[][]): number[][] =>
    xs.map((x, t) =>
      x.map((value, at) => {
        const i = at % 8;
        const angle = t / 10000 ** ((i % 4) / 4);
        return i < 4
          ? value * Math.cos(angle) - (x[at + 4] as number) * Math.sin(angle)
          : value * Math.cos(angle) + (x[at - 4] as number) * Math.sin(angle);
      }),
    );
  const head = (xs: number[][], index: number): number[][] => xs.map((x) => x.slice(index * 8, index * 8 + 8));
  const embedding = matrix('model.embed_tokens.weight');
  let xs = ids.map((id) => embedding[id] as number[]);
  for (let layer = 0; layer < 2; layer++) {
    const w = (name: string): number[][] => matrix(`model.layers.${layer}.${name}.weight`);
    const a = norm(xs, w('input_layernorm'));
    const q = rotate(apply(w('self_attn.q_proj'), a));
    const k = rotate(apply(w('self_attn.k_proj'), a));
    const v = apply(w('self_attn.v_proj'), a);
    const mixed = ids.map((_, t) =>
      [0, 1, 2, 3].flatMap((h) => {
        const shared = h < 2 ? 0 : 1;
        const scores = head(k, shared)
          .slice(0, t + 1)
          .map((key) => Math.exp(dot(head(q, h)[t] as number[], key) / Math.sqrt(8)));
        const total = scores.reduce((sum, value) => sum + value, 0);
        return Array.from(
          { length: 8 },
          (_, i) =>
            dot(
              scores,
              head(v, shared)
                .slice(0, t + 1)
                .map((value) => value[i] as number),
            ) / total,
        );
      }),
    );
    xs = plus(xs, apply(w('self_attn.o_proj'), mixed));
    const m = norm(xs, w('post_attention_layernorm'));
    const up = apply(w('mlp.up_proj'), m);
    const gated = apply(w('mlp.gate_proj'), m).map((gate, t) =>
      gate.map((g, i) => (g / (1 + Math.exp(-g))) * (up[t]?.[i] as number)),
    );
    xs = plus(xs, apply(w('mlp.down_proj'), gated));
  }
  return apply(embedding, norm(xs, matrix('model.norm.weight')));
}

describe('Decoder', () => {
  const weights = initialWeights(TINY, seededRandom(1));
  const decoder = new Decoder(TINY, weights);
  const ids = [1, 7, 30, 7, 2, 19, 0, 31, 5, 7];

  it('equals an independent computation of the whole sequence', () => {
    const expected = prefillReference(weights, ids);
    decoder.reset();
    ids.forEach((id, t) => {
      const logits = decoder.step(id);
      const size = Math.max(...(expected[t] as number[]).map(Math.abs));
      // A few hundred float32 roundings of relative size 2⁻²⁴ between token and logit.
      for (const [n, logit] of logits.entries()) {
        const error = Math.abs(logit - (expected[t]?.[n] as number));
        expect(error, `token ${t}, logit ${n}`).toBeLessThan(size * 300 * 2 ** -24);
      }
    });
  });

  it('repeats itself exactly after reset', () => {
    const run = (): Float32Array[] => {
      decoder.reset();
      return ids.map((id) => decoder.step(id));
    };
    expect(run()).toEqual(run());
  });

  it('gives the head its own weights when there are some', () => {
    const zero = { shape: [32, 32], data: new Float32Array(32 * 32) };
    expect(new Decoder(TINY, new Map([...weights, ['lm_head.weight', zero]])).step(1)).toEqual(new Float32Array(32));
  });

  it('refuses a full context, unknown ids and missing weights', () => {
    decoder.reset();
    expect(() => decoder.step(32)).toThrow(/expected 0 to 31, got 32/);
    for (let t = 0; t < TINY.context; t++) decoder.step(1);
    expect(() => decoder.step(1)).toThrow(/context of 16 tokens is full/);
    expect(() => new Decoder(TINY, new Map())).toThrow(/model.embed_tokens.weight is missing/);
  });
});

describe('generate', () => {
  const decoder = new Decoder(TINY, initialWeights(TINY, seededRandom(1)));

  it('takes the best token each time and tells by how much', () => {
    const { ids, margins } = greedy(decoder, [1, 5], 6);
    decoder.reset();
    let logits = [1, 5].map((id) => decoder.step(id))[1] as Float32Array;
    ids.forEach((id, i) => {
      expect(id).toBe(argMax(logits));
      const [best, second] = [...logits].sort((a, b) => b - a) as [number, number];
      expect(margins[i]).toBeCloseTo(best - second, 12);
      logits = decoder.step(id);
    });
  });

  it('samples the same for the same seed and stops at the end of the context', () => {
    const draw = (seed: number): number[] => sampleStory(decoder, [1], TINY.context, 1, seededRandom(seed)).ids;
    expect(draw(1)).toEqual(draw(1));
    for (let seed = 0; seed < 20; seed++) expect(draw(seed).length).toBeLessThanOrEqual(TINY.context);
  });

  it('adds −ln p over the tokens after the first', () => {
    const ids = [1, 5, 9];
    decoder.reset();
    let expected = 0;
    for (let i = 0; i < 2; i++) {
      const p = Array.from(decoder.step(ids[i] as number), Math.exp);
      expected -= Math.log((p[ids[i + 1] as number] as number) / p.reduce((a, b) => a + b, 0));
    }
    expect(negativeLogLikelihood(decoder, ids)).toBeCloseTo(expected, 5);
  });
});
