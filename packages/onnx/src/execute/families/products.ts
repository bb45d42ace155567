/** Products of floats and of codes, with weights in every form but that of MatMulNBits. */
import { piece } from '../../ops/index.ts';
import { matMulOperators } from '../../ops/mat-mul.ts';
import { matMulBnb4Operators } from '../../ops/mat-mul-bnb4.ts';
import { matMulIntegerOperators, matMulIntegerPatterns } from '../../ops/mat-mul-integer.ts';
import { qLinearOperators } from '../../ops/q-linear.ts';
import { qLinearProductOperators } from '../../ops/q-linear-product.ts';
import { quantizeOperators } from '../../ops/quantize.ts';
import type { FetchedFamily } from '../families.ts';
import { family as graphs } from './graphs.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
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
});
