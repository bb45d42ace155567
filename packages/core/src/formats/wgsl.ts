/**
 * How WGSL reads the packed layout (formats/format.ts), the same bytes that WASM reads. A thread turns the vectors of a step,
 * 16 rows x 4 k, into one word per row with the codes of the four k as bytes, an operand of dot4I8Packed. Decompose writes its
 * digits in the same order of the four.
 *
 * Codes of fewer than 8 bits stay unsigned: `zeroCode`, or a stored zero code, comes off the integer sums.
 */
import { lines, range } from '../wgsl/wgsl.ts';
import { type CodebookId, codebooks } from './codebook.ts';
import { K_BLOCK, type WeightFormat, type WeightVariant } from './format.ts';
import { headSize, scaleBytes } from './layout.ts';
import type { ScaleId } from './scales.ts';
import type { FormatId } from './weights.ts';

export interface WgslFormat {
  /** vec4u that a step takes. */
  readonly stepVecs: 1 | 2 | 4;
  /** The byte that means 0, unless zero codes are stored. */
  readonly zeroCode: number;
  /** Are bytes signed? Then weights take all 8 bits, and w − z does not fit a byte. */
  readonly signed: boolean;
  /** WGSL function `codes(v0, …, g) -> vec4u`: the words of rows 4g … 4g+3 from the step's vectors. */
  readonly codes: string;
}

const int8: WgslFormat = {
  stepVecs: 4,
  zeroCode: 0,
  signed: true,
  codes: `
fn codes(v0: vec4u, v1: vec4u, v2: vec4u, v3: vec4u, g: u32) -> vec4u {
  let odd = (g & 1u) == 1u;
  return select(select(v0, v1, odd), select(v2, v3, odd), g >= 2u) ^ vec4u(0x80808080u); // q + 128 is stored
}`,
};

const NIBBLES = `
fn nibbles(v0: vec4u, v1: vec4u, g: u32) -> vec4u {
  return (select(v0, v1, g >= 2u) >> vec4u(4u * (g & 1u))) & vec4u(0x0f0f0f0fu);
}`;

const int4: WgslFormat = {
  stepVecs: 2,
  zeroCode: 8,
  signed: false,
  codes: `${NIBBLES}
fn codes(v0: vec4u, v1: vec4u, g: u32) -> vec4u { return nibbles(v0, v1, g); }`,
};

const mxfp4: WgslFormat = {
  stepVecs: 2,
  zeroCode: 12,
  signed: false,
  // Doubled magnitudes 0 1 2 3 4 6 8 12 are i + j + 2·[j = 3], where i is the code and j its lower two bits from code 4 on.
  codes: `${NIBBLES}
fn codes(v0: vec4u, v1: vec4u, g: u32) -> vec4u {
  let c = nibbles(v0, v1, g);
  let i = c & vec4u(0x07070707u);
  let fromFour = (c >> vec4u(2u)) & vec4u(0x01010101u);
  let j = c & (fromFour * 3u);
  let magnitude = i + j + 2u * (j & (j >> vec4u(1u)) & vec4u(0x01010101u));
  let negative = ((c >> vec4u(3u)) & vec4u(0x01010101u)) * 255u;
  return vec4u(0x0c0c0c0cu) + magnitude - 2u * (magnitude & negative); // 12 more: 0 … 24
}`,
};

const int2: WgslFormat = {
  stepVecs: 1,
  zeroCode: 2,
  signed: false,
  codes: `
fn codes(v0: vec4u, g: u32) -> vec4u { return (v0 >> vec4u(2u * g)) & vec4u(0x03030303u); }`,
};

const wgslCodebook = (id: CodebookId): WgslFormat => ({
  stepVecs: 2,
  zeroCode: 0,
  signed: true,
  codes: `${NIBBLES}
const VALUES = array<u32, 16>(${codebooks[id].values.map((value) => `${value & 0xff}u`).join(', ')});
fn fourValues(c: u32) -> u32 {
  return VALUES[c & 15u] | (VALUES[(c >> 8u) & 15u] << 8u) | (VALUES[(c >> 16u) & 15u] << 16u) | (VALUES[c >> 24u] << 24u);
}
fn codes(v0: vec4u, v1: vec4u, g: u32) -> vec4u {
  let c = nibbles(v0, v1, g);
  return vec4u(fourValues(c.x), fourValues(c.y), fourValues(c.z), fourValues(c.w));
}`,
});

export const wgslFormats: Readonly<Record<FormatId, WgslFormat>> = {
  int8,
  int4,
  mxfp4,
  int2,
  nf4: /* @__PURE__ */ wgslCodebook('nf4'),
  fp4: /* @__PURE__ */ wgslCodebook('fp4'),
  nf4low: /* @__PURE__ */ wgslCodebook('nf4low'),
  fp4low: /* @__PURE__ */ wgslCodebook('fp4low'),
};

/** `fn blockScales(head, g) -> vec4f`: scales of rows 4g … 4g+3, `head` being the index of the block's first vec4u in `w`. */
export const wgslScales: Readonly<Record<ScaleId, string>> = {
  f32: `
fn blockScales(head: u32, g: u32) -> vec4f { return bitcast<vec4f>(w[head + g]); }`,
  // Subnormals by their integer value: a GPU may flush what a shift makes of them.
  f16: `
fn blockScales(head: u32, g: u32) -> vec4f {
  let both = w[head + g / 2u];
  let two = select(both.xy, both.zw, (g & 1u) == 1u);
  let bits = vec4u(two.x & 0xffffu, two.x >> 16u, two.y & 0xffffu, two.y >> 16u);
  let m = bits & vec4u(0x7fffu);
  let magnitude = select(bitcast<vec4f>((m << vec4u(13u)) + vec4u(0x38000000u)), vec4f(m) * 0x1p-24f, m < vec4u(0x400u));
  return select(magnitude, -magnitude, bits >= vec4u(0x8000u));
}`,
  // Halved: the codes that they scale are E2M1 doubled.
  e8m0: `
fn blockScales(head: u32, g: u32) -> vec4f {
  let four = w[head][g];
  let codes = vec4u(four & 0xffu, (four >> 8u) & 0xffu, (four >> 16u) & 0xffu, four >> 24u);
  return bitcast<vec4f>(codes << vec4u(23u)) * 0.5;
}`,
};

/** `fn zeroCodes(head, g) -> vec4i`: the codes of rows 4g … 4g+3 that mean 0. */
export function wgslZeroCodes(format: WgslFormat, variant: WeightVariant): string {
  const body = variant.storedZeroPoints
    ? `let four = w[head + ${scaleBytes(variant) / 16}u][g];
  return vec4i(vec4u(four & 0xffu, (four >> 8u) & 0xffu, (four >> 16u) & 0xffu, four >> 24u))${format.signed ? ' - 128' : ''};`
    : `return vec4i(${format.zeroCode});`;
  return `
fn zeroCodes(head: u32, g: u32) -> vec4i {
  ${body}
}`;
}

/** A packed matrix as a kernel is specialised for it, derived once. */
export interface WgslPacked {
  readonly format: WgslFormat;
  /** Consecutive k of a K-block that share a head. */
  readonly span: number;
  readonly blockwise: boolean;
  /** Does anything have to be subtracted from the codes, or from their sums? */
  readonly zeroCodes: boolean;
  /** vec4u of a head, of a span with its head, and of all spans of a panel in a whole K-block. */
  readonly headVecs: number;
  readonly spanVecs: number;
  readonly panelVecs: number;
}

export function describePacked({ id }: WeightFormat, variant: WeightVariant): WgslPacked {
  const format = wgslFormats[id];
  const span = Math.min(variant.blockSize ?? K_BLOCK, K_BLOCK);
  const headVecs = headSize(variant) / 16;
  const spanVecs = headVecs + (span / 4) * format.stepVecs;
  return {
    format,
    span,
    blockwise: variant.blockSize !== null,
    zeroCodes: variant.storedZeroPoints || format.zeroCode !== 0,
    headVecs,
    spanVecs,
    panelVecs: (K_BLOCK / span) * spanVecs,
  };
}

/**
 * `codes`, `blockScales`, `zeroCodes` as far as the matrix has them, and `fn headOf(panel, k)`. Parameters: K padded to 32, panels, wAt.
 */
export function packedFunctions(format: WeightFormat, variant: WeightVariant): string {
  const { format: wgsl, span, headVecs, spanVecs, panelVecs, zeroCodes } = describePacked(format, variant);
  return `${wgsl.codes}
${variant.blockSize ? wgslScales[variant.scale] : ''}
${zeroCodes ? wgslZeroCodes(wgsl, variant) : ''}

// Index of the head of the span that k lies in.
fn headOf(panel: u32, k: u32) -> u32 {
  let kBlock = k / ${K_BLOCK}u;
  let kCount = min(p.K - kBlock * ${K_BLOCK}u, ${K_BLOCK}u);
  let panelVecs = ((kCount + ${span - 1}u) / ${span}u) * ${headVecs}u + (kCount / 4u) * ${wgsl.stepVecs}u;
  return p.wAt + kBlock * p.panels * ${panelVecs}u + panel * panelVecs + ((k % ${K_BLOCK}u) / ${span}u) * ${spanVecs}u;
}`;
}

/** Index of the first vector of the step at k, its head given. */
export const stepAt = (head: string, k: string, { headVecs, span, format }: WgslPacked): string =>
  `${head} + ${headVecs}u + ((${k}) % ${span}u) / 4u * ${format.stepVecs}u`;

/** The step's vectors, and the argument list that `codes` takes them in. */
export const loadStep = ({ format }: WgslPacked, at: string): string =>
  lines(format.stepVecs, (v) => `let v${v} = w[${at} + ${v}u];`, ' ');
export const stepArguments = ({ format }: WgslPacked): string =>
  range(format.stepVecs)
    .map((v) => `v${v}`)
    .join(', ');
