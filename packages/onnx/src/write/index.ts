/**
 * `@msd/onnx/write`: a small ONNX writer.
 */
export type { DataTypeName } from '../data-types.ts';
export {
  type AttributeSpec,
  type EncodedSpec,
  type FunctionSpec,
  type GraphSpec,
  type ModelSpec,
  type NodeSpec,
  type TensorSpec,
  type ValueSpec,
  writeModel,
} from './model.ts';
