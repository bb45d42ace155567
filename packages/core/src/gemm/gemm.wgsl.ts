/**
 * gemm_i8[x2]_<format>_f32_<tileM>x<tileN>: int8 digits x raw low-bit weights, tiles in workgroup memory. WGSL.
 *
 *   y[m,n] = Σ_g xScale[m,g] · Σ_c wScale[n,c] · Σ_k x[m,k]·(w[n,k] − z[n,c]) (then the end)     innermost sum exact in int32
 *
 * A thread owns 4 x 4 results; its integer sums, one set per digit, stay in registers while the weights pass once. 64 k at a
 * time come to workgroup memory, k-major, four rows or columns to a vec4u: weights unpacked to signed bytes, zero point off,
 * once for all rows of the tile. So 1 + digits vector loads feed 16 · digits dot products. Scales are applied where the f32
 * contract applies them.                                                          (docs/webgpu.md has the counts)
 *
 * Operands: gemm/weights.wgsl.ts, four rows of digits and scales together. Columns past N and rows past M are computed from
 * the last panel and row group again, and not stored.
 */
import { K_BLOCK, PANEL } from '../formats/format.ts';
import { loadStep, stepArguments, stepAt } from '../formats/wgsl.ts';
import { LINEAR_ID, lines, type WgslKernel, withoutEmptyLines } from '../wgsl/wgsl.ts';
import {
  carrierName,
  describeGemm,
  gemmBuffers,
  gemmPrelude,
  gemmSuffix,
  joined,
  scaleBlock,
  type WgslGemmOptions,
  weightScales,
} from './weights.wgsl.ts';

export interface WgslTileOptions extends WgslGemmOptions {
  /** Rows and columns of a workgroup: multiples of 4 and 16; tileM · tileN / 16 threads. */
  readonly tileM: number;
  readonly tileN: number;
}

/** k in workgroup memory: 64 columns and 64 rows of two digits take 12 KiB of the 16 that every device has. */
const TILE_K = 64;
const WORDS = TILE_K / 4;

export function wgslGemmId(options: WgslTileOptions): string {
  return `gemm_${carrierName(options)}_${options.format.id}_f32_${options.tileM}x${options.tileN}${gemmSuffix(options)}`;
}

export function wgslGemm(options: WgslTileOptions): WgslKernel {
  const { tileM, tileN } = options;
  const gemm = describeGemm(options);
  const { format, digits, zeroCodes, blockwise, fine, chunk } = gemm;
  const id = wgslGemmId(options);
  const threads = (tileM / 4) * (tileN / 4);
  const [groupsM, groupsN, panels] = [tileM / 4, tileN / 4, tileN / PANEL];
  // Bytes take any zero point of fewer bits; one of 8 bits is taken off the sums.
  const subtractInSums = zeroCodes && format.signed;
  const flush = Math.min(chunk, TILE_K);
  const four = (line: (i: number) => string) => lines(4, line);

  // A sum per digit, where one was asked for; the factor of the block's scale is the same for all of them.
  const addChunk = four((m) => {
    const sum = joined(digits, (d) => `a${d}_${m}`);
    const exact = `vec4f(${subtractInSums ? `${sum} - z * sum${m}` : sum})`;
    if (fine) return `          y${m} += (${exact} * wScale) * xScale[${m}];`;
    return `          t${m} += ${blockwise ? `${exact} * wScale` : exact};`;
  });
  const scaleChunk = (k: string) => `{
${blockwise || subtractInSums ? `          let head = headOf(panelOf, ${k});` : ''}
${blockwise || fine ? `          let wScale = ${weightScales(gemm, 'head', 'panelOf', 'groupOf')};` : ''}
${fine ? `          let xScale = bitcast<vec4f>(scales[rowGroup * p.blocks + ${scaleBlock(gemm, k)}]);` : ''}
${subtractInSums ? '          let z = zeroCodes(head, groupOf);' : ''}
${addChunk}
${lines(digits, (d) => four((m) => `          a${d}_${m} = vec4i(0);`))}
${subtractInSums ? four((m) => `          sum${m} = 0;`) : ''}
        }`;

  const code = `// ${id}
${gemmPrelude(options, 4, false)}
${
  zeroCodes && !subtractInSums
    ? `
// Byte by byte, both below 128: the top bit keeps borrows inside the byte.
fn withoutZero(bytes: vec4u, zero: vec4i) -> vec4u {
  let top = vec4u(0x80808080u);
  return ((bytes | top) - bitcast<vec4u>(zero) * 0x01010101u) ^ top;
}
`
    : ''
}
var<workgroup> xTile: array<vec4u, ${digits * WORDS * groupsM}>; // [digits][k/4][rows/4]
var<workgroup> wTile: array<vec4u, ${WORDS * groupsN}>; // [k/4][columns/4]

@compute @workgroup_size(${threads}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  let tilesM = (p.M + ${tileM - 1}u) / ${tileM}u;
  let tilesN = (p.panels + ${panels - 1}u) / ${panels}u;
  if (id >= tilesM * tilesN) { return; }
  let words = p.K / 4u;
  let lastGroup = (p.M + 3u) / 4u - 1u;
  let firstGroup = (id % tilesM) * ${groupsM}u;
  let firstPanel = (id / tilesM) * ${panels}u;
  // Neighbouring threads take neighbouring columns.
  let column = lid % ${groupsN}u;
  let row = lid / ${groupsN}u;
  let panelOf = min(firstPanel + column / 4u, p.panels - 1u);
  let groupOf = column % 4u;
  let rowGroup = min(firstGroup + row, lastGroup);
${lines(digits, (d) => four((m) => `  var a${d}_${m} = vec4i(0);`))}
${four((m) => `  var y${m} = vec4f(0.0);${fine ? '' : ` var t${m} = vec4f(0.0);`}${subtractInSums ? ` var sum${m} = 0;` : ''}`)}
  var nan = vec4<bool>(false);

  for (var k0 = 0u; k0 < p.K; k0 += ${K_BLOCK}u) {
    let kEnd = min(k0 + ${K_BLOCK}u, p.K);
    for (var kt = k0; kt < kEnd; kt += ${TILE_K}u) {
      workgroupBarrier();
      for (var i = lid; i < ${WORDS * groupsM}u; i += ${threads}u) {
        let word = kt / 4u + i % ${WORDS}u;
        let source = min(firstGroup + i / ${WORDS}u, lastGroup) * words + word;
        let to = (i % ${WORDS}u) * ${groupsM}u + i / ${WORDS}u;
${lines(digits, (d) => `        xTile[${d ? `${WORDS * groupsM}u + ` : ''}to] = select(vec4u(0u), digits[${d ? 'p.rowWords + ' : ''}source], word < words);`)}
      }
      for (var i = lid; i < ${WORDS * groupsN}u; i += ${threads}u) {
        let k = kt + 4u * (i / ${groupsN}u);
        var unpacked = vec4u(0u);
        if (k < kEnd) {
          let panel = min(firstPanel + (i / 4u) % ${panels}u, p.panels - 1u);
          let head = headOf(panel, k);
          let at = ${stepAt('head', 'k', gemm)};
          ${loadStep(gemm, 'at')}
          unpacked = codes(${stepArguments(gemm)}, i % 4u);
          ${zeroCodes && !subtractInSums ? 'unpacked = withoutZero(unpacked, zeroCodes(head, i % 4u));' : ''}
        }
        wTile[i] = unpacked;
      }
      workgroupBarrier();
      for (var kc = kt; kc < min(kt + ${TILE_K}u, kEnd); kc += ${flush}u) {
        for (var i = (kc - kt) / 4u; i < (kc - kt) / 4u + ${flush / 4}u; i++) {
          let column4 = wTile[i * ${groupsN}u + column];
${lines(digits, (d) => `          let x${d} = xTile[${d ? `${WORDS * groupsM}u + ` : ''}i * ${groupsM}u + row];`)}
${lines(digits, (d) => four((m) => `          a${d}_${m} += dots(x${d}[${m}], column4);`))}
${subtractInSums ? four((m) => `          sum${m} += ${joined(digits, (d) => `dot4(x${d}[${m}], 0x01010101u)`)};`) : ''}
        }
        ${chunk > TILE_K ? `if ((kc + ${TILE_K}u) % ${chunk}u == 0u || kc + ${TILE_K}u >= kEnd) ` : ''}${scaleChunk('kc')}
      }
    }
${
  fine
    ? ''
    : `    let bits = scales[rowGroup * p.blocks + k0 / ${K_BLOCK}u];
    nan = nan | (bits == vec4u(0x7fc00000u));
    let xScale = bitcast<vec4f>(bits);
${blockwise ? '' : `    let wScale = ${weightScales(gemm, '', 'panelOf', 'groupOf')};`}
${four((m) => `    y${m} += ${blockwise ? `t${m} * xScale[${m}]` : `(t${m} * xScale[${m}]) * wScale`}; t${m} = vec4f(0.0);`)}`
}
  }
${fine ? '  for (var b = 0u; b < p.blocks; b++) { nan = nan | (scales[rowGroup * p.blocks + b] == vec4u(0x7fc00000u)); }' : ''}
  let m = 4u * (firstGroup + row);
  let n = ${tileN}u * (id / tilesM) + 4u * column;
${four((i) => `  finish(m + ${i}u, n, y${i}, nan[${i}]);`)}
}
`;
  return { id, code: withoutEmptyLines(code), buffers: gemmBuffers(options) };
}
