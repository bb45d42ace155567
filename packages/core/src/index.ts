/** @msd/core: decompose -> gemm -> recombine. The public API; everything else is internal. */

export { elementBound, errorBound } from './accuracy/bounds.ts';
export { effectiveBits, sqnr } from './accuracy/units.ts';
export { type ActivationId, activationUlps } from './activations/contract.ts';
export type {
  AttentionOp,
  AttentionRun,
  HeadStrides,
  KvCache,
  KvShape,
  KvType,
  ResolvedKvShape,
  ScoreArray,
  ScoreDims,
} from './attention/contract.ts';
export { headMajor, MAX_HEAD_SIZE, PAGE_KEYS, rowMajor } from './attention/contract.ts';
export { type AttentionOptions, attention } from './attention.ts';
export { attentionWork, createKvCache } from './attention-work.ts';
export type { ArenaHandle, ArenaOptions } from './backends/arena.ts';
export { Arena } from './backends/arena.ts';
export type {
  ActivationOptions,
  Backend,
  BackendBase,
  BitsResult,
  F32Result,
  MatmulManyOptions,
  MatmulOptions,
  MemoryReport,
  Operand,
  PreparedMatrix,
  PreparedWeights,
  ProductOptions,
} from './backends/backend.ts';
export { createBackend, createThreadedBackend, createWasmBackend, type WasmBackendOptions } from './backends/create.ts';
export type { AttentionWork, Call, Changes, Device, OpWork, ProductEnd, ProductWork, Work } from './backends/device.ts';
export type { Heap } from './backends/heap.ts';
export type { ReferenceBackend, ReferenceBackendOptions } from './backends/reference/backend.ts';
export type { TunedKernel } from './backends/wasm/autotune.ts';
export type { WasmBackend, WasmOptions } from './backends/wasm/backend.ts';
export type { CarrierReport, CarrierTiming } from './backends/wasm/routes.ts';
export {
  type ActivationBlock,
  type Components,
  type DecompositionId,
  type DecompositionOptions,
  digits,
  limitOf,
} from './decompose/contract.ts';
export type { DeviceName } from './device-name.ts';
export { BackendUnavailableError, GpuError, UnsupportedError } from './errors.ts';
export { type Codebook, type CodebookId, codebooks } from './formats/codebook.ts';
export { fromFp16, toFp16 } from './formats/fp16.ts';
export { floatsOfFp16, fp16Bits } from './formats/fp16-arrays.ts';
export type { FloatType, HalfArray, HalfType, NativeFloat16Array } from './formats/half.ts';
export { formatIds } from './formats/index.ts';
export { interleaveNibbles } from './formats/nibbles.ts';
export {
  PACKED_VERSION,
  type PackedShape,
  type PackedWeights,
  packedByteLength,
  packedShape,
  packWeights,
  upgradePacked,
} from './formats/packed.ts';
export { packedRows } from './formats/packed-rows.ts';
export { dequantizeWeights, type QuantizeOptions, quantizeWeights } from './formats/quantize.ts';
export type { ScaleId } from './formats/scales.ts';
export { badScale, SCALE_LIMIT, validateWeights } from './formats/validate.ts';
export type { FormatId, QuantizedWeights, WeightShape } from './formats/weights.ts';
export { type MatrixRows, type RowSource, rowExtent, type TableRows, tableCodes } from './lookup/contract.ts';
export { type RowReader, rowReader } from './lookup/rows.ts';
export { matmul } from './matmul.ts';
export { msdMatmul, type ReferenceOptions } from './msd-matmul.ts';
export { MAX_THREADS } from './plan/cut.ts';
export type { ThreadWorker } from './threads/environment.ts';
export type { ThreadOptions, ThreadReport } from './threads/team.ts';
export type { WorkerFactory } from './threads/worker.ts';
export type { CarrierChoice, RelaxedDot } from './wasm/features.ts';
