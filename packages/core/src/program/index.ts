/** @msd/core/program: steps over values that a device runs. */
export {
  type AttentionOp,
  type AttentionRun,
  type HeadStrides,
  headMajor,
  type KvCache,
  type KvShape,
  type KvType,
  PAGE_KEYS,
  type ResolvedKvShape,
  rowMajor,
  type ScoreArray,
  type ScoreDims,
} from '../attention/contract.ts';
export type {
  AttentionWork,
  Call,
  Changes,
  Device,
  OpWork,
  ProductEnd,
  ProductWork,
  Work,
} from '../backends/device.ts';
export { roundHalfEven } from '../numbers.ts';
export { byteLength, byteSize, elementCount } from '../ops/op.ts';
export type { ThreadTask } from '../threads/team.ts';
export { askEngine } from '../wasm/features.ts';
export { packKernels } from './pack-kernels.ts';
export { type PackRecipe, packRecipes } from './pack-recipe.ts';
export {
  type PackKernels,
  type PackRecipes,
  preparedAs,
  prepareRows,
  type ReservedRows,
  type RowRange,
  reserveRows,
  type WeightRows,
  type WeightRowsShape,
} from './prepare-rows.ts';
export { preparedRows } from './prepared-rows.ts';
export { Program, type ScriptStep, type Slot, type Step, type WorkStep } from './program.ts';
