/** Attention and rotations as exporters of decoders write them. */
import { groupQueryAttention } from '../../ops/attention/group-query.ts';
import { piece } from '../../ops/index.ts';
import { rotaryOperators } from '../../ops/rotary.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({ operators: [groupQueryAttention, ...rotaryOperators] });
