/** How threads pack weights with those kernels: fetched in Node. */
import './create.ts'; // see families.ts
import { packRecipes } from '@msd/core/program';
import { piece } from '../ops/index.ts';
import './packing.ts';

export const recipes = /* @__PURE__ */ piece({ packRecipes });
