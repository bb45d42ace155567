/**
 * What ran where, with which kernel, and why not here: plain data, and a text form of it.
 */
import type { MemoryReport, ThreadReport } from '@msd/core';
import type { MachinePeaks } from '@msd/core/peaks';
import type { ProfileEvent } from './execute/profile.ts';
import type { FloatFormat } from './weights/floats.ts';
import type { RoundingError } from './weights/matrix.ts';

/** One node of the model. */
export interface NodeReport {
  readonly name: string;
  readonly opType: string;
  /** '' = ai.onnx. */
  readonly domain: string;
  readonly where: 'msd' | 'ort';
  /** Id of the gemm kernel, for the row count of the last run (1 before the first). */
  readonly kernel?: string;
  /** Why the node is not claimed; of a claimed one, why it runs for itself and not as a part of attention. */
  readonly reason?: string;
  /** What its float weights became while the model was loaded, and the error of that: relative L2 of the matrix and of its worst row. */
  readonly quantized?: RoundingError & { readonly format: FloatFormat };
  /** In which form ONNX Runtime gets the node, if not as in the file. */
  readonly form?: string;
  /** Index in `regions`; −1 = no run needs it: no output does, or it was done when the model was loaded. */
  readonly region: number;
  /** Where it stands, if not in the model's own graph: names of nodes with a subgraph or of calls of a function, as a path. */
  readonly inside?: string;
}

/** Nodes that run together. */
export interface RegionReport {
  readonly where: 'msd' | 'ort';
  readonly nodes: number;
  /** Index of the ONNX Runtime session; regions of equal structure share one. */
  readonly session?: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /**
   * What the cost model expects of one token and a share of a prompt: here, and in a run of ONNX Runtime of its own. Absent for
   * a model that is not cut.
   */
  readonly predictedMicroseconds?: { readonly msd?: number; readonly ort: number };
}

/** Bytes that the last run copied across the borders of the two memories. */
export interface CopiedBytes {
  readonly intoOrt: number;
  readonly outOfOrt: number;
  readonly intoMsd: number;
  readonly outOfMsd: number;
}

/** A step of MSD in the last run, beside what it was expected to take. */
export interface ExpectedStep {
  readonly nodes: readonly string[];
  readonly kernels: readonly string[];
  readonly microseconds: number;
  /** In the last profile that ended, if it has the step: of its last run there. */
  readonly measuredMicroseconds?: number;
  /** Why so long, in a sentence. */
  readonly why: string;
}

/** What the models of `@msd/core/theory` say of the last run, from this machine's peaks. */
export interface Expectation {
  /** All steps of MSD. */
  readonly milliseconds: number;
  /** What the run took, all of it; absent before the first. */
  readonly measuredMilliseconds?: number;
  /** What is not in it: steps that no model knows, and runs of ONNX Runtime. */
  readonly unknownSteps: number;
  readonly steps: readonly ExpectedStep[];
  /** Where the time goes, in a sentence. */
  readonly why: string;
  /** Of one thread; bandwidth of as many bytes as the weights have. */
  readonly peaks: MachinePeaks;
}

/** What a session reports about itself. */
export interface SessionReport {
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  /** ONNX Runtime sessions that one run goes through, at most: see `branches`. */
  readonly foreignRunsPerCall: number;
  /** Of a model whose If chooses in every run: each way through it, by the branches that it takes. */
  readonly branches?: readonly { readonly taken: readonly string[]; readonly foreignRunsPerCall: number }[];
  /** ONNX Runtime sessions that exist. */
  readonly foreignSessions: number;
  readonly bytesCopiedPerCall: CopiedBytes;
  readonly weights: { readonly fileBytes: number; readonly packedBytes: number };
  /** MSD's memory; zero after `release()`. Results between claimed nodes and ONNX Runtime count as `intermediates`. */
  readonly memory: MemoryReport;
  /** Plans that the session holds: one of each part for every combination of sizes that runs came with. Absent with `whole`. */
  readonly plans?: number;
  /** How attention keeps keys and values, and what those take that callers hold; absent when MSD has no attention. */
  readonly kvCache?: { readonly type: 'int16' | 'int8' | 'model'; readonly byteLength: number };
  /** Threads of MSD's products, and what keeps them from being more; absent when MSD has nothing to do, or no longer. */
  readonly threads?: ThreadReport;
  /** Present when the model runs in ONNX Runtime as a whole: why. */
  readonly whole?: string;
  readonly ortVersion?: string;
  /** The level that ONNX Runtime took, where it refused the one that it was asked for. */
  readonly graphOptimizationLevel?: string;
  /** How long MSD's code was warmed while the file of the page's first model arrived; absent where it was not. */
  readonly warmedMilliseconds?: number;
  /** Of the last run, wall time; absent before the first, and of a model that runs whole. */
  readonly lastRunMilliseconds?: number;
  /** Of the last run. Present once `explain` was asked about this session. */
  readonly expected?: Expectation;
  /** Of the last profile that ended: MSD's steps, and runs of ONNX Runtime. Absent before. */
  readonly profile?: readonly ProfileEvent[];
}

/** Of a session that holds nothing of MSD's. */
export const NO_MEMORY: MemoryReport = { packedBytes: 0, scratch: {}, scratchBytes: 0, wasmBytes: 0 };

/** Bytes in the unit that fits. */
function formatBytes(bytes: number): string {
  if (bytes < 10_000) return `${bytes} B`;
  return bytes < 10_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** The text for a session without a report. */
const NO_REPORT =
  "no report: ONNX Runtime runs this session, without MSD. For MSD, call register(ort) and create the session with executionProviders: ['msd'], or import '@msd/onnx/transformers'.";

/**
 * A report as a short text table: a line for each kind of node and place, then totals. Several reports give a table under each name.
 *
 * @param report whatever `reportOf` gave
 * @example
 * ```ts
 * console.log(formatReport(reportOf(session)));
 * ```
 */
export function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string {
  if (report === undefined) return NO_REPORT;
  if (isOne(report)) return textOf(report);
  const texts = Object.entries(report).map(([name, each]) => `${name}\n${textOf(each)}`);
  return texts.length > 0 ? texts.join('\n\n') : NO_REPORT;
}

const isOne = (report: SessionReport | Readonly<Record<string, SessionReport>>): report is SessionReport =>
  Array.isArray(report.nodes);

function textOf(report: SessionReport): string {
  const groups = new Map<string, { count: number; cells: readonly [string, string, string] }>();
  for (const node of report.nodes) {
    const op = node.domain === '' ? node.opType : `${node.domain}.${node.opType}`;
    const detail =
      node.region < 0
        ? (reasonOf(node) ?? 'no output needs it')
        : (node.kernel ?? reasonOf(node) ?? report.whole ?? '');
    const cells = [node.where, op, detail] as const;
    const key = cells.join('\0');
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { count: 1, cells });
  }
  const rows = [...groups.values()]
    .sort((a, b) => a.cells[0].localeCompare(b.cells[0]) || b.count - a.count)
    .map(({ count, cells }) => [`${count}`, ...cells]);
  const lines = table([['nodes', 'where', 'op', 'kernel or reason'], ...rows]);
  const rounded = report.nodes.flatMap(({ quantized }) => quantized ?? []);
  const { bytesCopiedPerCall: copied, expected, kvCache, memory, threads, warmedMilliseconds, weights } = report;
  lines.push('');
  if (report.whole) lines.push(`whole model in ONNX Runtime: ${report.whole}`);
  if (report.graphOptimizationLevel)
    lines.push(`graphOptimizationLevel ${report.graphOptimizationLevel}: ONNX Runtime refused a higher one`);
  lines.push(
    `foreign runs per call ${report.foreignRunsPerCall}, sessions ${report.foreignSessions}` +
      (report.ortVersion ? `, ONNX Runtime ${report.ortVersion}` : ''),
    `copied in the last call: into ORT ${formatBytes(copied.intoOrt)}, out ${formatBytes(copied.outOfOrt)}; ` +
      `into MSD ${formatBytes(copied.intoMsd)}, out ${formatBytes(copied.outOfMsd)}`,
    `weights ${formatBytes(weights.fileBytes)} in the file, ${formatBytes(weights.packedBytes)} packed; ` +
      `memory ${formatBytes(memory.wasmBytes)}, of it scratch ${formatBytes(memory.scratchBytes)}`,
  );
  if (rounded.length > 0) {
    const worst = Math.max(...rounded.map(({ relativeL2 }) => relativeL2));
    const formats = [...new Set(rounded.map(({ format }) => format))].join(' and ');
    lines.push(
      `weights of ${rounded.length} nodes quantized at load to ${formats}: relative error at most ${worst.toExponential(1)}`,
    );
  }
  if (kvCache) lines.push(`keys and values kept as ${kvCache.type}: ${formatBytes(kvCache.byteLength)}`);
  if (warmedMilliseconds !== undefined)
    lines.push(`warmed for ${warmedMilliseconds.toFixed(0)} ms beside the page's first download`);
  if (expected) lines.push(expectedText(expected));
  if (threads) lines.push(`threads ${threads.count} of ${threads.requested}`, ...threads.warnings);
  return lines.join('\n');
}

function expectedText({ milliseconds, measuredMilliseconds, unknownSteps, why }: Expectation): string {
  const measured = measuredMilliseconds === undefined ? '' : `, measured ${measuredMilliseconds.toPrecision(3)} ms`;
  const without = unknownSteps > 0 ? ` (without ${unknownSteps} steps that no model knows)` : '';
  return `last run: expected ${milliseconds.toPrecision(3)} ms${without}${measured}; ${why}`;
}

function reasonOf({ reason, form }: NodeReport): string | undefined {
  return form === undefined ? reason : [reason, form].filter((part) => part !== undefined).join('; ');
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}
