/**
 * decompose_i8[x2]_[mxfp4_]<components>_<activationBlock>_r<rows>[_sg]: f32 activations -> int8 digits with one scale per
 * block. WGSL.
 *
 * x       f32 [M,K]                         row-major, from word xAt on
 * digits  u32 [digits][rows/r][K/4][r]      a word holds the digits of four k in the order of QUAD (formats/format.ts); r rows lie
 *                                           together, those past M are 0
 * scales  f32 [rows/r][K/256][r]            S; NaN for a block with NaN or Inf, 0 below 2⁻¹⁰⁰: its digits are 0 in both.
 *                                           Row scales are repeated for every K-block; blocks of 32: [rows/r][K/32][r]
 *
 * One workgroup per (row, 256 k), or per row; a thread holds four k. The maximum is taken over bit patterns as integers, so
 * that no NaN is lost. S = fl(max · fl(1/limit)) and q = clamp(rne(fl(x · fl(1/S)))), where WGSL allows the division 2.5 ULP:
 * q may differ by 1 from the f32 contract. NaN is written as bits, since WGSL may assume that floats are finite.
 *
 * Per word written: 4 loads, 1 barrier, 1 (with subgroups 1/size) atomic maximum.                  (docs/webgpu.md)
 */
import { K_BLOCK, K_STEP, QUAD } from '../formats/format.ts';
import { enables, LINEAR_ID, NAN_BITS, paramsOf, THREADS, type WgslKernel, withoutEmptyLines } from '../wgsl/wgsl.ts';
import { type Decomposition, digitsOf, limitOf, MXFP4_STEPS, TINY } from './contract.ts';

export interface WgslDecomposeOptions {
  readonly decomposition: Decomposition;
  /** Rows that lie together in `digits` and `scales`. */
  readonly rows: 1 | 4;
  readonly subgroups: boolean;
}

export const DECOMPOSE_PARAMS = ['M', 'K', 'xAt', 'words', 'rows', 'blocks'] as const;

const bitsOf = (value: number): string => `0x${new Uint32Array(Float32Array.of(value).buffer)[0].toString(16)}u`;

/** Eight threads share a block of 32: fewer than some subgroups have. */
const usesSubgroups = ({ decomposition, subgroups }: WgslDecomposeOptions) =>
  subgroups && decomposition.activationBlock !== 32;

export function wgslDecomposeId(options: WgslDecomposeOptions): string {
  const { decomposition, rows } = options;
  const { id, components, activationBlock } = decomposition;
  const carrier = digitsOf(decomposition) === 2 ? 'i8x2' : 'i8';
  const mxfp4 = id === 'mxfp4' ? 'mxfp4_' : '';
  const sg = usesSubgroups(options) ? '_sg' : '';
  return `decompose_${carrier}_${mxfp4}${components}_${activationBlock}_r${rows}${sg}`;
}

export function wgslDecompose(options: WgslDecomposeOptions): WgslKernel {
  const { decomposition, rows } = options;
  const { components, activationBlock } = decomposition;
  const mxfp4 = decomposition.id === 'mxfp4';
  const digits = digitsOf(decomposition);
  const limit = mxfp4 ? MXFP4_STEPS : limitOf(components);
  const perRow = activationBlock === 'row';
  const fine = activationBlock === 32;
  const maxima = fine ? K_BLOCK / K_STEP : 1;
  const useSubgroups = usesSubgroups(options);
  const slot = fine ? `lid / ${K_STEP / 4}u` : '0u';
  const include = useSubgroups
    ? `let top = subgroupMax(own);
  if (subgroupElect()) { atomicMax(&maxima[0], top); }`
    : `atomicMax(&maxima[${slot}], own);`;
  const id = wgslDecomposeId(options);

  const scale = mxfp4
    ? `let alpha = (most + 0x7fffffu) & 0x7f800000u; // the next power of two, unless it is one
  let S = bitcast<f32>(alpha - (${Math.log2(MXFP4_STEPS)}u << 23u));
  let invScale = bitcast<f32>((${254 + 3}u << 23u) - alpha); // of 8·S, exact
  let isZero = most < ${bitsOf(TINY)};`
    : `let S = bitcast<f32>(most) * bitcast<f32>(${bitsOf(1 / limit)});
  let isZero = most < ${bitsOf(TINY)};
  let invScale = 1.0 / select(S, 1.0, isZero);`;
  const quantize = mxfp4
    ? `let y = v * invScale;
  let d1 = nearestE2m1(y);
  return vec4i(8.0 * d1${components === 2 ? ' + nearestE2m1(8.0 * (y - d1))' : ''});`
    : `return clamp(vec4i(round(v * invScale)), vec4i(-${limit}), vec4i(${limit}));`;
  const bytes = (vector: string) =>
    `(${QUAD.map((k, i) => `((u32(${vector}[${k}]) & 0xffu) << ${8 * i}u)`).join(' | ')})`;

  const code = `${enables(useSubgroups)}// ${id}
${paramsOf(DECOMPOSE_PARAMS)}
@group(0) @binding(1) var<storage, read> x: array<u32>;             // f32 [M,K]
@group(0) @binding(2) var<storage, read_write> digits: array<u32>;  // [${digits}][rows/${rows}][words][${rows}]
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;  // f32 [rows/${rows}][blocks][${rows}]
var<workgroup> maxima: array<atomic<u32>, ${maxima}>;

fn load(m: u32, k: u32) -> vec4u {
  var bits = vec4u(0u);
  if (m < p.M) {
    let at = p.xAt + m * p.K + k;
    for (var i = 0u; i < 4u; i++) { if (k + i < p.K) { bits[i] = x[at + i]; } }
  }
  return bits;
}

fn largest(bits: vec4u) -> u32 {
  let b = bits & vec4u(0x7fffffffu);
  return max(max(b.x, b.y), max(b.z, b.w));
}
${
  mxfp4
    ? `
// Doubled E2M1 values 0 1 2 3 4 6 8: steps of one up to 4, of two beyond; ties go to the even code in both.
fn nearestE2m1(y: vec4f) -> vec4f { return select(round(y), 2.0 * round(0.5 * y), abs(y) > vec4f(4.0)); }
`
    : ''
}
fn quantize(v: vec4f, invScale: f32) -> vec4i {
  ${quantize}
}

fn store(m: u32, word: u32, q: vec4i) {
  let at = ((m / ${rows}u) * p.words + word) * ${rows}u + m % ${rows}u;
  ${
    digits === 2
      ? `let high = (q + vec4i(127 + 254 * 127)) / vec4i(254) - vec4i(127); // floor((q + 127) / 254)
  let low = q - 254 * high;
  digits[at] = ${bytes('high')};
  digits[p.rows * p.words + at] = ${bytes('low')};`
      : `digits[at] = ${bytes('q')};`
  }
}

@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  ${perRow ? 'let m = id;' : `let kBlocks = (p.words + ${K_BLOCK / 4 - 1}u) / ${K_BLOCK / 4}u;\n  let m = id / kBlocks;\n  let g = id % kBlocks;`}
  if (m >= p.rows) { return; }
  ${
    perRow
      ? `var own = 0u;
  for (var word = lid; word < p.words; word += ${THREADS}u) { own = max(own, largest(load(m, 4u * word))); }`
      : `let word = ${THREADS}u * g + lid;
  let bits = load(m, 4u * word);
  let own = largest(bits);`
  }
  ${include}
  workgroupBarrier();
  let most = atomicLoad(&maxima[${slot}]);
  ${scale}
  let isBad = most > 0x7f7fffffu; // Inf or NaN
  let stored = select(select(bitcast<u32>(S), 0u, isZero), ${NAN_BITS}, isBad);
  let isOut = isZero || isBad;
  ${
    perRow
      ? `for (var g = lid; g < p.blocks; g += ${THREADS}u) {
    scales[((m / ${rows}u) * p.blocks + g) * ${rows}u + m % ${rows}u] = stored;
  }
  for (var word = lid; word < p.words; word += ${THREADS}u) {
    let bits = load(m, 4u * word);
    store(m, word, select(quantize(bitcast<vec4f>(bits), invScale), vec4i(0), isOut));
  }`
      : `let block = ${fine ? `${maxima}u * g + ${slot}` : 'g'};
  if (${fine ? `lid % ${K_STEP / 4}u == 0u && block < p.blocks` : 'lid == 0u'}) {
    scales[((m / ${rows}u) * p.blocks + block) * ${rows}u + m % ${rows}u] = stored;
  }
  if (word < p.words) { store(m, word, select(quantize(bitcast<vec4f>(bits), invScale), vec4i(0), isOut)); }`
  }
}
`;
  return { id, code: withoutEmptyLines(code), buffers: ['read', 'write', 'write'] };
}
