/** Attention in other operators, and without an attention operator. */
import '../create.ts'; // see families.ts
import { attentionPatterns } from '../../ops/attention/chain.ts';
import { decoderMaskedOperators } from '../../ops/attention/decoder-masked.ts';
import { multiHeadOperators } from '../../ops/attention/multi-head.ts';
import { packedOperators } from '../../ops/attention/packed.ts';
import { quantizedAttentionOperators } from '../../ops/attention/quantized.ts';
import { standardOperators } from '../../ops/attention/standard.ts';
import { piece } from '../../ops/index.ts';
import { rotaryOperators } from '../../ops/rotary.ts';
import type { FetchedFamily } from '../families.ts';
import { family as products } from './products.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [
    ...multiHeadOperators,
    ...decoderMaskedOperators,
    ...packedOperators,
    ...quantizedAttentionOperators,
    ...standardOperators,
    ...rotaryOperators,
  ],
  patterns: attentionPatterns,
  needs: [products],
});
