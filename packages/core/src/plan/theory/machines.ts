/** Accelerators by their makers' data sheets, and the machine that was measured. A source counts two operations per multiply-accumulate. */
import type { MachinePeaks } from '../../peaks/measure.ts';
import type { Accelerator } from './machine.ts';

/** Rows of NVIDIA's smallest matrix instruction with the weights as its first operand: m16n8k16 and its like, m64n8k16. */
const NVIDIA_ROWS = 8;

/** Rows of a cube of 16 × 16 × 16. */
const CUBE_ROWS = 16;

/** NVIDIA A100 80GB SXM. Dense: 624 TOPS INT8, 312 TFLOPS BF16, 19.5 TFLOPS FP32, 2039 GB/s. */
const A100: Accelerator = {
  name: 'NVIDIA A100 80GB SXM',
  source: 'NVIDIA A100 datasheet (1758950 r4, 80GB SXM): dense tensor rates, FP32, memory bandwidth',
  units: 'coupled',
  matrixTmacs: { int8: 312, bf16: 156 },
  vectorTops: 9.75,
  memoryTerabytes: 2.039,
  tileRows: NVIDIA_ROWS,
};

/** NVIDIA H100 SXM. Dense: 1979 TOPS INT8, 1979 TFLOPS FP8, 989 TFLOPS BF16, 67 TFLOPS FP32, 3.35 TB/s. */
const H100: Accelerator = {
  name: 'NVIDIA H100 SXM',
  source: 'NVIDIA H100 datasheet (SXM): half of the tensor rates with sparsity, FP32, memory bandwidth',
  units: 'coupled',
  matrixTmacs: { int8: 989.5, fp8: 989.5, bf16: 494.5 },
  vectorTops: 33.5,
  memoryTerabytes: 3.35,
  tileRows: NVIDIA_ROWS,
};

/** NVIDIA B200. Dense: 9 PFLOPS FP4, 4.5 PFLOPS FP8, 4.5 POPS INT8, 2.25 PFLOPS BF16, 75 TFLOPS FP32, 7.7 TB/s. */
const B200: Accelerator = {
  name: 'NVIDIA HGX B200, one GPU',
  source:
    'NVIDIA Blackwell datasheet (HGX B200, one GPU): half of the tensor rates with sparsity, FP32, memory bandwidth',
  units: 'coupled',
  matrixTmacs: { int8: 2250, fp4: 4500, fp8: 2250, bf16: 1125 },
  vectorTops: 37.5,
  memoryTerabytes: 7.7,
  tileRows: NVIDIA_ROWS,
};

/**
 * Huawei Ascend 910B2. 24 cube cores and 48 vector cores at 1.8 GHz; per cycle and core 16 × 16 × 16 products of FP16 or BF16, 16 × 32 × 16 of
 * INT8, and 128 operations on FP16: 353.9 TFLOPS, 707.8 TOPS, and 22.1 TFLOPS of vectors. 1.6 TB/s.
 *
 * Cube and vector cores exchange data through global memory: the "separated architecture" of Ascend C's documentation (Basic Architecture).
 */
const ASCEND_910B2: Accelerator = {
  name: 'Huawei Ascend 910B2',
  source:
    'CANN, platform_config/Ascend910B2C.ini: cores, clock, sizes of cube and vector; cross-platform migration guide of ops-transformer: memory bandwidth',
  units: 'decoupled',
  matrixTmacs: { int8: 353.9, bf16: 176.95 },
  vectorTops: 11.06,
  memoryTerabytes: 1.6,
  tileRows: CUBE_ROWS,
};

/** Accelerators that {@link dequantizeFirst} and {@link severalPasses} are drawn for. */
export const accelerators: readonly Accelerator[] = [A100, H100, B200, ASCEND_910B2];

/**
 * The machine whose peaks were measured, one thread: its SIMD unit is vector and matrix unit in one. Of int16 products, which hold two
 * INT8 passes in one; with relaxed SIMD of int8 ones.
 *
 * Derived from the peak of int16 dots, a dot and an addition per 8 products: one product of floats is a multiplication and an
 * addition per 4, so half the rate; an operation on a vector of 4 lanes is half of that pair. WebAssembly has no BF16: floats are f32.
 *
 * @param peaks of `measurePeaks()`
 */
export function machineOf({ dotGmacs, relaxedDotGmacs, readGigabytes }: MachinePeaks): Accelerator {
  const GIGA = 1e-3; // of 10¹²
  return {
    name: 'this machine, one thread',
    source: 'measurePeaks() of @msd/core/peaks',
    units: 'same',
    matrixTmacs: { int8: GIGA * (relaxedDotGmacs ?? dotGmacs), bf16: (GIGA * dotGmacs) / 2 },
    vectorTops: GIGA * dotGmacs,
    memoryTerabytes: GIGA * readGigabytes,
    tileRows: 1,
  };
}
