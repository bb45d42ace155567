/** Products of floats and of codes, with weights in every form but that of MatMulNBits. */
import '../create.ts'; // see families.ts
import { piece } from '../../ops/index.ts';
import { matMulOperators } from '../../ops/mat-mul.ts';
import { matMulBnb4Operators } from '../../ops/mat-mul-bnb4.ts';
import { qLinearOperators } from '../../ops/q-linear.ts';
import { qLinearProductOperators } from '../../ops/q-linear-product.ts';
import type { FetchedFamily } from '../families.ts';
import { family as graphs } from './graphs.ts';
import { family as integers } from './integers.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [...matMulOperators, ...matMulBnb4Operators, ...qLinearProductOperators, ...qLinearOperators],
  needs: [graphs, integers],
});
