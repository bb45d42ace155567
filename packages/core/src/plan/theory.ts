/**
 * `@msd/core/theory`: the paper's closed-form models as functions, and what products and attention are expected to take on the
 * machine at hand. Tools and planners use them; running a model does not.                            (docs/theory.md)
 *
 * Derivations are our own, from the claims of the paper's abstract (arXiv 2605.13915), and stand beside each function.
 */

export { bitsOfBound, floatBits, gaussianSqnr, int8Bound, mxfp4Bits, mxfp4Bound } from '../accuracy/passes.ts';
export {
  type AttentionCall,
  type Forecast,
  forecastAttention,
  forecastProduct,
  type ProductWithWeights,
} from './theory/explained.ts';
export { type CallPart, type CallTime, int16Product, type PackedProduct } from './theory/forecast.ts';
export { type CachedAttention, int16Attention } from './theory/forecast-attention.ts';
export {
  dequantizeFirst,
  type Latency,
  type LatencyOptions,
  type Part,
  type ProductShape,
  pipelined,
  severalPasses,
  type WeightKind,
} from './theory/gemm.ts';
export type { Accelerator } from './theory/machine.ts';
export { accelerators, machineOf } from './theory/machines.ts';
export { type StepWork, stepTime } from './theory/step.ts';
export {
  type AttentionKernel,
  type AttentionShape,
  type AttentionTraffic,
  attentionKernels,
  attentionTraffic,
  bytesPerElement,
  type StoredKeys,
} from './theory/traffic.ts';
