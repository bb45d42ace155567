/** The dispatches of a product: decompose, then a gemm per piece of the matrix, slice by slice. Everything is on the GPU. */
import type { ActivationId } from '../../activations/contract.ts';
import { type Decomposition, digitsOf } from '../../decompose/contract.ts';
import { wgslDecompose, wgslDecomposeId } from '../../decompose/decompose.wgsl.ts';
import { K_BLOCK, K_STEP } from '../../formats/format.ts';
import { roundUp } from '../../formats/layout.ts';
import { chooseWgslGemm, type WgslGemmChoice } from '../../gemm/registry.wgsl.ts';
import type { EndOperand, WgslEnd } from '../../recombine/end.wgsl.ts';
import type { GpuFeatures } from '../../wgsl/wgsl.ts';
import type { ProductWork } from '../device.ts';
import { checkProductOperands } from '../product-arguments.ts';
import type { GpuBinding, GpuBuffer, GpuDevice } from './api.ts';
import { checkResident, gpuBinding } from './arguments.ts';
import type { WebGpuBackend } from './backend.ts';
import type { Describe } from './calls.ts';
import { alignDown, bind, bindTogether, type Dispatch, describe } from './dispatch.ts';
import { bindingLimit, type Live } from './live.ts';
import type { GpuEnds } from './options.ts';
import type { BoundRange } from './pipelines.ts';
import type { GpuWeights } from './weights.ts';

/** Most rows of a slice: bounds the digits' buffer. */
export const SLICE_ROWS = 1024;

const END_NAMES = ['bias', 'multiply', 'residual'] as const;

/** Rows whose inputs and outputs can be bound, alignment and padding to 64 included. */
export function sliceRows(device: GpuDevice, N: number, K: number): number {
  const rows = Math.floor((bindingLimit(device) - 256) / (4 * Math.max(N, roundUp(K, K_STEP))));
  return Math.max(1, Math.min(SLICE_ROWS, rows >= 64 ? 64 * Math.floor(rows / 64) : rows));
}

export const chooseGemm = (
  { features }: Live,
  prepared: GpuWeights,
  M: number,
  decomposition: Decomposition,
  end: WgslEnd,
): WgslGemmChoice =>
  chooseWgslGemm(M, { format: prepared.kernelFormat, variant: prepared.variant, decomposition, end, features });

export const decomposeOptions = (decomposition: Decomposition, together: 1 | 4, { subgroups }: GpuFeatures) =>
  ({ decomposition, rows: together, subgroups }) as const;

const NO_END: WgslEnd = { bias: false };

/** Id of the gemm kernel for a matrix at M rows. */
export const gemmId = (
  live: Live,
  prepared: GpuWeights,
  M: number,
  decomposition: Decomposition,
  end: WgslEnd = NO_END,
): string => chooseGemm(live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), decomposition, end).id;

/** Rows [m, m + rows) of `width` f32 values each. */
export const rowsOf = ({ buffer, offset = 0 }: GpuBinding, m: number, rows: number, width: number): GpuBinding => ({
  buffer,
  offset: offset + 4 * m * width,
  byteLength: 4 * rows * width,
});

/** What a matrix of a product reads and writes. */
export interface GpuEnd extends GpuEnds {
  readonly out: GpuBinding;
  readonly activation?: ActivationId | undefined;
}

/** The dispatches of x times several matrices, in slices of rows: x is decomposed once for all of them. */
export function describeProducts(
  live: Live,
  x: GpuBinding,
  matrices: readonly GpuWeights[],
  ends: readonly GpuEnd[],
  M: number,
  decomposition: Decomposition,
): Dispatch[] {
  const { K } = matrices[0];
  const widest = matrices.reduce((max, { N }) => Math.max(max, N), 0);
  const rowsMax = sliceRows(live.device, widest, K);
  const dispatches: Dispatch[] = [];
  for (let m = 0; m < M; m += rowsMax) {
    const rows = Math.min(rowsMax, M - m);
    const { together } = chooseGemm(live, matrices[0], rows, decomposition, NO_END); // a matter of rows alone
    const layout = digitLayout(live, K, rows, together, decomposition);
    dispatches.push(describeDecompose(live, K, rowsOf(x, m, rows, K), rows, layout, decomposition));
    for (const [i, matrix] of matrices.entries()) {
      const { N } = matrix;
      const slice = (operand: GpuBinding | undefined) => operand && rowsOf(operand, m, rows, N);
      const { out, bias, multiply, residual, activation } = ends[i];
      const own = { out: slice(out)!, bias, multiply: slice(multiply), residual: slice(residual), activation };
      dispatches.push(...describeGemm(live, matrix, own, rows, layout, decomposition));
    }
  }
  return dispatches;
}

/** @returns what describes a product's dispatches, once operands, wherever they lie, fit it */
export function bindProduct(backend: WebGpuBackend, live: Live, work: ProductWork<GpuWeights>): Describe {
  const { matrices, M } = work;
  return (operands) => {
    const { x, products, decomposition } = checkProductOperands(backend, work, operands, gpuBinding);
    for (const [i, matrix] of matrices.entries()) checkResident(live.device, x, matrix, products[i]);
    return M === 0 ? [] : describeProducts(live, x, matrices, products, M, decomposition);
  };
}

/** Activations of a slice in scratch. */
interface Digits {
  readonly paddedK: number;
  /** Rows that there is room for, a multiple of `together`. */
  readonly rows: number;
  readonly together: 1 | 4;
  /** K-blocks with a scale of their own. */
  readonly blocks: number;
  readonly digits: BoundRange;
  readonly scales: BoundRange;
}

function digitLayout({ scratch }: Live, K: number, M: number, together: 1 | 4, decomposition: Decomposition): Digits {
  const paddedK = roundUp(K, K_STEP);
  const rows = roundUp(M, together);
  const blocks = Math.ceil(paddedK / (decomposition.activationBlock === 32 ? K_STEP : K_BLOCK));
  const digitBytes = digitsOf(decomposition) * rows * paddedK;
  return {
    paddedK,
    rows,
    together,
    blocks,
    digits: whole(scratch.reserve('digits', digitBytes), digitBytes),
    scales: whole(scratch.reserve('scales', 4 * rows * blocks), 4 * rows * blocks),
  };
}

function describeDecompose(
  live: Live,
  K: number,
  x: GpuBinding,
  M: number,
  { paddedK, rows, together, blocks, digits, scales }: Digits,
  decomposition: Decomposition,
): Dispatch {
  const source = bind(live.device, x);
  const options = decomposeOptions(decomposition, together, live.features);
  const words = paddedK / 4;
  return describe(
    live,
    wgslDecomposeId(options),
    () => wgslDecompose(options),
    [M, K, source.at, words, rows, blocks],
    [source.range, digits, scales],
    decomposition.activationBlock === 'row' ? rows : rows * Math.ceil(words / (K_BLOCK / 4)),
  );
}

/** A dispatch per piece of the matrix. */
function describeGemm(
  live: Live,
  matrix: GpuWeights,
  operands: GpuEnd,
  M: number,
  { paddedK, rows, together, blocks, digits, scales }: Digits,
  decomposition: Decomposition,
): Dispatch[] {
  const { device } = live;
  const { out } = operands;
  const end = endOf(operands);
  const gemm = chooseGemm(live, matrix, M, decomposition, end);
  const besides = END_NAMES.flatMap((name) => (isBeside(end[name]) ? [operands[name]!] : []));
  const target = bindTogether(device, [out, ...besides]);
  const added = END_NAMES.map((name) => {
    const operand = operands[name];
    if (!operand || end[name] === 'out') return undefined;
    if (isBeside(end[name])) return { at: target.at(operand), range: undefined };
    return bind(device, operand);
  });
  const ranges = added.flatMap((operand) => (operand?.range ? [operand.range] : []));
  return matrix.pieces!.map(({ n, N, layout, buffer, offset }) => {
    const base = alignDown(offset, device.limits.minStorageBufferOffsetAlignment);
    const weights = { buffer, offset: base, size: offset - base + layout.byteLength };
    return describe(
      live,
      gemm.id,
      gemm.kernel,
      [
        M,
        N,
        paddedK,
        layout.panels,
        (offset - base) / 16,
        layout.panelBytes / 16,
        blocks,
        (rows * paddedK) / 4 / together,
        target.at(out) + n,
        matrix.N,
        ...added.map((operand) => (operand ? operand.at + n : 0)),
      ],
      [digits, scales, weights, target.range, ...ranges],
      gemm.workgroups(M, layout.panels),
    );
  });
}

const isBeside = (operand: boolean | EndOperand): boolean => operand === 'beside';

/** How the kernel reads the operands of the end: a dispatch may not read one binding of a buffer and write another. */
function endOf({ out, bias, activation, multiply, residual }: GpuEnd): WgslEnd {
  const from = (operand: GpuBinding | undefined): EndOperand => {
    if (operand?.buffer !== out.buffer) return operand && 'buffer';
    return (operand.offset ?? 0) === (out.offset ?? 0) ? 'out' : 'beside';
  };
  return {
    bias: bias?.buffer === out.buffer ? 'beside' : bias !== undefined,
    activation,
    multiply: from(multiply),
    residual: from(residual),
  };
}

const whole = (buffer: GpuBuffer, size: number): BoundRange => ({ buffer, offset: 0, size });
