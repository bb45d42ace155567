/**
 * Operators of most graphs that were not exported for one kernel: movements, norms and activations as chains of nodes,
 * ONNX Runtime's own operators.
 */
import '../create.ts'; // see families.ts
import { elementwiseOnWasm as elementwise } from '@msd/core/nn';
import { coded } from '../../ops/attention/coded.ts';
import { moreElementwiseOperators } from '../../ops/elementwise-more.ts';
import { foreignOperators } from '../../ops/foreign.ts';
import { deviceGather, gatherCodesOperators } from '../../ops/gather-device.ts';
import { geluPatterns } from '../../ops/gelu.ts';
import { piece } from '../../ops/index.ts';
import { movementOperators } from '../../ops/movement.ts';
import { oddNBits } from '../../ops/nbits-odd.ts';
import { normPatterns } from '../../ops/norm-chain.ts';
import { repeatedNorm } from '../../ops/norm-repeated.ts';
import { deviceReductions, foldOperators } from '../../ops/reduce-device.ts';
import { reshapeOperators } from '../../ops/reshape.ts';
import { moreSchemas } from '../../ops/schema-more.ts';
import { foldConstants } from '../../passes/constants.ts';
import { selectEarly } from '../../passes/select-early.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [
    ...moreElementwiseOperators,
    ...movementOperators,
    ...reshapeOperators,
    ...gatherCodesOperators,
    ...foldOperators,
    ...foreignOperators,
  ],
  patterns: { ...geluPatterns, ...normPatterns },
  late: { coded, elementwise, gather: deviceGather, nBits: oddNBits, reductions: deviceReductions, repeatedNorm },
  schemas: moreSchemas,
  parts: { foldConstants, selectEarly },
});
