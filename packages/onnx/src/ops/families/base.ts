/** What nearly every graph has. All other families are built on this one, so that bundlers keep what they share in one piece. */
import { activationPatterns } from '../activations.ts';
import { elementwiseOperators } from '../elementwise.ts';
import type { Family } from '../family.ts';
import { gatherOperators } from '../gather.ts';
import { matMulNBitsOperators } from '../mat-mul-nbits.ts';
import { normOperators } from '../norm.ts';
import { reduceOperators } from '../reduce.ts';
import { shapeOperators } from '../shape.ts';

export const family: Family = {
  operators: [
    ...matMulNBitsOperators,
    ...normOperators,
    ...elementwiseOperators,
    ...reduceOperators,
    ...gatherOperators,
    ...shapeOperators,
  ],
  patterns: activationPatterns,
};
