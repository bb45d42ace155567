/** Results -> Markdown and plots. Nothing is measured here, and every figure in the text comes from the JSON. */
import { environmentName, type GoalResult, goalsOf, relaxedDotGain } from './goals.ts';
import type { CaseResult, EnvironmentResult, Measured, MemoryResult, Peaks, VariantResult } from './results.ts';
import { type Bar, barChart, type RooflinePoint, roofline } from './svg.ts';

export interface Report {
  readonly markdown: string;
  /** By file name. */
  readonly plots: Readonly<Record<string, string>>;
}

const table = (columns: readonly string[], rows: readonly (readonly string[])[]): string =>
  [
    `| ${columns.join(' | ')} |`,
    `|${columns.map((_, i) => (i === 0 ? '---' : '---:')).join('|')}|`,
    ...rows.map((row) => `| ${row.join(' | ')} |`),
  ].join('\n');

const rate = (value: number | undefined): string =>
  value === undefined ? '–' : value < 10 ? value.toFixed(2) : value.toFixed(1);
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
const slug = (run: EnvironmentResult): string =>
  [run.platform, `t${run.threads}`, ...run.flags.map((flag) => flag.replace(/^-+/, ''))].join('-');

/** File name of an environment's results. */
export const resultFile = (run: EnvironmentResult): string => `${slug(run)}.json`;

/** A variant's name in tables: its carrier only where the default options were not what chose it. */
const rowName = ({ id, label, threads, carrier, kernel }: VariantResult): string => {
  const asked = / i(8|16)( |$)/.test(id) ? `, ${carrier} asked for` : '';
  return `${label}${asked}${kernel && threads > 1 ? `, ${threads} threads` : ''}`;
};

/**
 * What the machine allows a variant of MSD: the dot product of its carrier, or reading its weights.
 * One pass of the i16 carrier does both components; the i8 carrier needs one per component.
 */
export function limitOf(peaks: Peaks, macs: number, variant: VariantResult): number | undefined {
  const { carrier, components = 1, weightBytes, threads } = variant;
  const pick = (values: readonly Measured[]) => values[Math.min(threads, values.length) - 1]?.median;
  const [dot, relaxed, read] = [pick(peaks.dot), pick(peaks.relaxedDot), pick(peaks.read)];
  const compute = carrier === 'i8' ? (relaxed ?? Number.NaN) / components : dot;
  if (!weightBytes || compute === undefined || read === undefined) return undefined;
  return Math.min(compute, (read * macs) / weightBytes);
}

function speedTable(tests: readonly CaseResult[]): string {
  const heads = new Map<string, VariantResult>();
  for (const variant of tests.flatMap(({ variants }) => variants)) {
    const known = heads.get(variant.id);
    if (!known || (!known.kernel && variant.kernel)) heads.set(variant.id, variant);
  }
  const rows = [...heads].map(([id, first]) => [
    rowName(first),
    first.carrier ?? '',
    ...tests.map(({ variants, peaks, macs }) => {
      const variant = variants.find((other) => other.id === id);
      if (!variant?.time) return 'not measured';
      const limit = limitOf(peaks, macs, variant);
      const share = limit ? ` (${percent(variant.gmacs! / limit)})` : '';
      return `${rate(variant.gmacs)} ±${percent(variant.time.spread)}${share}`;
    }),
  ]);
  const reasons = new Map<string, string[]>();
  for (const { shape, variants } of tests)
    for (const { label, notMeasured } of variants) {
      if (!notMeasured) continue;
      const why = `${label}: ${notMeasured}`;
      reasons.set(why, [...(reasons.get(why) ?? []), shape]);
    }
  const measuredRows = rows.filter((row) => row.some((cell) => cell.includes('±')));
  return [
    table(['GMAC/s ± spread (share of the limit)', 'carrier', ...tests.map(({ shape }) => shape)], measuredRows),
    ...[...reasons].map(([why, shapes]) => `\nNot measured: ${why} (${shapes.join('; ')}).`),
  ].join('\n');
}

function peakTable(tests: readonly CaseResult[], beyond: EnvironmentResult['beyondCache']): string {
  const all = [
    ...tests.map(({ id, peaks }) => ({ id, peaks })),
    ...(beyond ? [{ id: 'beyond cache', peaks: beyond.peaks }] : []),
  ];
  const both = (values: readonly Measured[]): string => values.map(({ median }) => rate(median)).join(' / ') || 'none';
  return table(
    ['peaks, one / two workers', 'dot_i16x8', 'relaxed dot', 'read GB/s', 'working set MB'],
    all.map(({ id, peaks }) => [
      id,
      both(peaks.dot),
      both(peaks.relaxedDot),
      both(peaks.read),
      megabytes(peaks.readBytes),
    ]),
  );
}

const bound = (value: number, goal: GoalResult): string =>
  goal.group === 'Accuracy' ? value.toFixed(1) : value.toFixed(2);

/** Goals of all runs, those of one kind together. */
export function goalTable(goals: readonly GoalResult[]): string {
  return table(
    ['goal', 'environment', 'at least', 'got', 'verdict'],
    goals.map((goal) => [
      `${goal.group}: ${goal.goal}`,
      goal.environment,
      bound(goal.least, goal),
      goal.got === undefined ? '–' : bound(goal.got, goal),
      goal.verdict === 'below' ? '**below**' : goal.verdict,
    ]),
  );
}

/** Bytes that an engine reads per weight, by its format; its own figure where it tells. */
function intensity({ macs, M }: CaseResult, { weights, weightBytes }: VariantResult): number {
  const nominal: Record<string, number> = { fp32: 4, int8: 1, 'int8/32': 1.0625, int4: 0.5, 'int4/32': 0.5625 };
  return macs / (weightBytes ?? (nominal[weights] ?? 1) * (macs / M));
}

function plotsOf(run: EnvironmentResult): Record<string, string> {
  const plots: Record<string, string> = {};
  const where = environmentName(run);
  for (const phase of ['decode', 'prefill'] as const) {
    const tests = run.cases.filter((test) => test.phase === phase);
    if (tests.length === 0) continue;
    const panels = tests.map(({ shape, chain, variants, peaks }) => {
      const bars = variants.flatMap((variant): Bar[] =>
        variant.time
          ? [{ label: rowName(variant), engine: variant.engine, value: variant.gmacs!, spread: variant.time.spread }]
          : [],
      );
      const limits = [
        ...(peaks.dot[0] ? [{ label: 'dot_i16x8', value: peaks.dot[0].median }] : []),
        ...(peaks.relaxedDot[0] ? [{ label: 'relaxed dot', value: peaks.relaxedDot[0].median }] : []),
      ];
      return { title: `${shape} (${chain})`, bars, limits: limits.slice(0, 1) };
    });
    const title = `${phase === 'decode' ? 'Decode, M = 1' : 'Prefill, M = 128'}: ${where}`;
    plots[`${slug(run)}-${phase}.svg`] = barChart(title, 'GMAC/s, medians; lines: spread', panels);
  }
  const points = run.cases.flatMap((test) =>
    test.variants.flatMap((variant): RooflinePoint[] =>
      variant.gmacs
        ? [
            {
              label: `${test.id}, ${rowName(variant)}`,
              engine: variant.engine,
              intensity: intensity(test, variant),
              gmacs: variant.gmacs,
            },
          ]
        : [],
    ),
  );
  const last = run.cases.at(-1);
  if (points.length > 0 && last) {
    const named = (label: string, values: readonly Measured[]) =>
      values.map(({ median }, i) => ({ label: `${label}${i ? ', two workers' : ''}`, value: median }));
    plots[`${slug(run)}-roofline.svg`] = roofline(`Roofline: ${where}`, points, {
      compute: [...named('dot_i16x8', last.peaks.dot), ...named('relaxed dot', last.peaks.relaxedDot)],
      read: named('read', run.beyondCache?.peaks.read ?? last.peaks.read),
    });
  }
  return plots;
}

function environmentSection(run: EnvironmentResult, plots: readonly string[]): string {
  const { cases, accuracy, beyondCache, activationBlocks, wholeModels, memory, absent } = run;
  const gain = relaxedDotGain(run);
  const parts = [
    `## ${environmentName(run)}`,
    `${run.date.slice(0, 16).replace('T', ' ')} UTC, load ${run.load}, ${run.rounds} rounds of ${run.sampleMs} ms. ` +
      Object.entries(run.versions)
        .map(([name, version]) => `${name} ${version}`)
        .join(', ') +
      (gain ? `. Relaxed dot / dot_i16x8: ${gain.toFixed(2)}.` : '.'),
  ];
  for (const [engine, why] of Object.entries(absent)) parts.push(`Not measured: ${engine}, ${why}.`);
  for (const phase of ['decode', 'prefill'] as const) {
    const tests = cases.filter((test) => test.phase === phase);
    if (tests.length === 0) continue;
    parts.push(
      phase === 'decode'
        ? `### Decode, M = 1\n\nChains: ${tests.map(({ shape, chain }) => `${shape}: ${chain}`).join('; ')}.`
        : '### Prefill, M = 128',
      speedTable(tests),
    );
  }
  for (const plot of plots) parts.push(`![${plot}](${plot})`);
  if (cases.length > 0 || beyondCache) parts.push('### The machine', peakTable(cases, beyondCache));
  if (beyondCache)
    parts.push(
      '### Weights beyond every cache, M = 1',
      table(
        ['', 'threads', 'MB', 'GMAC/s', 'in cache (K=4096, N=512)', 'B/MAC'],
        beyondCache.results.map((result) => [
          result.label,
          String(result.threads),
          megabytes(result.bytes),
          `${rate(result.gmacs)} ±${percent(result.time.spread)}`,
          `${rate(result.inCacheGmacs)} ±${percent(result.inCacheTime.spread)}`,
          String(result.bytesPerMac),
        ]),
      ),
    );
  if (accuracy.length > 0)
    parts.push(
      '### Accuracy, SQNR in dB against float64 on the same weights',
      '1000 rows, K = 4096, 64 outputs, eight rows per call (which matters where a scale is per tensor).',
      table(
        ['', 'Gaussian', 'one 100× outlier per row', 'the same error against the rest'],
        accuracy.map(({ label, notMeasured, gaussian, outlier, outlierRest }) =>
          notMeasured ? [label, 'not measured', '', ''] : [label, rate(gaussian), rate(outlier), rate(outlierRest)],
        ),
      ),
    );
  if (activationBlocks.length > 0)
    parts.push(
      '### activationBlock: what it costs and saves, 2048²',
      table(
        ['', 'activationBlock', 'M=1', 'M=128', 'SQNR Gaussian', 'SQNR one 1000× outlier, against the rest'],
        activationBlocks.map(({ weights, components, activationBlock, gmacs, gaussian, outlierRest }) => [
          `${weights}, ${components === 2 ? 'two components' : 'one component'}`,
          String(activationBlock),
          rate(gmacs['1']),
          rate(gmacs['128']),
          rate(gaussian),
          rate(outlierRest),
        ]),
      ),
    );
  if (wholeModels.length > 0)
    parts.push(
      '### llama.cpp, whole generated decoders',
      'Six layers with the shapes of Qwen2.5-0.5B; MACs of the linear layers over the time of everything (llama.cpp) or of the linear layers (MSD).',
      table(
        ['GMAC/s', 'threads', 'decode', 'prefill of 128'],
        wholeModels.map(({ label, threads, notMeasured, decodeGmacs, prefillGmacs }) =>
          notMeasured
            ? [label, String(threads), 'not measured', notMeasured]
            : [label, String(threads), rate(decodeGmacs), rate(prefillGmacs)],
        ),
      ),
    );
  if (memory.length > 0) parts.push('### Memory', memoryTable(memory));
  return parts.join('\n\n');
}

function memoryTable(memory: readonly MemoryResult[]): string {
  return [
    'WebAssembly memory of a fresh page with one layer 4096×4096, MB. JavaScript’s own heap does not count.',
    '',
    table(
      ['', 'before', 'loaded', 'after M=1', 'after M=128'],
      memory.map(({ label, start, loaded, afterDecode, afterPrefill }) => [
        label,
        ...[start, loaded, afterDecode, afterPrefill].map(megabytes),
      ]),
    ),
  ].join('\n');
}

/** Chromium before Node, one thread before two. */
const order = (run: EnvironmentResult): string => `${run.platform} ${run.flags.length} ${run.threads}`;

export function writeReport(unordered: readonly EnvironmentResult[]): Report {
  const runs = unordered.toSorted((a, b) => order(a).localeCompare(order(b)));
  const [first] = runs;
  if (!first) throw new RangeError('report: results expected, got none.');
  const { cpu, cores, memoryGiB, os } = first.machine;
  const goals = runs.flatMap(goalsOf);
  const count = (verdict: GoalResult['verdict']) => goals.filter((goal) => goal.verdict === verdict).length;
  const plots = runs.map(plotsOf);
  const markdown = [
    '<!-- Written by `npm run bench`. Do not edit. -->',
    `# Benchmarks, ${first.date.slice(0, 10)}`,
    `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${os}. How it is measured: [docs/benchmarks.md](../../../../docs/benchmarks.md).`,
    '## Goals',
    `${count('PASS')} PASS, ${count('below')} below, ${count('not measured here')} not measured here.`,
    goalTable(goals),
    '<details><summary>By shape</summary>\n\n' +
      table(
        ['goal', 'environment', 'detail'],
        goals.map(({ group, goal, environment, detail }) => [`${group}: ${goal}`, environment, detail]),
      ) +
      '\n\n</details>',
    ...runs.map((run, i) => environmentSection(run, Object.keys(plots[i]!))),
    '',
  ].join('\n\n');
  return { markdown, plots: Object.assign({}, ...plots) };
}
