/** Mixtures of experts. */
import { expertOperators } from '../experts.ts';
import type { Family } from '../family.ts';

export const family: Family = { operators: expertOperators };
