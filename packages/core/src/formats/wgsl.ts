/**
 * How WGSL reads the packed layout (formats/format.ts), the same bytes that WASM reads. Two steps are a pair: 16 rows x 4 k,
 * which a thread turns into one word per row with the codes of the four k as bytes, an operand of dot4I8Packed. The order
 * of the four inside a word is the cheapest that the format's step gives; decompose writes its digits in the same one.
 *
 * Codes of fewer than 8 bits stay unsigned: `zeroCode`, or a stored zero point, comes off the integer sums.
 */
import { lines, range } from '../webgpu/wgsl.ts';
import { K_BLOCK, type WeightFormat, type WeightVariant } from './format.ts';
import { headSize, scaleBytes } from './layout.ts';
import type { ScaleId } from './scales.ts';
import type { FormatId } from './weights.ts';

export interface WgslFormat {
  /** vec4u that a pair takes. */
  readonly pairVecs: 1 | 2 | 4;
  /** Which of four consecutive k each byte of a word holds, lowest byte first. */
  readonly order: readonly [number, number, number, number];
  /** The byte that means 0, unless zero points are stored. */
  readonly zeroCode: number;
  /** Are stored zero points signed bytes? Then weights take all 8 bits, and w − z does not fit a byte. */
  readonly signed: boolean;
  /** WGSL function `codes(v0, …, g) -> vec4u`: the words of rows 4g … 4g+3 from the pair's vectors. */
  readonly codes: string;
}

/** Lanes of 16 bits: a step's word holds (row, k) (row, k+1) (row+1, k) (row+1, k+1) as bytes. */
const PAIRS_OF_BYTES = `
fn pairs(a: vec2u, b: vec2u) -> vec4u {
  let even = (a & vec2u(0xffffu)) | (b << vec2u(16u));
  let odd = (a >> vec2u(16u)) | (b & vec2u(0xffff0000u));
  return vec4u(even.x, odd.x, even.y, odd.y);
}`;

/** A word of a step holds (row, k) in its lower half and (row, k+1) in its upper one, a nibble for each group. */
const NIBBLES = `
fn nibbles(a: vec4u, b: vec4u, g: u32) -> vec4u {
  let low = (a & vec4u(0x00ff00ffu)) | ((b & vec4u(0x00ff00ffu)) << vec4u(8u)); // groups 0 and 1
  let high = ((a >> vec4u(8u)) & vec4u(0x00ff00ffu)) | (b & vec4u(0xff00ff00u)); // groups 2 and 3
  return (select(low, high, g >= 2u) >> vec4u(4u * (g & 1u))) & vec4u(0x0f0f0f0fu);
}`;

const int8: WgslFormat = {
  pairVecs: 4,
  order: [0, 1, 2, 3],
  zeroCode: 0,
  signed: true,
  codes: `${PAIRS_OF_BYTES}
fn codes(a0: vec4u, a1: vec4u, b0: vec4u, b1: vec4u, g: u32) -> vec4u {
  let a = select(a0, a1, g >= 2u);
  let b = select(b0, b1, g >= 2u);
  return pairs(select(a.xy, a.zw, (g & 1u) == 1u), select(b.xy, b.zw, (g & 1u) == 1u));
}`,
};

const int4: WgslFormat = {
  pairVecs: 2,
  order: [0, 2, 1, 3],
  zeroCode: 8,
  signed: false,
  codes: `${NIBBLES}
fn codes(a: vec4u, b: vec4u, g: u32) -> vec4u { return nibbles(a, b, g); }`,
};

const mxfp4: WgslFormat = {
  pairVecs: 2,
  order: [0, 2, 1, 3],
  zeroCode: 12,
  signed: false,
  // Doubled magnitudes 0 1 2 3 4 6 8 12 are i + j + 2·[j = 3], where i is the code and j its lower two bits from code 4 on.
  codes: `${NIBBLES}
fn codes(a: vec4u, b: vec4u, g: u32) -> vec4u {
  let c = nibbles(a, b, g);
  let i = c & vec4u(0x07070707u);
  let fromFour = (c >> vec4u(2u)) & vec4u(0x01010101u);
  let j = c & (fromFour * 3u);
  let magnitude = i + j + 2u * (j & (j >> vec4u(1u)) & vec4u(0x01010101u));
  let negative = ((c >> vec4u(3u)) & vec4u(0x01010101u)) * 255u;
  return vec4u(0x0c0c0c0cu) + magnitude - 2u * (magnitude & negative); // 12 more: 0 … 24
}`,
};

const int2: WgslFormat = {
  pairVecs: 1,
  order: [0, 1, 2, 3],
  zeroCode: 2,
  signed: false,
  codes: `${PAIRS_OF_BYTES}
fn codes(both: vec4u, g: u32) -> vec4u {
  return (pairs(both.xy, both.zw) >> vec4u(2u * g)) & vec4u(0x03030303u);
}`,
};

export const wgslFormats: Readonly<Record<FormatId, WgslFormat>> = { int8, int4, mxfp4, int2 };

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
  return ${
    format.signed
      ? 'vec4i(i32(four << 24u) >> 24u, i32(four << 16u) >> 24u, i32(four << 8u) >> 24u, i32(four) >> 24u)'
      : 'vec4i(vec4u(four & 0xffu, (four >> 8u) & 0xffu, (four >> 16u) & 0xffu, four >> 24u))'
  };`
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
  /** Does anything have to come off the codes, or off their sums? */
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
  const spanVecs = headVecs + (span / 4) * format.pairVecs;
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
  let panelVecs = ((kCount + ${span - 1}u) / ${span}u) * ${headVecs}u + (kCount / 4u) * ${wgsl.pairVecs}u;
  return p.wAt + kBlock * p.panels * ${panelVecs}u + panel * panelVecs + ((k % ${K_BLOCK}u) / ${span}u) * ${spanVecs}u;
}`;
}

/** Index of the first vector of the pair at k, its head given. */
export const pairAt = (head: string, k: string, { headVecs, span, format }: WgslPacked): string =>
  `${head} + ${headVecs}u + ((${k}) % ${span}u) / 4u * ${format.pairVecs}u`;

/** The pair's vectors, and the argument list that `codes` takes them in. */
export const loadPair = ({ format }: WgslPacked, at: string): string =>
  lines(format.pairVecs, (v) => `let v${v} = w[${at} + ${v}u];`, ' ');
export const pairArguments = ({ format }: WgslPacked): string =>
  range(format.pairVecs)
    .map((v) => `v${v}`)
    .join(', ');
