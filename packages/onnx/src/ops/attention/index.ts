/** Attention in all its operators. */
import type { Operator } from '../operator.ts';
import { decoderMaskedOperators } from './decoder-masked.ts';
import { groupQueryAttention } from './group-query.ts';
import { multiHeadOperators } from './multi-head.ts';
import { packedOperators } from './packed.ts';
import { quantizedAttentionOperators } from './quantized.ts';
import { standardOperators } from './standard.ts';

export const attentionOperators: readonly Operator[] = [
  groupQueryAttention,
  ...multiHeadOperators,
  ...decoderMaskedOperators,
  ...packedOperators,
  ...quantizedAttentionOperators,
  ...standardOperators,
];
