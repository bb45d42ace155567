/** Recurrent layers. */
import type { Family } from '../family.ts';
import { recurrentOperators } from '../recurrent.ts';
import { family as products } from './products.ts';

export const family: Family = { operators: recurrentOperators, needs: [products] };
