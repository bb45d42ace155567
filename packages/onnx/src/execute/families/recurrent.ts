/** Recurrent layers. */
import '../create.ts'; // see families.ts
import { piece } from '../../ops/index.ts';
import { recurrentOperators } from '../../ops/recurrent.ts';
import type { FetchedFamily } from '../families.ts';
import { Recurrent } from '../recurrent.ts';
import { family as products } from './products.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: recurrentOperators,
  needs: [products],
  parts: { Recurrent },
});
