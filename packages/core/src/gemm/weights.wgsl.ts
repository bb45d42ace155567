/** What both WGSL gemm kernels are asked for, and the parts of them that read packed weights and finish a result. */
import type { Plan } from '../decompose/contract.ts';
import { K_BLOCK, K_STEP, PANEL, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { chunkLength, headSize } from '../formats/layout.ts';
import { needsZeroCodes, type WgslFormat, wgslFormats, wgslScales, wgslZeroCodes } from '../formats/wgsl.ts';
import { END_PARAMS, endBuffers, endCode, endSuffix, type WgslEnd } from '../recombine/end.wgsl.ts';
import { dot4, enables, type GpuFeatures, lines, NAN_BITS, paramsOf, range } from '../webgpu/wgsl.ts';
import { digitsOf } from './carriers.ts';

export interface WgslGemmOptions {
  readonly format: WeightFormat;
  readonly variant: WeightVariant;
  readonly plan: Plan;
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
export interface WgslGemm {
  readonly format: WgslFormat;
  readonly digits: 1 | 2;
  /** Consecutive k of a K-block that share a head. */
  readonly span: number;
  readonly blockwise: boolean;
  /** Activations have a scale per 32 k. */
  readonly fine: boolean;
  readonly zeroCodes: boolean;
  /** k per scaled integer sum. */
  readonly chunk: number;
  /** vec4u of a head, of a span with its head, and of all spans of a panel in a whole K-block. */
  readonly headVecs: number;
  readonly spanVecs: number;
  readonly panelVecs: number;
}

export function describeGemm({ format, variant, plan }: WgslGemmOptions): WgslGemm {
  const wgsl = wgslFormats[format.id];
  const fine = plan.activationBlock === 32;
  const span = Math.min(variant.blockSize ?? K_BLOCK, K_BLOCK);
  const headVecs = headSize(variant) / 16;
  const spanVecs = headVecs + (span / 4) * wgsl.pairVecs;
  return {
    format: wgsl,
    digits: digitsOf(plan),
    span,
    blockwise: variant.blockSize !== null,
    fine,
    zeroCodes: needsZeroCodes(wgsl, variant),
    chunk: chunkLength(format, variant.blockSize, fine ? 32 : 256),
    headVecs,
    spanVecs,
    panelVecs: (K_BLOCK / span) * spanVecs,
  };
}

/** The carrier, as kernel ids of all backends name it. */
export const carrierName = ({ plan }: WgslGemmOptions): string => (digitsOf(plan) === 2 ? 'i8x2' : 'i8');

/** The part of an id that says for which weights and activations. */
export function gemmSuffix({ variant, plan, end, features }: WgslGemmOptions): string {
  const scale = variant.scale === 'f16' ? '_f16' : '';
  const block = variant.blockSize ? `_b${Math.min(variant.blockSize, K_BLOCK)}${scale}` : '';
  const fine = plan.activationBlock === 32 ? '_a32' : '';
  return `${block}${fine}${variant.storedZeroPoints ? '_zp' : ''}${endSuffix(end)}${features.packedDot ? '' : '_shifts'}`;
}

/** Declarations and functions up to `main`. */
export function gemmPrelude(options: WgslGemmOptions, rows: 1 | 4, subgroups: boolean): string {
  const { variant, features, end } = options;
  const { format, headVecs, spanVecs, panelVecs, span, zeroCodes, digits } = describeGemm(options);
  const word = rows === 4 ? 'vec4u' : 'u32';
  return `${enables(subgroups, features.packedDot)}${subgroups ? 'requires subgroup_id;\n' : ''}${paramsOf(GEMM_PARAMS)}
@group(0) @binding(1) var<storage, read> digits: array<${word}>;    // [${digits}][M/${rows}][K/4][${rows}], four k in a word
@group(0) @binding(2) var<storage, read> scales: array<${word}>;    // f32 [M/${rows}][blocks][${rows}]
@group(0) @binding(3) var<storage, read> w: array<vec4u>;        // [K/256][panels][head, then pairs of 16 rows x 4 k]
@group(0) @binding(4) var<storage, read_write> y: array<u32>;    // f32 [M, yStride]
${endCode(end, 5)}${dot4(features.packedDot)}
${format.codes}
${variant.blockSize ? wgslScales[variant.scale] : ''}
${zeroCodes ? wgslZeroCodes(format, variant) : ''}

// Index of the head of the span that k lies in.
fn headOf(panel: u32, k: u32) -> u32 {
  let kBlock = k / ${K_BLOCK}u;
  let kCount = min(p.K - kBlock * ${K_BLOCK}u, ${K_BLOCK}u);
  let panelVecs = ((kCount + ${span - 1}u) / ${span}u) * ${headVecs}u + (kCount / 4u) * ${format.pairVecs}u;
  return p.wAt + kBlock * p.panels * ${panelVecs}u + panel * panelVecs + ((k % ${K_BLOCK}u) / ${span}u) * ${spanVecs}u;
}

fn isNan(bits: u32) -> bool { return bits == ${NAN_BITS}; }
fn dots(x: u32, w: vec4u) -> vec4i { return vec4i(dot4(x, w.x), dot4(x, w.y), dot4(x, w.z), dot4(x, w.w)); }
`;
}

/** Index of the first vector of the pair at k, its head given. */
export const pairAt = (head: string, k: string, { headVecs, span, format }: WgslGemm): string =>
  `${head} + ${headVecs}u + ((${k}) % ${span}u) / 4u * ${format.pairVecs}u`;

/** The pair's vectors, and the argument list that `codes` takes them in. */
export const loadPair = ({ format }: WgslGemm, at: string): string =>
  lines(format.pairVecs, (v) => `let v${v} = w[${at} + ${v}u];`, ' ');
export const pairArguments = ({ format }: WgslGemm): string =>
  range(format.pairVecs)
    .map((v) => `v${v}`)
    .join(', ');

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
