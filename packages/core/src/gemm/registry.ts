/**
 * Every gemm kernel by what it is for. Dispatch, tests and benchmarks loop over this; plan/choose.ts says which one runs.
 * Tiles come from `kernel search` (test/bench): 15 registers in V8 hold 8 accumulators and their operands.
 */
import { K_BLOCK, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import type { GemmOptions } from './gemm.wasm.ts';

export type GemmShape = 'gemv' | 'smallM' | 'gemm';

export function gemmOptions(
  shape: GemmShape,
  format: WeightFormat,
  variant: WeightVariant,
  activationBlock: 256 | 32 = 256,
): GemmOptions {
  switch (shape) {
    case 'gemv': // longer unrolls serialise on V8 11 and 12 (Node 20, 22)
      return { format, variant, activationBlock, widen: false, tileM: 1, kUnroll: format.bits === 8 ? 2 : 1 };
    case 'smallM':
      return { format, variant, activationBlock, widen: false, tileM: 2 };
    case 'gemm':
      return { format, variant, activationBlock, widen: true, tileM: 2 };
  }
}

/** All variants that kernels are specialised for: one per block span, with and without stored zero points. */
export function everyVariant(): { format: WeightFormat; variant: WeightVariant }[] {
  return Object.values(formats).flatMap((format) => {
    const [min, max] = format.blockSizes;
    const spans = [16, 32, 64, 128, K_BLOCK].filter((span) => span >= min && span <= max);
    const blockSizes = format.perChannel ? [null, ...spans] : spans;
    return blockSizes.flatMap((blockSize) =>
      (format.asymmetric ? [false, true] : [false]).flatMap((storedZeroPoints) =>
        (blockSize ? format.scaleIds : (['f32'] as const)).map((scale) => ({
          format,
          variant: { blockSize, storedZeroPoints, scale },
        })),
      ),
    );
  });
}

export const gemmShapes: readonly GemmShape[] = ['gemv', 'smallM', 'gemm'];
