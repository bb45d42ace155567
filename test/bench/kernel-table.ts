/**
 * `npm run bench -- kernels`: every kernel of @msd/core, bare and through `matmul`, one thread, this Node process. Says how
 * busy the machine was: on a shared machine only ratios within a run mean something.
 */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { type KernelCase, type KernelResult, loadKernelSample, measureKernel } from './kernels.ts';
import { DECODE_ROWS, LLM_LAYERS, PREFILL_ROWS } from './shapes.ts';

export interface KernelTableOptions {
  readonly rounds: number;
  /** Folder of another generator's kernels to compare with. */
  readonly sample?: string | undefined;
  readonly json?: string | undefined;
}

const COLUMNS = [
  'M',
  'K',
  'N',
  'bare',
  'sample',
  'ratio',
  'public',
  'of bare',
  'arrays',
  'dot peak',
  'read GB/s',
  'of limit',
];

export async function printKernelTable({ rounds, sample: folder, json }: KernelTableOptions): Promise<void> {
  const sample = folder ? await loadKernelSample(folder) : undefined;
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    v8: process.versions.v8,
    load: loadavg()[0]!,
    date: new Date().toISOString(),
  };
  console.log(
    `${machine.cpu}, Node ${machine.node} (V8 ${machine.v8}), load ${machine.load.toFixed(2)}, one thread. GMAC/s, medians of ${rounds} interleaved rounds.`,
  );
  console.log(['kernel'.padEnd(34), ...COLUMNS.map((name) => name.padStart(9))].join(' '));
  const cases: KernelCase[] = (['int4', 'int8', 'mxfp4', 'nf4'] as const).flatMap((format) =>
    [DECODE_ROWS, PREFILL_ROWS].flatMap((M) => LLM_LAYERS.map(({ K, N }) => ({ format, M, K, N }))),
  );
  const results: KernelResult[] = [];
  for (const test of cases) {
    const result = await measureKernel(test, sample, rounds);
    const { bare, public: open, publicArrays, sample: other, dotPeak, read } = result.timings;
    const g = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(1)).padStart(9);
    const ratio = (a?: number, b?: number) => (a && b ? `${((100 * a) / b).toFixed(0)} %` : '-').padStart(9);
    console.log(
      [
        result.kernel.padEnd(34),
        ...[test.M, test.K, test.N].map((size) => String(size).padStart(9)),
        g(bare?.gmacs),
        g(other?.gmacs),
        ratio(bare?.gmacs, other?.gmacs),
        g(open?.gmacs),
        ratio(open?.gmacs, bare?.gmacs),
        g(publicArrays?.gmacs),
        g(dotPeak?.gmacs),
        g(read?.gmacs),
        ratio(bare?.gmacs, result.limit),
      ].join(' '),
    );
    results.push(result);
  }
  if (json) writeFileSync(json, `${JSON.stringify({ machine, results }, null, 1)}\n`);
}
