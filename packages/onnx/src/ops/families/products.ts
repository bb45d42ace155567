/** Products of floats and of codes, with weights in every form but that of MatMulNBits. */
import type { Family } from '../family.ts';
import { matMulOperators } from '../mat-mul.ts';
import { matMulBnb4Operators } from '../mat-mul-bnb4.ts';
import { matMulIntegerOperators, matMulIntegerPatterns } from '../mat-mul-integer.ts';
import { qLinearOperators } from '../q-linear.ts';
import { qLinearProductOperators } from '../q-linear-product.ts';
import { quantizeOperators } from '../quantize.ts';
import { family as graphs } from './graphs.ts';

export const family: Family = {
  operators: [
    ...matMulOperators,
    ...matMulBnb4Operators,
    ...matMulIntegerOperators,
    ...qLinearProductOperators,
    ...qLinearOperators,
    ...quantizeOperators,
  ],
  patterns: matMulIntegerPatterns,
  needs: [graphs],
};
