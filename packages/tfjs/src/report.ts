/** What was taken, what not and why: plain data, and a text form of it. */
import { formatOf, type QuantizedSpec, realShape } from './spec.ts';

export interface MatMulInputsReport {
  readonly spec: QuantizedSpec;
  /** Where the integers come from. */
  readonly how: string;
  /** ‖W − W′‖ / ‖W‖ against the float weights; 0 where stored integers are kept. */
  readonly error: number;
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
  /** Of the weights that it keeps as floats, if it was not taken. A weight that several read counts for each. */
  readonly bytes?: number;
  /** The op that stands in its place. */
  readonly msdOp?: string;
  /** Ops that it does as well: Reshape, BiasAdd, activations. */
  readonly fused?: readonly string[];
  readonly weights?: MatMulInputsReport;
  /** Of a convolution: how many times the speed of tfjs's wasm backend, on one thread. */
  readonly predictedGain?: number;
}

export interface ModelReport {
  readonly nodes: readonly NodeReport[];
  /** Of all weights, in the form that tfjs would keep: float32, int32. */
  readonly stockBytes: number;
  /** Of all weights as they are kept now. */
  readonly weightBytes: number;
}

function formatBytes(bytes: number): string {
  if (bytes < 10_000) return `${bytes} B`;
  return bytes < 10_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * A short text of a report: a line per node that was looked at, then totals.
 *
 * @example
 * ```ts
 * console.log(formatReport(reportOf(model)!));
 * ```
 */
export function formatReport({ nodes, stockBytes, weightBytes }: ModelReport): string {
  const rows = nodes.map(({ name, op, where, reason, bytes, fused = [], weights }) => {
    const what = [op, ...fused].join(' + ');
    if (!weights) return [where, what, name, [bytes ? formatBytes(bytes) : '', reason].filter(Boolean).join(', ')];
    const { spec, how, error, bytesAfter } = weights;
    const accuracy = error === 0 ? how : `${how}, error ${error.toExponential(1)}`;
    return [where, what, name, `${formatOf(spec)} [${realShape(spec)}] ${formatBytes(bytesAfter)}, ${accuracy}`];
  });
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, i) => (i < 3 ? cell.padEnd(widths[i]!) : cell))
      .join('  ')
      .trimEnd(),
  );
  return [...lines, `weights ${formatBytes(weightBytes)}, in tfjs ${formatBytes(stockBytes)}`].join('\n');
}
