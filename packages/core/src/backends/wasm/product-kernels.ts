/**
 * The kernel calls of a product, with their arguments by name. Arguments that are only known when it runs are places:
 * an address, or where in the matrix a range begins.
 */
import type { ActivationId } from '../../activations/contract.ts';
import { type DecomposedRow, type DecomposeOptions, decomposeSpec } from '../../decompose/decompose.wasm.ts';
import { widenSpec } from '../../decompose/widen.wasm.ts';
import { K_BLOCK, K_STEP, PANEL } from '../../formats/format.ts';
import type { FloatType, HalfType } from '../../formats/half.ts';
import { headStep, type PackedLayout } from '../../formats/layout.ts';
import { type GemmOptions, SCRATCH_BYTES } from '../../gemm/options.ts';
import { type GemmArg, gemmSpec } from '../../gemm/registry.ts';
import { type Arg, type KernelCall, kernelCall } from '../../kernel-spec.ts';
import { endSpec } from '../../recombine/end.wasm.ts';
import { narrowSpec } from '../../recombine/narrow.wasm.ts';

/** Numbers that a kernel is placed by. */
export const PLACES = {
  bits: 0,
  x: 1,
  q: 2,
  sums: 3,
  scales: 4,
  w: 5,
  channelScales: 6,
  first: 7,
  widened: 8,
  bias: 9,
  y: 10,
  multiply: 11,
  residual: 12,
  out: 13,
  partials: 14,
} as const;
export type Places = number[];

const at = (place: keyof typeof PLACES, more?: Omit<Arg, 'operand'>): Arg => ({ operand: PLACES[place], ...more });
/** Bytes of a panel's columns in a row of f32. */
const COLUMNS = 4 * PANEL;
/** Of an operand that may be absent: 0, then. @param perRow bytes from row to row; `undefined`: it is absent */
const optional = (place: keyof typeof PLACES, perRow: number | undefined): Arg | number =>
  perRow === undefined ? 0 : at(place, { perRow, perPanel: COLUMNS });

/** Half precision to f32. */
export const widenCall = (type: HalfType, count: number): KernelCall =>
  kernelCall(widenSpec, type, { bits: at('bits'), x: at('x'), count });

/**
 * @param rows of the slice
 * @param apart what each chunk of rows is for gemm, too: its K-blocks and their scales lie together
 */
export function decomposeCall(
  options: DecomposeOptions,
  K: number,
  rows: number,
  row: DecomposedRow,
  apart: boolean,
): KernelCall {
  return kernelCall(decomposeSpec, options, {
    x: at('x', { perRow: 4 * K }),
    q: at('q', { perRow: apart ? row.q : row.qBlock }),
    sums: at('sums', { perRow: row.sums }),
    scale: at('scales', { perRow: apart ? row.scales : 4 }),
    scaleStride: apart ? { rows: 4 } : 4 * rows,
    M: { rows: 1 },
    K,
  });
}

/** @param yStride bytes between rows of y @param own arguments in place of these */
export function gemmCall(
  options: GemmOptions,
  layout: PackedLayout,
  row: DecomposedRow,
  yStride: number,
  hasBias: boolean,
  own?: Partial<Record<GemmArg, Arg | number>>,
): KernelCall {
  return kernelCall(gemmSpec, options, {
    x: at('q', { perRow: row.q }),
    xSums: at('sums', { perRow: row.sums }),
    xScale: at('scales', { perRow: row.scales }),
    w: at('w'),
    wScale: at('channelScales', { perPanel: COLUMNS }),
    bias: optional('bias', hasBias ? 0 : undefined),
    y: at('y', { perRow: yStride, perPanel: COLUMNS }),
    yStride,
    scratch: at('widened', { perThread: SCRATCH_BYTES }),
    M: { rows: 1 },
    K: layout.paddedK,
    panels: layout.panels,
    first: at('first', { perPanel: 1 }),
    count: { panels: 1 },
    ...own,
  });
}

/**
 * Arguments of one row's product in parts along K (plan/cut.ts: `Depth`), whose rows are K-blocks: the first ones make y, and each of the
 * others leaves among the partial sums what has to be added to it, in their order (docs/msd.md, eq. 7: u).
 */
export function deepParts(
  options: GemmOptions,
  layout: PackedLayout,
  { qBlock }: DecomposedRow,
  first: number,
): KernelCall['args'][] {
  const { paddedK, panels, span } = layout;
  const sums = 4 * (K_BLOCK / K_STEP);
  const block = { q: qBlock, qBlock, sums, scales: options.activationBlock === 32 ? sums : 4 };
  const perRow = COLUMNS * panels;
  const part = (K: number, own?: Partial<Record<GemmArg, Arg>>) =>
    gemmCall(options, layout, block, perRow, false, { K, ...own }).args;
  const ofBlock = {
    w: at('w', { perRow: panels * (K_BLOCK / span) * headStep(options.format, layout) }),
    y: at('partials', { perRow, value: -first * perRow }),
  };
  return [part(first * K_BLOCK), part(K_BLOCK, ofBlock), part(paddedK % K_BLOCK || K_BLOCK, ofBlock)];
}

/** Bytes between rows of what the end reads and writes; `undefined`: absent. */
export interface EndStrides {
  readonly y: number;
  readonly multiply: number | undefined;
  readonly residual: number | undefined;
}

/** @param residual where the residual lies */
export const endCall = (
  activation: ActivationId | undefined,
  strides: EndStrides,
  residual: 'residual' | 'partials' | 'bias' = 'residual',
): KernelCall =>
  kernelCall(endSpec, activation, {
    y: at('y', { perRow: strides.y, perPanel: COLUMNS }),
    yStride: strides.y,
    multiply: optional('multiply', strides.multiply),
    multiplyStride: strides.multiply ?? 0,
    residual: optional(residual, strides.residual),
    residualStride: strides.residual ?? 0,
    M: { rows: 1 },
    vectors: { panels: PANEL / 4 },
  });

/** y in scratch to the caller's matrix, or to where it is copied from. */
export const narrowCall = (
  type: FloatType,
  rows: number,
  width: number,
  yStride: number,
  outStride: number,
): KernelCall => kernelCall(narrowSpec, type, { y: at('y'), yStride, out: at('out'), outStride, M: rows, width });
