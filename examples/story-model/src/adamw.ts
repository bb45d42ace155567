/** AdamW on plain arrays, with clipping by the global gradient norm. */
import { EMBEDDING_NAME, type WeightArray, type Weights } from './model.ts';

const BETA1 = 0.9;
const BETA2 = 0.99;
const EPS = 1e-8;
const CLIP_NORM = 1;
/** On the linear layers only; keeps weights even in size, which is what int4 blocks like. */
const WEIGHT_DECAY = 0.1;

/** First and second moments, shaped like the weights, and the number of steps taken. */
export interface AdamState {
  readonly first: Weights;
  readonly second: Weights;
  steps: number;
}

export function initialAdamState(weights: Weights): AdamState {
  const zeros = (): Weights =>
    new Map(
      [...weights].map(([name, { shape, data }]): [string, WeightArray] => [
        name,
        { shape, data: new Float32Array(data.length) },
      ]),
    );
  return { first: zeros(), second: zeros(), steps: 0 };
}

/** One update of `weights` and `state` in place. */
export function adamStep(
  weights: Weights,
  gradients: ReadonlyMap<string, Float32Array>,
  state: AdamState,
  learningRate: number,
): void {
  let squares = 0;
  for (const gradient of gradients.values()) for (const g of gradient) squares += g * g;
  const clip = Math.min(1, CLIP_NORM / (Math.sqrt(squares) + 1e-6));
  state.steps++;
  const correct1 = 1 / (1 - BETA1 ** state.steps);
  const correct2 = 1 / (1 - BETA2 ** state.steps);
  for (const [name, { shape, data }] of weights) {
    const gradient = gradients.get(name);
    const first = state.first.get(name)?.data;
    const second = state.second.get(name)?.data;
    if (!gradient || !first || !second) throw new RangeError(`adamStep: no gradient or moment for ${name}.`);
    const keep = 1 - learningRate * (shape.length > 1 && name !== EMBEDDING_NAME ? WEIGHT_DECAY : 0);
    for (let i = 0; i < data.length; i++) {
      const g = clip * (gradient[i] as number);
      const m = BETA1 * (first[i] as number) + (1 - BETA1) * g;
      const v = BETA2 * (second[i] as number) + (1 - BETA2) * g * g;
      first[i] = m;
      second[i] = v;
      data[i] = keep * (data[i] as number) - (learningRate * m * correct1) / (Math.sqrt(v * correct2) + EPS);
    }
  }
}
