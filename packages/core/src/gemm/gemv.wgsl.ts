/**
 * gemv_i8[x2]_<format>_f32_<rows>x16: int8 digits x raw low-bit weights for up to four rows. WGSL.
 *
 *   y[m,n] = Σ_g xScale[m,g] · Σ_c wScale[n,c] · Σ_k x[m,k]·(w[n,k] − z[n,c]) (then the end)     innermost sum exact in int32
 *
 * One workgroup of 64 threads per panel of 16 columns. A thread takes units of 64 bytes of codes (`unit` k x 16 rows), one
 * after another 64 units apart, so that neighbours read neighbouring bytes; it scales its integer sums per unit, which never
 * leaves a block. Partial sums are added pairwise: six additions for 64 threads, or by subgroups. All digits of all rows
 * share one pass over the weights.                                               (docs/webgpu.md has the counts)
 *
 * Operands: gemm/weights.wgsl.ts. Digits and scales lie row by row for one row, else four rows together.
 */
import { PANEL } from '../formats/format.ts';
import { loadStep, stepArguments, stepAt } from '../formats/wgsl.ts';
import { LINEAR_ID, lines, pairwise, range, THREADS, type WgslKernel, withoutEmptyLines } from '../wgsl/wgsl.ts';
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

export interface WgslGemvOptions extends WgslGemmOptions {
  /** Rows of x. */
  readonly rows: 1 | 2 | 3 | 4;
}

const GROUPS = PANEL / 4;
/** vec4u of codes that a thread takes per unit. */
const UNIT_VECS = 4;

export function wgslGemvId(options: WgslGemvOptions): string {
  const sg = options.features.subgroups ? '_sg' : '';
  return `gemv_${carrierName(options)}_${options.format.id}_f32_${options.rows}x${PANEL}${gemmSuffix(options)}${sg}`;
}

export function wgslGemv(options: WgslGemvOptions): WgslKernel {
  const { rows, features } = options;
  const gemm = describeGemm(options);
  const { format, digits, zeroCodes } = gemm;
  const id = wgslGemvId(options);
  const together = rows === 1 ? 1 : 4;
  const steps = UNIT_VECS / format.stepVecs;
  const unit = 4 * steps;
  const row = (m: number) => (together === 4 ? `[${m}]` : '');
  const eachSum = (line: (m: number, g: number) => string) => lines(rows, (m) => lines(GROUPS, (g) => line(m, g)));

  const dotSteps = `for (var i = 0u; i < ${steps}u; i++) {
      ${loadStep(gemm, `step + ${format.stepVecs}u * i`)}
${lines(digits, (d) => `      let d${d} = digits[${d ? 'p.rowWords + ' : ''}word + i];`)}
${lines(
  GROUPS,
  (g) => `      let w${g} = codes(${stepArguments(gemm)}, ${g}u);
${lines(digits, (d) => lines(rows, (m) => `      a${d}_${m}_${g} += dots(d${d}${row(m)}, w${g});`))}`,
)}
${zeroCodes ? lines(rows, (m) => `      sum${m} += ${joined(digits, (d) => `dot4(d${d}${row(m)}, 0x01010101u)`)};`) : ''}
    }`;

  const reduced = features.subgroups
    ? // One partial sum per subgroup is left; they are at least 4 wide, so there are at most 16.
      `
var<workgroup> partial: array<vec4f, ${GROUPS * 16}>;
fn reduce(lid: u32, subgroup: u32, subgroups: u32, ${range(GROUPS)
        .map((g) => `t${g}: vec4f`)
        .join(', ')}) -> vec4f {
${lines(GROUPS, (g) => `  let s${g} = subgroupAdd(t${g});`)}
  if (subgroupElect()) {
${lines(GROUPS, (g) => `    partial[subgroup * ${GROUPS}u + ${g}u] = s${g};`)}
  }
  workgroupBarrier();
  var sum = vec4f(0.0);
  if (lid < ${GROUPS}u) { for (var s = 0u; s < subgroups; s++) { sum += partial[s * ${GROUPS}u + lid]; } }
  workgroupBarrier();
  return sum;
}
`
    : `
var<workgroup> partial: array<vec4f, ${GROUPS * THREADS}>;
var<workgroup> quarter: array<vec4f, ${THREADS}>;
fn reduce(lid: u32, ${range(GROUPS)
        .map((g) => `t${g}: vec4f`)
        .join(', ')}) -> vec4f {
${lines(GROUPS, (g) => `  partial[${g * THREADS}u + lid] = t${g};`)}
  workgroupBarrier();
  quarter[lid] = ${pairwise(range(4).map((i) => `partial[4u * lid + ${i}u]`))};
  workgroupBarrier();
  var sum = vec4f(0.0);
  if (lid < ${GROUPS}u) {
    sum = ${pairwise(range(THREADS / 4).map((i) => `quarter[${THREADS / 4}u * lid + ${i}u]`))};
  }
  return sum;
}
`;
  const reduce = (m: number) =>
    `reduce(lid, ${features.subgroups ? 'subgroup, subgroups, ' : ''}${range(GROUPS)
      .map((g) => `y${m}_${g}`)
      .join(', ')})`;

  const code = `// ${id}
${gemmPrelude(options, together, features.subgroups)}
${reduced}
@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,${
    features.subgroups ? '\n  @builtin(subgroup_id) subgroup: u32,\n  @builtin(num_subgroups) subgroups: u32,' : ''
  }
) {
  ${LINEAR_ID}
  if (id >= p.panels) { return; }
${eachSum((m, g) => `  var y${m}_${g} = vec4f(0.0);`)}
  for (var k = ${unit}u * lid; k < p.K; k += ${unit * THREADS}u) {
    let head = headOf(id, k);
    let step = ${stepAt('head', 'k', gemm)};
    let word = k / 4u;
${lines(digits, (d) => eachSum((m, g) => `    var a${d}_${m}_${g} = vec4i(0);`))}
${zeroCodes ? lines(rows, (m) => `    var sum${m} = 0;`) : ''}
    ${dotSteps}
    let xScale = bitcast<${together === 4 ? 'vec4f' : 'f32'}>(scales[${scaleBlock(gemm, 'k')}]);
${lines(GROUPS, (g) => `    let wScale${g} = ${weightScales(gemm, 'head', 'id', `${g}u`)};`)}
${zeroCodes ? lines(GROUPS, (g) => `    let z${g} = zeroCodes(head, ${g}u);`) : ''}
${eachSum((m, g) => {
  const sum = joined(digits, (d) => `a${d}_${m}_${g}`);
  const exact = zeroCodes ? `${sum} - z${g} * sum${m}` : sum;
  return `    y${m}_${g} += (vec4f(${exact}) * wScale${g}) * xScale${row(m)};`;
})}
  }
${lines(
  rows,
  (m) => `  let r${m} = ${reduce(m)};
  var nan${m} = false;
  if (lid < ${GROUPS}u) {
    for (var b = 0u; b < p.blocks; b++) { nan${m} |= isNan(scales[b]${row(m)}); }
    finish(${m}u, ${PANEL}u * id + 4u * lid, r${m}, nan${m});
  }`,
)}
}
`;
  return { id, code: withoutEmptyLines(code), buffers: gemmBuffers(options) };
}
