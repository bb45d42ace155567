/**
 * Every gemm kernel by its purpose. Dispatch, tests and benchmarks loop over this; plan/choose.ts decides which one
 * runs. Tiles come from `kernel search` (test/bench): 15 registers in V8 hold 8 accumulators and their operands.
 */
import { K_BLOCK, K_STEP, PANEL, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { chunkLength } from '../formats/layout.ts';
import type { KernelSpec } from '../kernel-spec.ts';
import { type CarrierOptions, fitsI8, I16 } from './carriers.ts';
import { gemmKernel } from './gemm.wasm.ts';
import { GEMM_ARGS, type GemmOptions, gemmId } from './options.ts';

export type GemmShape = 'gemv' | 'smallM' | 'midM' | 'gemm';

/**
 * Steps per turn of the inner loop, where several rows share the weights: two where the engine keeps the order of operations, and
 * one where it loads the operands of all steps first (backends/wasm/routes.ts).
 */
export type Unroll = 1 | 2;
export const unrolls: readonly Unroll[] = [1, 2];

export function gemmOptions(
  shape: GemmShape,
  format: WeightFormat,
  variant: WeightVariant,
  activationBlock: 256 | 32 = 256,
  carrier: CarrierOptions = I16,
  kUnroll: Unroll = 1,
): GemmOptions {
  const common = { format, variant, activationBlock, carrier };
  const rows = { ...common, kUnroll };
  if (carrier.id === 'i8' && shape !== 'gemv') {
    // Twelve accumulators on two vectors of weights. Two digits leave no room for a second row of 16 columns.
    // Looking codes up takes longer than widening them once.
    const isSmall = shape === 'smallM' || (shape === 'midM' && !format.table);
    const tile = { tileM: carrier.digits === 2 ? 3 : 6, tileN: 8 } as const;
    if (carrier.digits === 1 && isSmall) return { ...rows, widen: false, tileM: 2 };
    const isDirect = isSmall ? splitsPanels(format, variant) : takesBytes(common);
    if (isDirect) return { ...common, widen: false, ...tile };
    return { ...rows, widen: true, ...tile };
  }
  // One step per turn is best everywhere; longer turns serialise on V8 11 and 12 (Node 20, 22).
  if (shape === 'gemv') return { ...common, widen: false, tileM: 1, ...streamsFor(common, kUnroll) };
  const isSplit = splitsPanels(format, variant);
  if (kUnroll === 1 && takesQuads(shape, common)) return { ...rows, ...QUADS };
  // Bytes take one operation per vector to unpack, and a pass that only widens waits for memory.
  const isDirect = shape === 'smallM' || (shape === 'midM' && format.bits === 8 && kUnroll > 1);
  const widen = format.table || !isDirect;
  if (widen || !isSplit) return { ...rows, widen, tileM: 2 };
  // Rows share what is unpacked. Engines that load the operands of a step first have no registers for a fourth one.
  return { ...rows, widen, tileM: kUnroll > 1 ? 4 : 3, tileN: 8 };
}

/**
 * Several streams of weights hide the time that a CPU loses at page borders. i16 runs on older CPUs, where i8 is no
 * gain: four streams (docs/msd.md, section 6), two of them side by side if the engine keeps the order of operations.
 * i8 with whole chunks of 32 k: four, one panel after the other. With turns inside longer chunks: two, since more
 * accumulators than registers cost what they gain. A single digit needs two panels side by side if chunks are short,
 * because its four accumulators would wait for each other.
 */
function streamsFor(
  { format, variant, activationBlock, carrier }: TileOptions,
  kUnroll: Unroll,
): Pick<GemmOptions, 'streams' | 'abreast'> {
  if (carrier.id === 'i16') return { streams: 4, abreast: kUnroll };
  if (chunkLength(format, variant.blockSize, activationBlock) > K_STEP) return { streams: 2 };
  return carrier.digits === 1 ? { streams: 2, abreast: 2 } : { streams: 4 };
}

/**
 * What may be faster where the weights lie beyond the caches, which is only known by timing it there: eight streams, or one. Intel
 * (Sapphire Rapids) gains with each, Zen 4 loses a quarter with four where K-blocks are short (docs/msd.md, section 6).
 */
export function otherStreams(options: GemmOptions): GemmOptions[] {
  const { carrier = I16, streams = 1, widen, tileM } = options;
  if (widen || tileM > 1) return [];
  const one = { ...options, streams: 1, abreast: 1 } as const;
  if (carrier.id === 'i16') return [one];
  if (chunkLength(options.format, options.variant.blockSize, options.activationBlock ?? 256) > K_STEP) return [];
  const eight = { ...options, streams: 8 } as const;
  return streams === 4 ? [eight, one] : [eight];
}

type TileOptions = Required<Pick<GemmOptions, 'format' | 'variant' | 'activationBlock' | 'carrier'>>;

/** Can packed panels be read in halves? The columns have vectors of their own, and zero points are the same for all. */
const splitsPanels = ({ bits }: WeightFormat, { storedZeroPoints }: WeightVariant): boolean =>
  bits > 2 && !storedZeroPoints;

/**
 * Are packed codes a carrier's operand as they are? To widen them would be to copy them, and a pass that copies waits for memory where
 * products hide that: M = 8 gains a quarter, M = 128 up to 8 %. Short scales would be widened by each tile.
 */
const takesBytes = ({ format, variant, carrier }: TileOptions): boolean =>
  carrier.id === 'i8' &&
  carrier.operand === 'unsigned' &&
  format.bits === 8 &&
  variant.scale === 'f32' &&
  !variant.storedZeroPoints;

/** The carriers that can run a variant, every form of them. */
export function everyCarrier(format: WeightFormat, variant: WeightVariant): CarrierOptions[] {
  if (!fitsI8(variant)) return [I16];
  const forms = [
    ...(['unsigned', 'signed'] as const).slice(0, format.operandBits === 8 ? 2 : 1),
    ...(format.nests ? [null] : []),
  ];
  return [
    I16,
    ...forms.flatMap((operand) => ([1, 2] as const).map((digits) => ({ id: 'i8', digits, operand }) as const)),
  ];
}

/** Tiles that a search on the user's device tries: each is the fastest on some machine (docs/msd.md, section 6). */
export function tileCandidates(
  shape: GemmShape,
  format: WeightFormat,
  variant: WeightVariant,
  activationBlock: 256 | 32,
  carrier: CarrierOptions,
): GemmOptions[] {
  const common = { format, variant, activationBlock, carrier };
  const direct = (tileM: number, kUnroll: Unroll, streams: 1 | 2 | 4 | 8 = 1, abreast: 1 | 2 = 1) =>
    ({ ...common, widen: false, tileM, kUnroll, streams, abreast }) as const;
  return unrolls.flatMap((kUnroll) => {
    if (shape === 'gemv')
      return [
        ...([1, 2, 4, 8] as const).map((streams) => direct(1, kUnroll, streams)),
        ...([2, 4, 8] as const).map((streams) => direct(1, kUnroll, streams, 2)),
      ];
    const widened = WIDENED.map(([tileM, tileN]) => ({ ...common, widen: true, tileM, tileN, kUnroll }));
    const narrow = (tileM: number): GemmOptions => ({ ...direct(tileM, kUnroll), tileN: 8 });
    if (shape === 'gemm') return takesBytes(common) ? [...[3, 6].map(narrow), ...widened] : widened;
    const split = splitsPanels(format, variant) ? [3, 4].map(narrow) : [];
    if (kUnroll === 1 && carrier.id === 'i16' && takesQuads(shape, common)) split.push({ ...common, ...QUADS });
    return [...[1, 2, 3].map((tileM) => direct(tileM, kUnroll)), ...split, ...widened];
  });
}

const WIDENED = [
  [1, 16],
  [2, 8],
  [2, 16],
  [3, 8],
  [4, 8],
  [5, 8],
  [6, 8],
  [8, 8], // 16 accumulators: for CPUs with 32 vector registers (ARM)
] as const;

/** For engines that have no registers for masks. The parts of a sum are put together once per chunk, which has to be long for that. */
const takesQuads = (shape: GemmShape, { format, variant, activationBlock }: TileOptions): boolean =>
  format.bits === 8 &&
  splitsPanels(format, variant) &&
  shape !== 'gemm' &&
  chunkLength(format, variant.blockSize, activationBlock) >= (shape === 'smallM' ? 2 * K_STEP : K_BLOCK);
const QUADS = { widen: false, tileM: 4, tileN: 4, quads: true } as const;

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

export const gemmShapes: readonly GemmShape[] = ['gemv', 'smallM', 'midM', 'gemm'];

export type GemmArg = (typeof GEMM_ARGS)[number];

export const gemmSpec: KernelSpec<GemmOptions, GemmArg> = {
  family: 'gemm',
  args: GEMM_ARGS,
  id: gemmId,
  emit: gemmKernel,
  /** Four panels x 256 k of any format. */
  trial: ({ widen, tileM }, at, rows = widen ? 12 : 2 * tileM) => ({
    x: at,
    xSums: at + 0x2000,
    xScale: at + 0x2800,
    w: at + 0x4000,
    wScale: at + 0x3000,
    bias: 0,
    y: at + 0x3400,
    yStride: 4 * 4 * PANEL,
    scratch: at + 0xc000,
    M: rows,
    K: K_BLOCK,
    panels: 4,
    first: 0,
    count: 4,
  }),
};

/** What ships: tests and benchmarks loop over it. */
export const gemmVariants = (): Iterable<GemmOptions> => {
  const all = everyVariant().flatMap(({ format, variant }) =>
    everyCarrier(format, variant).flatMap((carrier) =>
      gemmShapes.flatMap((shape) =>
        ([256, 32] as const).flatMap((block) =>
          unrolls.flatMap((unroll) => {
            const options = gemmOptions(shape, format, variant, block, carrier, unroll);
            return [options, ...otherStreams(options)];
          }),
        ),
      ),
    ),
  );
  return new Map(all.map((options) => [gemmId(options), options])).values();
};

/** Rows that kernels of a shape class are compared at. */
export const TRIAL_ROWS: Readonly<Record<GemmShape, number>> = { gemv: 1, smallM: 4, midM: 6, gemm: 12 };
