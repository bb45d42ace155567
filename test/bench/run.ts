/**
 * npm run bench [-- kernels] [--sample FOLDER] [--json FILE]
 *
 * One thread, one process. Says how busy the machine was: on a shared machine only ratios within a run mean something.
 */
import { writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type KernelCase, loadKernelSample, measureKernel } from './kernels.ts';
import { DECODE_ROWS, LLM_LAYERS, PREFILL_ROWS } from './shapes.ts';

const { values } = parseArgs({
  options: { sample: { type: 'string' }, json: { type: 'string' }, rounds: { type: 'string', default: '15' } },
  allowPositionals: true,
});

const sample = values.sample ? await loadKernelSample(values.sample) : undefined;
const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  node: process.version,
  v8: process.versions.v8,
  load: loadavg()[0],
  date: new Date().toISOString(),
};
console.log(
  `${machine.cpu}, Node ${machine.node} (V8 ${machine.v8}), load ${machine.load.toFixed(2)}, one thread. GMAC/s, medians of ${values.rounds} interleaved rounds.`,
);
const columns = [
  'kernel',
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
console.log(columns.map((name, i) => (i === 0 ? name.padEnd(34) : name.padStart(9))).join(' '));

const cases: KernelCase[] = (['int4', 'int8', 'mxfp4'] as const).flatMap((format) =>
  [DECODE_ROWS, PREFILL_ROWS].flatMap((M) => LLM_LAYERS.map(({ K, N }) => ({ format, M, K, N }))),
);
const results = cases.map((test) => {
  const result = measureKernel(test, sample, Number(values.rounds));
  const { bare, public: open, publicArrays, sample: other, dotPeak, read } = result.timings;
  const g = (value: number | undefined, digits = 1) => (value === undefined ? '-' : value.toFixed(digits)).padStart(9);
  const ratio = (a?: number, b?: number) => (a && b ? `${((100 * a) / b).toFixed(0)} %` : '-').padStart(9);
  console.log(
    [
      result.kernel.padEnd(34),
      String(test.M).padStart(9),
      String(test.K).padStart(9),
      String(test.N).padStart(9),
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
  return result;
});
if (values.json) writeFileSync(values.json, `${JSON.stringify({ machine, results }, null, 1)}\n`);
