/** What most graphs have that were not made for one kernel: movements, chains that spell norms and activations, ONNX Runtime's own. */
import type { Family } from '../family.ts';
import { foreignOperators } from '../foreign.ts';
import { geluPatterns } from '../gelu.ts';
import { movementOperators } from '../movement.ts';
import { normPatterns } from '../norm-chain.ts';
import { family as base } from './base.ts';

export const family: Family = {
  operators: [...movementOperators, ...foreignOperators],
  patterns: { ...geluPatterns, ...normPatterns },
  needs: [base],
};
