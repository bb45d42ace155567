/** Rotary position embeddings. */
import type { Operator } from './operator.ts';

const infer: Operator['infer'] = (_, [x]) => [x && { elemType: x.elemType, dims: x.dims }];

export const rotaryOperators: readonly Operator[] = [
  { name: 'com.microsoft.RotaryEmbedding', infer },
  { name: 'RotaryEmbedding', infer },
];
