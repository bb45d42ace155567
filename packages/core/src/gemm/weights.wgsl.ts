/** Options of both WGSL gemm kernels, and the parts of them that read packed weights and finish a result. */
import { type Decomposition, digitsOf } from '../decompose/contract.ts';
import { K_BLOCK, K_STEP, PANEL, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { chunkLength } from '../formats/layout.ts';
import { describePacked, packedFunctions, type WgslPacked } from '../formats/wgsl.ts';
import { END_PARAMS, endBuffers, endCode, endSuffix, type WgslEnd } from '../recombine/end.wgsl.ts';
import { dot4, enables, type GpuFeatures, NAN_BITS, paramsOf } from '../wgsl/wgsl.ts';

export interface WgslGemmOptions {
  readonly format: WeightFormat;
  readonly variant: WeightVariant;
  readonly decomposition: Decomposition;
  readonly end: WgslEnd;
  readonly features: GpuFeatures;
}

export const GEMM_PARAMS = [
  'M',
  'N', // columns of this piece of the matrix
  'K', // padded to 32
  'panels',
  'wAt', // vec4u
  'channelScales', // vec4u after wAt
  'blocks', // activation scales per row
  'rowWords', // words of digits of one component
  ...END_PARAMS,
] as const;

/** What a kernel is specialised for, derived once. */
export interface WgslGemm extends WgslPacked {
  readonly digits: 1 | 2;
  /** Activations have a scale per 32 k. */
  readonly fine: boolean;
  /** k per scaled integer sum. */
  readonly chunk: number;
}

export function describeGemm({ format, variant, decomposition }: WgslGemmOptions): WgslGemm {
  const fine = decomposition.activationBlock === 32;
  return {
    ...describePacked(format, variant),
    digits: digitsOf(decomposition),
    fine,
    chunk: chunkLength(format, variant.blockSize, fine ? 32 : 256),
  };
}

/** The carrier, as kernel ids of all backends name it. */
export const carrierName = ({ decomposition }: WgslGemmOptions): string =>
  digitsOf(decomposition) === 2 ? 'i8x2' : 'i8';

/** The part of an id that names weights and activations. */
export function gemmSuffix({ variant, decomposition, end, features }: WgslGemmOptions): string {
  const scale = variant.scale === 'f16' ? '_f16' : '';
  const block = variant.blockSize ? `_b${Math.min(variant.blockSize, K_BLOCK)}${scale}` : '';
  const fine = decomposition.activationBlock === 32 ? '_a32' : '';
  return `${block}${fine}${variant.storedZeroPoints ? '_zp' : ''}${endSuffix(end)}${features.packedDot ? '' : '_shifts'}`;
}

/** Declarations and functions up to `main`. */
export function gemmPrelude(options: WgslGemmOptions, rows: 1 | 4, subgroups: boolean): string {
  const { format, variant, features, end } = options;
  const { digits } = describeGemm(options);
  const word = rows === 4 ? 'vec4u' : 'u32';
  return `${enables(subgroups, features.packedDot)}${subgroups ? 'requires subgroup_id;\n' : ''}${paramsOf(GEMM_PARAMS)}
@group(0) @binding(1) var<storage, read> digits: array<${word}>;    // [${digits}][M/${rows}][K/4][${rows}], four k in a word
@group(0) @binding(2) var<storage, read> scales: array<${word}>;    // f32 [M/${rows}][blocks][${rows}]
@group(0) @binding(3) var<storage, read> w: array<vec4u>;        // [K/256][panels][head, then steps of 16 rows x 4 k]
@group(0) @binding(4) var<storage, read_write> y: array<u32>;    // f32 [M, yStride]
${endCode(end, 5)}${dot4(features.packedDot)}
${packedFunctions(format, variant)}

fn isNan(bits: u32) -> bool { return bits == ${NAN_BITS}; }
fn dots(x: u32, w: vec4u) -> vec4i { return vec4i(dot4(x, w.x), dot4(x, w.y), dot4(x, w.z), dot4(x, w.w)); }
`;
}

/** f32 scales of rows 4g … 4g+3 of a panel. */
export const weightScales = ({ blockwise }: WgslGemm, head: string, panel: string, g: string): string =>
  blockwise
    ? `blockScales(${head}, ${g})`
    : `bitcast<vec4f>(w[p.wAt + p.channelScales + ${PANEL / 4}u * (${panel}) + ${g}])`;

/** Index of the activation scale of k, in a row of `blocks`. */
export const scaleBlock = ({ fine }: WgslGemm, k: string): string => `(${k}) / ${fine ? K_STEP : K_BLOCK}u`;

/** The exact integer: 254 times the upper digit's sum plus the lower one's. */
export const joined = (digits: 1 | 2, sum: (p: number) => string): string =>
  digits === 2 ? `254 * ${sum(0)} + ${sum(1)}` : sum(0);

/** Bindings after the parameters. */
export const gemmBuffers = ({ end }: WgslGemmOptions): ('read' | 'write')[] => [
  'read',
  'read',
  'read',
  'write',
  ...endBuffers(end).map(() => 'read' as const),
];
