/** What most graphs have that were not made for one kernel: movements, chains that spell norms and activations, ONNX Runtime's own. */

import { foreignOperators } from '../../ops/foreign.ts';
import { geluPatterns } from '../../ops/gelu.ts';
import { piece } from '../../ops/index.ts';
import { movementOperators } from '../../ops/movement.ts';
import { normPatterns } from '../../ops/norm-chain.ts';
import { foldConstants } from '../../passes/constants.ts';
import { selectEarly } from '../../passes/select-early.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [...movementOperators, ...foreignOperators],
  patterns: { ...geluPatterns, ...normPatterns },
  parts: { foldConstants, selectEarly },
});
