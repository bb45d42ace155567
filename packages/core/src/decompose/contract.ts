/**
 * Decompose: x f32 [M,K] -> q int16 [M,K], one scale per (row, K-block).
 *
 *   S = max |x| / limit,  q = round(x / S)  in [-limit, limit],  limit = 127 · 254^(components − 1)      (docs/msd.md, eq. 1-3)
 *
 * q is a balanced base-254 number: its digits d1 = floor((q + 127) / 254), d2 = q − 254·d1 are the int8 components of the
 * paper. The i16 carrier multiplies q as it is; carriers with 8-bit operands take the digits.
 */
import { floorLog2, roundHalfEven } from '../numbers.ts';

/** How many int8 components an activation is split into: 1 = what engines call dynamic int8, 2 = ~16 bits. */
export type Components = 1 | 2;

/**
 * Consecutive k of a row that share one activation scale: 256 (default, free everywhere), 32 (an outlier spoils 32 k only),
 * or the whole row (the paper's).
 */
export type ActivationBlock = 'row' | 256 | 32;

/** What the components are: balanced base-254 digits, or the paper's E2M1 values of one and two MXFP4 passes. */
export type DecompositionId = 'int8' | 'mxfp4';

/** How activations become integers. The user chooses it; it changes bits. */
export interface Decomposition {
  readonly id: DecompositionId;
  readonly components: Components;
  readonly activationBlock: ActivationBlock;
}

/** Options for the decomposition of activations; each one has a default. */
export interface DecompositionOptions {
  /** What activations are split into: 'int8' digits (default), or 'mxfp4' passes (activationBlock 32). */
  readonly decomposition?: DecompositionId | undefined;
  /** How many components: 2 (default, ~16 bits with int8), or 1 (dynamic int8). */
  readonly components?: Components | undefined;
  /** k that share an activation scale: 256 (default), 32, or 'row'. */
  readonly activationBlock?: ActivationBlock | undefined;
}

/**
 * @returns one and the same object for equal options
 * @throws {@link RangeError} for values that are none of the above
 */
export function resolveDecomposition(options: DecompositionOptions, where: string): Decomposition {
  const { decomposition = 'int8', components = 2 } = options;
  const { activationBlock = decomposition === 'mxfp4' ? 32 : 256 } = options;
  const refuse = (name: string, expected: string, got: unknown): never => {
    throw new RangeError(`${where}: ${name} expected ${expected}, got ${got}.`);
  };
  if (decomposition !== 'int8' && decomposition !== 'mxfp4')
    refuse('decomposition', "'int8' or 'mxfp4'", decomposition);
  if (components !== 1 && components !== 2) refuse('components', '1 or 2', components);
  if (activationBlock !== 'row' && activationBlock !== 256 && activationBlock !== 32)
    refuse('activationBlock', "'row', 256 or 32", activationBlock);
  if (decomposition === 'mxfp4' && activationBlock !== 32)
    refuse('activationBlock', '32 for the mxfp4 decomposition', activationBlock);
  const block = BLOCKS.indexOf(activationBlock);
  return DECOMPOSITIONS[(decomposition === 'mxfp4' ? 6 : 0) + 3 * (components - 1) + block];
}

/** The options that choose it. */
export const optionsOf = ({ id, components, activationBlock }: Decomposition): DecompositionOptions => ({
  decomposition: id,
  components,
  activationBlock,
});

const BLOCKS: readonly ActivationBlock[] = ['row', 256, 32];
/** Every decomposition once: devices use the object as a key for kernels, and `matmul` looks one up on every call. */
const DECOMPOSITIONS: readonly Decomposition[] = /* @__PURE__ */ (['int8', 'mxfp4'] as const).flatMap((id) =>
  ([1, 2] as const).flatMap((components) => BLOCKS.map((activationBlock) => ({ id, components, activationBlock }))),
);

/** All that options can choose: MXFP4 passes are per 32 k. */
export const everyDecomposition: readonly Decomposition[] = /* @__PURE__ */ DECOMPOSITIONS.filter(
  ({ id, activationBlock }) => id === 'int8' || activationBlock === 32,
).sort((a, b) => a.components - b.components);

/** int8 operands that q is split into. |q| ≤ 64 after MXFP4 passes: one digit holds both components. */
export const digitsOf = ({ id, components }: Decomposition): 1 | 2 => (id === 'mxfp4' ? 1 : components);

/** Largest |q|. */
export const limitOf = (components: Components): number => 127 * 254 ** (components - 1);

/** Blocks whose maximum is below this are zero: their error is at most the maximum itself. */
export const TINY: number = 2 ** -100;

/** Most significant first: q = 254·d1 + d2, both in [-127, 127]. */
export function digits(q: number): [number, number] {
  const high = Math.floor((q + 127) / 254);
  return [high, q - 254 * high];
}

/**
 * MXFP4 passes (the paper's §3.3): alpha = 2^ceil(log2 max |block|) is mapped to 4, so that one pass leaves at most alpha/8
 * and a second one, at 1/8 of the scale, alpha/64. Doubled E2M1 codes d1, d2 make the integer q = 8·d1 + d2, |q| ≤ 64, with
 * S = alpha / 64; one pass leaves d2 out. Activation blocks are 32.
 */
export const MXFP4_STEPS = 64;

/** 2^ceil(log2 max), exact, for finite max > 0. */
export function alphaOf(max: number): number {
  const floor = 2 ** floorLog2(max);
  return floor === max ? max : 2 * floor;
}

/** Nearest doubled E2M1 value of y in [-8, 8], ties to the even code: 0 1 2 3 4 6 8. */
export const roundToE2M1 = (y: number): number => (Math.abs(y) > 4 ? 2 * roundHalfEven(y / 2) : roundHalfEven(y));
