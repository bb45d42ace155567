/** Mixtures of experts. */
import { expertOperators } from '../experts.ts';
import type { Family } from '../family.ts';
import { family as base } from './base.ts';

export const family: Family = { operators: expertOperators, needs: [base] };
