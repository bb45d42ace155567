/** Linear layers of real language models, by name. */

/** y [M, N] = x [M, K] · Wᵀ, W [N, K]. */
export interface LayerShape {
  readonly name: string;
  readonly K: number;
  readonly N: number;
}

/** Small to large; the first three make up most of Qwen2.5-0.5B, the others stand for 1B and 8B models. */
export const LLM_LAYERS: readonly LayerShape[] = [
  { name: 'Qwen2.5-0.5B q, o', K: 896, N: 896 },
  { name: 'Qwen2.5-0.5B gate, up', K: 896, N: 4864 },
  { name: 'Qwen2.5-0.5B down', K: 4864, N: 896 },
  { name: 'Llama-3.2-1B q, o', K: 2048, N: 2048 },
  { name: 'Llama-3.1-8B q, o', K: 4096, N: 4096 },
];

/** Rows: one token of decoding, a prompt of 128 tokens. */
export const DECODE_ROWS = 1;
export const PREFILL_ROWS = 128;
