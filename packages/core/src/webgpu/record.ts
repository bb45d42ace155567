/** One slice of rows, recorded: decompose, then a gemm per piece of the matrix. Everything is on the GPU by now. */
import type { ActivationId } from '../activations/contract.ts';
import { digitsOf, type Plan } from '../decompose/contract.ts';
import { wgslDecompose, wgslDecomposeId } from '../decompose/decompose.wgsl.ts';
import { K_BLOCK, K_STEP } from '../formats/format.ts';
import { roundUp } from '../formats/layout.ts';
import { chooseWgslGemm, type WgslGemmChoice } from '../gemm/registry.wgsl.ts';
import type { WgslEnd } from '../recombine/end.wgsl.ts';
import type { GpuBinding, GpuBuffer, GpuComputePass, GpuDevice } from './api.ts';
import { alignDown, bind, dispatch } from './dispatch.ts';
import { bindingLimit, type Live } from './live.ts';
import type { GpuEnds } from './options.ts';
import type { BoundRange } from './pipelines.ts';
import type { GpuWeights } from './weights.ts';
import type { GpuFeatures } from './wgsl.ts';

/** Most rows of a slice: bounds the digits' buffer. */
export const SLICE_ROWS = 1024;

const END_NAMES = ['bias', 'multiply', 'residual'] as const;

export interface SliceOperands extends GpuEnds {
  readonly x: GpuBinding;
  readonly out: GpuBinding;
  readonly activation: ActivationId | undefined;
}

/** Rows whose inputs and outputs can be bound, alignment and padding to 64 included. */
export function sliceRows(device: GpuDevice, N: number, K: number): number {
  const rows = Math.floor((bindingLimit(device) - 256) / (4 * Math.max(N, roundUp(K, K_STEP))));
  return Math.max(1, Math.min(SLICE_ROWS, rows >= 64 ? 64 * Math.floor(rows / 64) : rows));
}

export const chooseGemm = (
  { features }: Live,
  prepared: GpuWeights,
  M: number,
  plan: Plan,
  end: WgslEnd,
): WgslGemmChoice =>
  chooseWgslGemm(M, { format: prepared.kernelFormat, variant: prepared.variant, plan, end, features });

export const decomposeOptions = (plan: Plan, { together }: WgslGemmChoice, { subgroups }: GpuFeatures) =>
  ({ plan, rows: together, subgroups }) as const;

export function recordSlice(
  live: Live,
  pass: GpuComputePass,
  prepared: GpuWeights,
  operands: SliceOperands,
  M: number,
  plan: Plan,
): void {
  const { device, scratch, features } = live;
  const { x, out } = operands;
  const from = (operand: GpuBinding | undefined) =>
    operand && (operand.buffer === out.buffer ? ('out' as const) : ('buffer' as const));
  const end: WgslEnd = {
    bias: operands.bias !== undefined,
    activation: operands.activation,
    multiply: from(operands.multiply),
    residual: from(operands.residual),
  };
  const gemm = chooseGemm(live, prepared, M, plan, end);
  const K = roundUp(prepared.K, K_STEP);
  const rows = roundUp(M, gemm.together);
  const blocks = Math.ceil(K / (plan.activationBlock === 32 ? K_STEP : K_BLOCK));
  const words = K / 4;
  const digitBytes = 4 * digitsOf(plan) * rows * words;
  const digits = whole(scratch.reserve('digits', digitBytes), digitBytes);
  const scales = whole(scratch.reserve('scales', 4 * rows * blocks), 4 * rows * blocks);

  const source = bind(device, x);
  const decompose = decomposeOptions(plan, gemm, features);
  dispatch(
    live,
    pass,
    wgslDecomposeId(decompose),
    () => wgslDecompose(decompose),
    [M, prepared.K, source.at, words, rows, blocks],
    [source.range, digits, scales],
    plan.activationBlock === 'row' ? rows : rows * Math.ceil(words / (K_BLOCK / 4)),
  );
  const target = bind(device, out);
  const added = END_NAMES.map((name) => {
    const operand = operands[name];
    return operand && operand.buffer !== out.buffer ? bind(device, operand) : undefined;
  });
  const at = (i: number, n: number) => (added[i] ? added[i].at + n : 0);
  for (const { n, N, layout, buffer, offset } of prepared.pieces!) {
    const base = alignDown(offset, device.limits.minStorageBufferOffsetAlignment);
    const weights = { buffer, offset: base, size: offset - base + layout.byteLength };
    dispatch(
      live,
      pass,
      gemm.id,
      gemm.kernel,
      [
        M,
        N,
        K,
        layout.panels,
        (offset - base) / 16,
        layout.panelBytes / 16,
        blocks,
        (rows * words) / gemm.together,
        target.at + n,
        prepared.N,
        ...END_NAMES.map((_, i) => at(i, n)),
      ],
      [digits, scales, weights, target.range, ...added.flatMap((operand) => (operand ? [operand.range] : []))],
      gemm.workgroups(M, layout.panels),
    );
  }
}

const whole = (buffer: GpuBuffer, size: number): BoundRange => ({ buffer, offset: 0, size });
