/** Binding a product: for each slice of rows, its kernels and how they are cut; and what working buffers they need. */
import type { Decomposition } from '../../decompose/contract.ts';
import { type DecomposedRow, decomposedRow } from '../../decompose/decompose.wasm.ts';
import { K_BLOCK, PANEL } from '../../formats/format.ts';
import { type FloatType, floatBytes } from '../../formats/half.ts';
import { I16, operandsOf } from '../../gemm/carriers.ts';
import { type GemmOptions, SCRATCH_BYTES } from '../../gemm/options.ts';
import { gemmSpec } from '../../gemm/registry.ts';
import { type KernelCall, kernelOf } from '../../kernel-spec.ts';
import { gemmShapeFor } from '../../plan/choose.ts';
import { MAX_PARTS, type RowCut, whole } from '../../plan/cut.ts';
import { type ColumnRange, columnRanges, slicesOf } from '../../plan/ranges.ts';
import { BoundKernel, type Rivals } from './bound-kernel.ts';
import type { Product } from './product.ts';
import { decomposeCall, deepParts, endCall, gemmCall, narrowCall, widenCall } from './product-kernels.ts';
import type { Runtime } from './runtime.ts';

/** How x is read and decomposed. */
export interface Activations {
  readonly decomposition: Decomposition;
  readonly M: number;
  readonly K: number;
  readonly xType: FloatType;
}

export interface BoundRange extends ColumnRange {
  readonly call: KernelCall;
  /** The kernel that computes it: its own with all of its parts, or the joint one of the slice, of which it is a part. */
  readonly gemm: BoundKernel;
  readonly parts: readonly number[];
  /** Where K was cut: what adds up the partial sums, and their bytes. */
  readonly sums: readonly BoundKernel[];
  readonly partialBytes: number;
  /** Of one row, which may wait for partial sums or for other matrices. Of several rows, it goes on with each chunk of `gemm`. */
  readonly end: BoundKernel | undefined;
  /** Writes y from scratch to `out`, or converts it before it is copied from there. */
  readonly narrow: BoundKernel | undefined;
}

export interface SliceProduct {
  /** `undefined`: uses the integers that were decomposed for the previous matrix. */
  readonly decompose: BoundKernel | undefined;
  readonly ranges: readonly BoundRange[];
  readonly options: GemmOptions;
  readonly row: DecomposedRow;
}

export interface BoundSlice {
  readonly rows: number;
  readonly widen: BoundKernel | undefined;
  /** In the order of the products. */
  readonly products: readonly SliceProduct[];
  /** Gemm of all products in one, which threads share as a whole. */
  readonly joint: BoundKernel | undefined;
}

/** Slices from the first row to the last. */
export function bindSlices(runtime: Runtime, x: Activations, products: readonly Product[]): BoundSlice[] {
  const made = new Map<number, BoundSlice>();
  return slicesOf(x.M).map((rows) => {
    const slice = made.get(rows) ?? bindSlice(runtime, x, products, rows);
    made.set(rows, slice);
    return slice;
  });
}

function bindSlice(
  runtime: Runtime,
  { decomposition, K, xType }: Activations,
  products: readonly Product[],
  rows: number,
): BoundSlice {
  const { cuts } = runtime;
  const { paddedK } = products[0].matrix.layout;
  const fewest = Math.min(...products.map(({ matrix }) => matrix.layout.panels));
  const cut = cuts.productRows(rows, PANEL * paddedK, fewest);
  const isCut = cut.size < rows;
  const shape = gemmShapeFor(rows);
  let decomposed: string | undefined; // carriers take different integers
  const widen = xType === 'f32' ? undefined : new BoundKernel(runtime, widenCall(xType, rows * K), whole());
  const bound = products.map((product): SliceProduct => {
    const options = product.matrix.kernel(runtime.routes, shape, decomposition);
    const operands = operandsOf(options.carrier ?? I16);
    const row = decomposedRow({ decomposition, operands }, K);
    const isNew = operands !== decomposed;
    decomposed = operands;
    const call = isNew ? decomposeCall({ decomposition, operands }, K, rows, row, isCut) : undefined;
    const decompose = call && new BoundKernel(runtime, call, cuts.decomposed(cut, K));
    return { decompose, ranges: bindRanges(runtime, product, options, row, cut), options, row };
  });
  const joint = rows === 1 ? bindJoint(runtime, products, bound) : undefined;
  if (!joint) return { rows, widen, products: bound, joint };
  const parts = bound.map((product, part) => ({
    ...product,
    ranges: product.ranges.map((range) => ({ ...range, gemm: joint, parts: [part], sums: [], partialBytes: 0 })),
  }));
  return { rows, widen, products: parts, joint };
}

/**
 * One row times several matrices as one job: threads meet once instead of after each of them, and share small ones, too. Nothing may
 * come between them then: only the last one may have an end, which reads what the others made, and only one may leave y in scratch.
 */
function bindJoint(
  runtime: Runtime,
  products: readonly Product[],
  bound: readonly SliceProduct[],
): BoundKernel | undefined {
  const [{ call }] = bound[0].ranges;
  const last = products.length - 1;
  const isFree = products.every(
    ({ hasEnd, operands }, i) => (!hasEnd || i === last) && operands.every(({ mode }) => mode < 2),
  );
  const isAlike = bound.every(
    ({ ranges, decompose }, i) => ranges.length === 1 && ranges[0].call.id === call.id && (i === 0 || !decompose),
  );
  const inScratch = bound.filter(({ ranges }) => !ranges[0].direct);
  if (last === 0 || last >= MAX_PARTS || !isFree || !isAlike || inScratch.length > 1) return undefined;
  const panelsOf = products.map(({ matrix }) => matrix.layout.panels);
  const chunks = runtime.cuts.joint(panelsOf, PANEL * products[0].matrix.layout.paddedK, bound[0].options.streams);
  const parts = bound.map(({ ranges }) => ranges[0].call.args);
  const columns = products.map(({ matrix }) => matrix.N);
  const rivals = rivalsOf(runtime, products, columns, bound[0].options, call);
  return chunks && new BoundKernel(runtime, call, chunks, parts, rivals);
}

/** What one row's kernel is compared with while it is used, if it is, on so many columns of each. A kernel that was set for a matrix is not. */
function rivalsOf(
  { routes, arena, threads }: Runtime,
  products: readonly Product[],
  columns: readonly number[],
  options: GemmOptions,
  call: KernelCall,
): Rivals | undefined {
  const trial = products.some(({ matrix }) => matrix.fixed) ? undefined : routes.streams(options, arena.usedBytes);
  if (!trial || trial.chosen !== undefined) return undefined;
  const { K } = products[0].matrix;
  const macs = columns.reduce((sum, N) => sum + K * N, 0);
  const calls = trial.kernels.map((other) => (other === options ? call : { ...call, ...kernelOf(gemmSpec, other) }));
  return { shape: trial.shape([threads, K, ...columns].join(), macs), calls };
}

/** A result of the fused end takes the time of so many multiplications. */
const END_MACS = 64;

function bindRanges(
  runtime: Runtime,
  product: Product,
  options: GemmOptions,
  row: DecomposedRow,
  cut: RowCut,
): BoundRange[] {
  const { threads, cuts } = runtime;
  const { matrix, activation, outType, bias, multiply, residual, out, hasEnd, direct } = product;
  const { N, layout } = matrix;
  const rows = cut.total;
  const bind = (range: ColumnRange): BoundRange => {
    const { panels, width } = range;
    const staged = 4 * PANEL * panels;
    const y = range.direct ? 4 * N : staged;
    const stride = (mode: 0 | 1 | 2) => [undefined, 4 * N, staged][mode];
    const strides = { y, multiply: stride(multiply.mode), residual: stride(residual.mode) };
    const outStride = floatBytes(outType) * (out.mode === 2 ? PANEL * panels : N);
    const isCopied = range.direct || (out.mode === 2 && outType === 'f32');
    const call = gemmCall(options, layout, row, y, bias.mode > 0);
    const rivals = rows === 1 ? rivalsOf(runtime, [product], [width], options, call) : undefined;
    const depth =
      rows === 1 && panels === layout.panels
        ? cuts.depth(Math.ceil(layout.paddedK / K_BLOCK), K_BLOCK * PANEL * panels, panels)
        : undefined;
    const chunks = depth?.chunks ?? cuts.product(cut, PANEL * layout.paddedK, panels, options.streams);
    const parts = depth && deepParts(options, layout, row, depth.first);
    const sum = (residual: 'partials' | 'bias', count: number) => {
      const strides = { y: 0, multiply: undefined, residual: staged };
      return new BoundKernel(runtime, endCall(undefined, strides, residual), whole(count, panels));
    };
    const endCuts = rows > 1 ? chunks : cuts.product(cut, PANEL * END_MACS, panels);
    const end = hasEnd ? new BoundKernel(runtime, endCall(activation, strides), endCuts) : undefined;
    return {
      ...range,
      call,
      gemm: new BoundKernel(runtime, call, chunks, parts, rivals, rows > 1 ? end : undefined),
      parts: parts ? [0, 1, 2] : [0],
      sums: depth ? [sum('partials', depth.rest), ...(bias.mode > 0 ? [sum('bias', 1)] : [])] : [],
      partialBytes: depth ? staged * depth.rest : 0,
      end: rows > 1 ? undefined : end,
      narrow: isCopied ? undefined : new BoundKernel(runtime, narrowCall(outType, rows, width, y, outStride), whole()),
    };
  };
  const made = new Map<string, BoundRange>();
  return columnRanges(rows, N, { direct, hasEnd, threads }).map((range) => {
    const { panels, width, direct } = range;
    const key = [panels, width, direct].join();
    const same = made.get(key) ?? bind(range);
    made.set(key, same);
    return { ...same, ...range };
  });
}

/** Ranges that y in scratch holds at a time: one is copied to the caller's array while other threads multiply the next. */
export const yBuffers = (products: readonly Product[], threads: number): 1 | 2 =>
  threads > 1 && products.some(({ out }) => out.mode === 2) ? 2 : 1;

/** Bytes of working buffers, by name. */
export function scratchSizes(
  { decomposition, K, xType }: Activations,
  isStaged: boolean,
  products: readonly Product[],
  slices: readonly BoundSlice[],
  threads: number,
): Record<string, number> {
  const rows = Math.max(0, ...slices.map((slice) => slice.rows));
  const row = decomposedRow({ decomposition, operands: 'i16' }, K); // none is larger
  const largest = (bytes: (product: Product, range: BoundRange, rows: number) => number) =>
    Math.max(
      0,
      ...slices.flatMap((slice) =>
        slice.products.flatMap(({ ranges }, i) => ranges.map((range) => bytes(products[i], range, slice.rows))),
      ),
    );
  const block = ({ panels }: ColumnRange, rows: number) => 4 * PANEL * panels * rows;
  return {
    x: isStaged || xType !== 'f32' ? 4 * rows * K : 0,
    q: 2 * rows * K_BLOCK * Math.ceil(K / K_BLOCK),
    sums: rows * row.sums,
    scales: rows * row.scales,
    widened: SCRATCH_BYTES * threads,
    partials: largest((_, { partialBytes }) => partialBytes),
    y: yBuffers(products, threads) * largest((_, range, rows) => (range.direct ? 0 : block(range, rows))),
    bias: Math.max(0, ...products.map(({ bias, matrix }) => (bias.mode === 2 ? 4 * PANEL * matrix.layout.panels : 0))),
    multiply: largest(({ multiply }, range, rows) => (multiply.mode === 2 ? block(range, rows) : 0)),
    residual: largest(({ residual }, range, rows) => (residual.mode === 2 ? block(range, rows) : 0)),
  };
}
