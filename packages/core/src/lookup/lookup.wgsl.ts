/**
 * gather_…, segment_sum_…, segment_mean_…, dequantize_…: rows of packed weights or of a stored table as f32. WGSL.
 *
 *   gather        y[i,k] = real(indices[i], k)                         an index that is no row gives zeros
 *   segment_sum   y[s,k] = Σ_i real(indices[i], k) over ids[i] = s     in the order of i; ids never decrease
 *   segment_mean  the same, divided by how many they are; 0 for none
 *   dequantize    all rows: y[n,k] of a table, y[k,n] of a matrix
 *
 *   matrix        real = scale · (q − zeroPoint), of two planes their sum, plus the offset
 *   table         int8: scale[n] · code · uint8: one of 256 values · uint16: scale · code + min · float16: bits to bits
 *
 * A thread makes four neighbouring k of one row. uint8 and float16 tables move bits: no float operation touches them.
 */
import { K_BLOCK, PANEL, QUAD } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { describePacked, loadStep, packedFunctions, stepArguments, stepAt } from '../formats/wgsl.ts';
import { LINEAR_ID, lines, paramsOf, THREADS, type WgslKernel, withoutEmptyLines } from '../wgsl/wgsl.ts';
import type { MatrixRows, RowSource, TableRows } from './contract.ts';

export type LookupUse = 'gather' | 'segment_sum' | 'segment_mean' | 'dequantize';

export interface WgslLookupOptions {
  readonly source: RowSource;
  readonly use: LookupUse;
}

/** `count` rows of y, `At`: words (wAt of a matrix: vec4u) into the bindings. */
const SHARED_PARAMS = ['rows', 'columns', 'count', 'wAt', 'yAt', 'indicesAt', 'idsAt', 'idCount'] as const;
export const MATRIX_PARAMS = [...SHARED_PARAMS, 'K', 'panels', 'channelScales', 'planeVecs', 'offset'] as const;
export const TABLE_PARAMS = [...SHARED_PARAMS, 'scalesAt', 'scale', 'min'] as const;

function sourceName(source: RowSource): string {
  if (source.kind === 'table') return `table_${source.codes}`;
  const { format, blockSize, scale, storedZeroPoints, planes, offset } = source;
  const block = blockSize ? `_b${Math.min(blockSize, K_BLOCK)}${scale === 'f16' ? '_f16' : ''}` : '';
  return `${format}${block}${storedZeroPoints ? '_zp' : ''}${planes === 2 ? '_x2' : ''}${offset ? '_offset' : ''}`;
}

export const wgslLookupId = ({ source, use }: WgslLookupOptions): string => `${use}_${sourceName(source)}`;

/** Values of four k per thread. */
export const lookupWorkgroups = (count: number, columns: number): number =>
  Math.ceil((count * Math.ceil(columns / 4)) / THREADS);

/** Four real values, as bits, of row n from k on (a multiple of 4); what lies past the row is not stored. */
const quadOf = (source: RowSource): string => (source.kind === 'matrix' ? matrixQuad(source) : tableQuad(source));

function matrixQuad(source: MatrixRows): string {
  const format = formats[source.format];
  const packed = describePacked(format, source);
  const byte = (k: number) => `i32(word << ${24 - 8 * QUAD.indexOf(k as 0 | 1 | 2 | 3)}u) >> 24u`;
  const scale = packed.blockwise
    ? 'blockScales(head, group)[n % 4u]'
    : `bitcast<f32>(w[p.wAt + at + p.channelScales + ${PANEL / 4}u * panel + group][n % 4u])`;
  const planes = source.planes === 2 ? 'plane(n, k, 0u) + plane(n, k, p.planeVecs)' : 'plane(n, k, 0u)';
  return `${packedFunctions(format, source)}

fn plane(n: u32, k: u32, at: u32) -> vec4f {
  let panel = n / ${PANEL}u;
  let group = (n % ${PANEL}u) / 4u;
  let head = headOf(panel, k) + at;
  let step = ${stepAt('head', 'k', packed)};
  ${loadStep(packed, 'step')}
  let word = codes(${stepArguments(packed)}, group)[n % 4u];
  let q = vec4i(${[0, 1, 2, 3].map(byte).join(', ')});
  return vec4f(q${packed.zeroCodes ? ' - vec4i(zeroCodes(head, group)[n % 4u])' : ''}) * ${scale};
}

fn quad(n: u32, k: u32) -> vec4u {
  return bitcast<vec4u>(${source.offset ? `(${planes}) + bitcast<f32>(p.offset)` : planes});
}`;
}

function tableQuad({ codes }: TableRows): string {
  const perWord = codes === 'int8' || codes === 'uint8' ? 4 : 2;
  const bits = 32 / perWord;
  const value = {
    int8: 'bitcast<u32>(bitcast<f32>(w[p.scalesAt + n]) * f32(i32(code << 24u) >> 24u))',
    uint8: 'real[code]',
    uint16: 'bitcast<u32>(f32(code) * bitcast<f32>(p.scale) + bitcast<f32>(p.min))',
    float16: 'widened(code)',
  }[codes];
  // Subnormals by their integer value: a GPU may flush what a shift makes of them.
  const widened = `
fn widened(half: u32) -> u32 {
  let m = half & 0x7fffu;
  let isFinite = m < 0x7c00u;
  let normal = select((m << 13u) | 0x7f800000u, (m << 13u) + 0x38000000u, isFinite);
  return select(normal, bitcast<u32>(f32(m) * 0x1p-24f), m < 0x400u) | ((half & 0x8000u) << 16u);
}
`;
  return `${codes === 'float16' ? widened : ''}
fn valueOf(n: u32, k: u32) -> u32 {
  let i = n * p.columns + k;
  let code = (w[p.wAt + i / ${perWord}u] >> (${bits}u * (i % ${perWord}u))) & ${2 ** bits - 1}u;
  return ${value};
}

fn quad(n: u32, k: u32) -> vec4u {
  return vec4u(${lines(4, (j) => `valueOf(n, k${j ? ` + ${j}u` : ''})`, ', ')});
}`;
}

/** Bindings after the parameters. */
export const lookupBuffers = ({ source, use }: WgslLookupOptions): ('w' | 'y' | 'indices' | 'ids' | 'real')[] => [
  'w',
  'y',
  ...(use === 'dequantize' ? [] : (['indices'] as const)),
  ...(use.startsWith('segment') ? (['ids'] as const) : []),
  ...(source.kind === 'table' && source.codes === 'uint8' ? (['real'] as const) : []),
];

export function wgslLookup(options: WgslLookupOptions): WgslKernel {
  const { source, use } = options;
  const id = wgslLookupId(options);
  const isMatrix = source.kind === 'matrix';
  const buffers = lookupBuffers(options);
  const declarations = {
    w: `var<storage, read> w: array<${isMatrix ? 'vec4u' : 'u32'}>;  // ${isMatrix ? 'packed [N,K]' : 'codes [rows, columns], scales f32 [rows]'}`,
    y: 'var<storage, read_write> y: array<u32>;  // f32 [count, columns]',
    indices: `var<storage, read> indices: array<i32>;  // [${use === 'gather' ? 'count' : 'idCount'}]`,
    ids: 'var<storage, read> ids: array<i32>;  // [idCount]',
    real: 'var<storage, read> real: array<u32>;  // f32 [256]',
  };
  const bindings = buffers.map((name, i) => `@group(0) @binding(${i + 1}) ${declarations[name]}`).join('\n');

  const firstOf = `
// The first i with ids[i] ≥ id.
fn firstOf(id: u32) -> u32 {
  var low = 0u;
  var high = p.idCount;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (u32(ids[p.idsAt + middle]) < id) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}
`;
  const rowOf = (i: string) => `let n = u32(indices[p.indicesAt + ${i}]); // a negative one is past all rows`;
  const four = {
    gather: `var four = vec4u(0u);
  ${rowOf('row')}
  if (n < p.rows) { four = quad(n, k); }`,
    segment_sum: '',
    segment_mean: '',
    dequantize: 'let four = quad(row, k);',
  }[use];
  const summed = `var sum = vec4f(0.0);
  let begin = firstOf(row);
  let end = firstOf(row + 1u);
  for (var i = begin; i < end; i++) {
    ${rowOf('i')}
    if (n < p.rows) { sum += bitcast<vec4f>(quad(n, k)); }
  }
  ${use === 'segment_mean' ? 'sum /= f32(max(end - begin, 1u));' : ''}
  let four = bitcast<vec4u>(sum);`;
  const isSegment = use.startsWith('segment');
  const transposed = use === 'dequantize' && isMatrix;

  const code = `// ${id}
${paramsOf(isMatrix ? MATRIX_PARAMS : TABLE_PARAMS)}
${bindings}
${quadOf(source)}
${isSegment ? firstOf : ''}
@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  let thread = ${THREADS}u * id + lid;
  ${
    transposed
      ? `let row = thread % p.count; // neighbours write neighbouring n
  let k = 4u * (thread / p.count);
  if (k >= p.columns) { return; }`
      : `let quads = (p.columns + 3u) / 4u;
  let row = thread / quads;
  let k = 4u * (thread % quads);
  if (row >= p.count) { return; }`
  }
  ${isSegment ? summed : four}
  for (var j = 0u; j < 4u && k + j < p.columns; j++) {
    y[p.yAt + ${transposed ? '(k + j) * p.count + row' : 'row * p.columns + k + j'}] = four[j];
  }
}
`;
  return {
    id,
    code: withoutEmptyLines(code),
    buffers: buffers.map((name) => (name === 'y' ? 'write' : 'read')),
  };
}
