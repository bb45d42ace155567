/** Attention and rotations as exporters of decoders write them. */
import { groupQueryAttention } from '../attention/group-query.ts';
import type { Family } from '../family.ts';
import { rotaryOperators } from '../rotary.ts';
import { family as base } from './base.ts';

export const family: Family = { operators: [groupQueryAttention, ...rotaryOperators], needs: [base] };
