/** The table of operators. Whatever is not in it is ONNX Runtime's, and nothing is known of its results. */

import { activationPatterns } from './activations.ts';
import { attentionPatterns } from './attention/chain.ts';
import { attentionOperators } from './attention/index.ts';
import { convOperators, convPatterns } from './conv/index.ts';
import { elementwiseOperators } from './elementwise.ts';
import { expertOperators } from './experts.ts';
import { foreignOperators } from './foreign.ts';
import { gatherOperators } from './gather.ts';
import { matMulOperators } from './mat-mul.ts';
import { matMulBnb4Operators } from './mat-mul-bnb4.ts';
import { matMulIntegerOperators, matMulIntegerPatterns } from './mat-mul-integer.ts';
import { matMulNBitsOperators } from './mat-mul-nbits.ts';
import { movementOperators } from './movement.ts';
import { normOperators } from './norm.ts';
import { normPatterns } from './norm-chain.ts';
import type { Operator, Pattern } from './operator.ts';
import { qLinearOperators } from './q-linear.ts';
import { qLinearProductOperators } from './q-linear-product.ts';
import { quantizeOperators } from './quantize.ts';
import { recurrentOperators } from './recurrent.ts';
import { reduceOperators } from './reduce.ts';
import { rotaryOperators } from './rotary.ts';
import { shapeOperators } from './shape.ts';

/** By family. */
export const FAMILIES: Readonly<Record<string, readonly Operator[]>> = {
  'quantized products': [
    ...matMulNBitsOperators,
    ...matMulIntegerOperators,
    ...matMulBnb4Operators,
    ...qLinearProductOperators,
    ...expertOperators,
    ...recurrentOperators,
  ],
  products: matMulOperators,
  convolutions: convOperators,
  attention: attentionOperators,
  norms: normOperators,
  elementwise: elementwiseOperators,
  codes: [...quantizeOperators, ...qLinearOperators],
  reductions: reduceOperators,
  rotary: rotaryOperators,
  gather: gatherOperators,
  movement: movementOperators,
  shapes: shapeOperators,
  others: foreignOperators,
};

/** By name. */
export const OPERATORS: ReadonlyMap<string, Operator> = /* @__PURE__ */ new Map(
  Object.values(FAMILIES).flatMap((operators) => operators.map((operator) => [operator.name, operator] as const)),
);

/** Chains of nodes by the operator of the node that they are found from. */
export const PATTERNS: ReadonlyMap<string, Pattern> = /* @__PURE__ */ new Map(
  Object.entries({
    ...activationPatterns,
    ...normPatterns,
    ...attentionPatterns,
    ...convPatterns,
    ...matMulIntegerPatterns,
  }),
);
