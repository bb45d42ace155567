/** The report on a model: what MSD took over, what not and why, as plain data and as text. */

import { shown } from './errors.ts';
import { formatOf, type QuantizedSpec, realShape } from './spec.ts';
import type { Accuracy } from './weights/accuracy.ts';
import type { Encoded } from './weights/encode.ts';

export interface MatMulInputsReport {
  readonly spec: QuantizedSpec;
  /** Where the integers come from. */
  readonly how: string;
  /** ‖W − W′‖ / ‖W‖ against the float weights; 0 where stored integers are kept. */
  readonly error: number;
  /** Where the error is largest, unless stored integers are kept: a small error overall can hide the loss of one input feature. */
  readonly accuracy?: Accuracy;
  /** Why a finer format was taken than the one asked for. */
  readonly finer?: string;
  /** Bytes in the file, or of the float tensor that was replaced. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Nodes that share these weights. */
  readonly sharedBy: number;
}

/** A node of a graph model or a layer of a layers model. */
export interface NodeReport {
  readonly name: string;
  readonly op: string;
  readonly where: 'msd' | 'tfjs';
  /** Why it was not taken. */
  readonly reason?: string;
  /** Bytes of the weights that it keeps as floats, if it was not taken. A weight that several nodes read counts for each. */
  readonly bytes?: number;
  /** The op that replaces it. */
  readonly msdOp?: string;
  /** Ops that are fused into it: Reshape, BiasAdd, activations. */
  readonly fused?: readonly string[];
  readonly weights?: MatMulInputsReport;
  /** Of a convolution: how many times as fast as tfjs's wasm backend, on one thread. */
  readonly predictedGain?: number;
  /** Further weights of the same node: a recurrent layer has two matrices for each way. */
  readonly more?: readonly MatMulInputsReport[];
}

export interface ModelReport {
  readonly nodes: readonly NodeReport[];
  /** Bytes of all weights as tfjs would keep them: float32, int32. */
  readonly stockBytes: number;
  /** Bytes of all weights as they are kept now. */
  readonly weightBytes: number;
  /** If the model was loaded file by file: the most bytes of weights, stored and packed, that were in memory at once. */
  readonly peakBytes?: number;
}

/** Weights that were taken. */
export function weightsReport(
  { packed: { spec, data }, how, accuracy, finer }: Encoded,
  bytesBefore: number,
  sharedBy: number,
): MatMulInputsReport {
  return {
    spec,
    how,
    error: accuracy?.error ?? 0,
    ...(accuracy && { accuracy }),
    ...(finer !== undefined && { finer }),
    bytesBefore,
    bytesAfter: data.byteLength,
    sharedBy,
  };
}

function formatBytes(bytes: number): string {
  if (bytes < 10_000) return `${bytes} B`;
  return bytes < 10_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Of the errors those that say more than the one of all. */
function formatWeights({ spec, bytesAfter, how, error, accuracy, finer }: MatMulInputsReport): string {
  const words = [`${formatOf(spec)} [${realShape(spec)}] ${formatBytes(bytesAfter)}`, how];
  const show = (value: number) => value.toExponential(1);
  if (error > 0) words.push(`error ${show(error)}`);
  if (accuracy) {
    const { input, output, measured } = accuracy;
    const [inputs, outputs] = spec.kind === 'table' ? ['column', 'row'] : ['input', 'output'];
    if (input.error > 2 * error) words.push(`${inputs} ${input.index} ${show(input.error)}`);
    if (output.error > 2 * error) words.push(`${outputs} ${output.index} ${show(output.error)}`);
    if (measured !== undefined) words.push(`measured ${show(measured)}`);
  }
  if (spec.kind === 'matrix' && spec.powers) words.push('input features levelled');
  if (finer !== undefined) words.push(`since ${finer}`);
  return words.join(', ');
}

/** The text for a model without a report. */
const NO_REPORT =
  'no report: MSD has not changed this model. Load it with loadGraphModel or loadLayersModel of @msd/tfjs, or call accelerate(model).';

/**
 * A report as a short text: a line for each node with weights, then totals.
 *
 * @param report what `reportOf` or `accelerate` gave; `undefined` is a model without a report
 * @example
 * ```ts
 * console.log(formatReport(reportOf(model)));
 * ```
 */
export function formatReport(report: ModelReport | undefined): string {
  if (report === undefined) return NO_REPORT;
  if (!Array.isArray((report as Partial<ModelReport> | null)?.nodes))
    throw new TypeError(`formatReport: report, expected one of reportOf() or accelerate(), got ${shown(report)}.`);
  const { nodes, stockBytes, weightBytes, peakBytes } = report;
  const rows = nodes.map(({ name, op, where, reason, bytes, fused = [], weights, more = [] }) => {
    const what = [op, ...fused].join(' + ');
    if (!weights) return [where, what, name, [bytes ? formatBytes(bytes) : '', reason].filter(Boolean).join(', ')];
    return [where, what, name, [weights, ...more].map(formatWeights).join('; ')];
  });
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell))
      .join('  ')
      .trimEnd(),
  );
  const peak = peakBytes === undefined ? '' : `, at most ${formatBytes(peakBytes)} while loading`;
  return [...lines, `weights ${formatBytes(weightBytes)}, in tfjs ${formatBytes(stockBytes)}${peak}`].join('\n');
}
