/** Layers of real language models, as benchmarks name them: y [M,N] = x [M,K] · Wᵀ. */
export interface LayerShape {
  readonly name: string;
  readonly K: number;
  readonly N: number;
}

export const LAYER_SHAPES: readonly LayerShape[] = [
  { name: 'Qwen2.5-0.5B q/o', K: 896, N: 896 },
  { name: 'Qwen2.5-0.5B gate/up', K: 896, N: 4864 },
  { name: 'Qwen2.5-0.5B down', K: 4864, N: 896 },
  { name: '2048²', K: 2048, N: 2048 },
  { name: '4096²', K: 4096, N: 4096 },
];
