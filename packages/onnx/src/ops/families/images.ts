/** Convolutions, pools and what else only images meet. */
import { convOperators, convPatterns } from '../conv/index.ts';
import type { Family } from '../family.ts';
import { qLinearFoldOperators } from '../q-linear-fold.ts';
import { family as products } from './products.ts';

export const family: Family = {
  operators: [...convOperators, ...qLinearFoldOperators],
  patterns: convPatterns,
  needs: [products],
};
