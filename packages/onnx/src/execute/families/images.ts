/** Convolutions, pools and other operators for images. */
import '../create.ts'; // see families.ts
import { convOperators, convPatterns } from '../../ops/conv/index.ts';
import { piece } from '../../ops/index.ts';
import { qLinearFoldOperators } from '../../ops/q-linear-fold.ts';
import { keepPositions } from '../../plan/layout.ts';
import type { FetchedFamily } from '../families.ts';
import { family as products } from './products.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [...convOperators, ...qLinearFoldOperators],
  patterns: convPatterns,
  needs: [products],
  parts: { keepPositions },
});
