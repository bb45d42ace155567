/**
 * @msd/core/numerics: number formats as functions on numbers, and seeded inputs like those of language models.
 *
 * For simulations and tests. Kernels and apps need none of it, so no other entry exports it.
 */

export { alphaOf, MXFP4_STEPS, roundToE2M1 } from '../decompose/contract.ts';
export { fromBf16, toBf16 } from '../formats/bf16.ts';
export { fromE4M3, toE4M3 } from '../formats/e4m3.ts';
export { fromFp16, toFp16 } from '../formats/fp16.ts';
export { E2M1_DOUBLED } from '../formats/mxfp4.ts';
export { toE2M1 } from '../formats/mxfp4-quantize.ts';
export { floorLog2, roundHalfEven } from '../numbers.ts';
export { type Distribution, distributions, type Sample, sample } from './attention-distributions.ts';
export { gaussian, gaussians, type Random, random } from './seeded.ts';
