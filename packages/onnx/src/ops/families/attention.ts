/** Attention in its other operators, and spelt out. */
import { attentionPatterns } from '../attention/chain.ts';
import { decoderMaskedOperators } from '../attention/decoder-masked.ts';
import { multiHeadOperators } from '../attention/multi-head.ts';
import { packedOperators } from '../attention/packed.ts';
import { quantizedAttentionOperators } from '../attention/quantized.ts';
import { standardOperators } from '../attention/standard.ts';
import type { Family } from '../family.ts';
import { family as products } from './products.ts';

export const family: Family = {
  operators: [
    ...multiHeadOperators,
    ...decoderMaskedOperators,
    ...packedOperators,
    ...quantizedAttentionOperators,
    ...standardOperators,
  ],
  patterns: attentionPatterns,
  needs: [products],
};
