/** What the decoder benchmark leaves behind: a JSON file per model, and one page of Markdown made of them all. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../measure.ts';
import type { DecoderShape, Embedding } from '../models/decoder.ts';
import type { Packaging } from '../models/decoder-files.ts';
import type { Machine, Measured } from '../results.ts';
import { summarize } from '../samples.ts';
import type { LoadedBy } from './load.ts';
import type { PageJob } from './page.ts';
import type { PageSide } from './pages.ts';
import type { From, SessionSide, SideId } from './sides.ts';

/** One token after a cache of `past`, or a prompt of `rows` tokens. */
export interface PhaseResult {
  readonly rows: number;
  readonly past: number;
  /** Milliseconds per call. */
  readonly ms: Partial<Record<SideId, Measured>>;
  /** The same calls by the clock of the processor: of the calling thread, or of all where Node cannot tell. */
  readonly cpuMs?: Partial<Record<SideId, Measured>>;
  /** Of the logits, against those of the first side. */
  readonly decibels: Partial<Record<SideId, number>>;
}

/** What MSD says of its session after the last phase. */
export interface SideReport {
  readonly foreignRunsPerCall: number;
  readonly foreignSessions: number;
  readonly fileBytes: number;
  readonly packedBytes: number;
  readonly wasmBytes: number;
}

export interface LoadResult {
  readonly by: LoadedBy;
  readonly from: From;
  readonly ms: Measured;
  /** Medians. Of the side's own start, which `ms` does not contain. */
  readonly startMs: number;
  readonly systemMs: number;
  readonly pageFaults: number;
  readonly wasmBytes: number;
  readonly wasmBytesAfterToken: number;
  readonly rss: number;
  readonly peakRss: number;
  readonly claimedBytes?: number;
}

/** Loading in a page of Chromium. */
export interface PageLoadResult {
  readonly by: PageSide;
  readonly from: PageJob['from'];
  readonly ms: Measured;
  /** Median of the side's own start, which `ms` does not contain. */
  readonly startMs: number;
}

export interface DecoderResult {
  readonly shape: DecoderShape;
  readonly embedding: Embedding;
  readonly packaging: Packaging;
  readonly fileBytes: number;
  readonly macsPerToken: number;
  readonly threads: number;
  readonly date: string;
  readonly machine: Machine;
  /** 1-minute load average before the run. */
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly clock: Clock;
  readonly phases: readonly PhaseResult[];
  readonly reports: Partial<Record<SessionSide, SideReport>>;
  readonly loads: readonly LoadResult[];
  readonly pageLoads?: readonly PageLoadResult[];
}

const LABELS: Record<LoadedBy | SideId, string> = {
  ort: 'onnxruntime-web',
  msd: 'MSD',
  before: 'MSD before',
  products: 'products alone',
  pack: 'reading and packing alone',
};

/** Weights and scratch may take this much more than the weights' bytes. */
const MEMORY = { factor: 1.1, bytes: 64e6 };

/** Writes a model's figures, replacing older ones of the same model, and the page of all. */
export function writeDecoderResult(folder: string, result: DecoderResult): void {
  const { shape, embedding, threads } = result;
  const file = `decoder-${shape.name}-L${shape.layers}-H${shape.hiddenSize}-${embedding}-${threads}t.json`;
  writeFileSync(join(folder, file), `${JSON.stringify(result)}\n`);
  const all = readdirSync(folder)
    .filter((name) => /^decoder-.*\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as DecoderResult);
  writeFileSync(join(folder, 'decoder.md'), `${decoderReport(all)}\n`);
}

const digits = (value: number, count = 3): string => {
  const text = value.toPrecision(count);
  return text.includes('e') ? String(Number(text)) : text;
};
const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)}`;
const ratio = (a: number | undefined, b: number | undefined): string =>
  a === undefined || b === undefined ? '' : `${digits(a / b)}x`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map((_, i) => (i ? '---:' : '---')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);

const timesOf = ({ ms, cpuMs }: PhaseResult, clock: Clock) => (clock === 'cpu' && cpuMs ? cpuMs : ms);

/** Tokens per second of a phase. */
export const rate = (phase: PhaseResult, side: SideId, clock: Clock = 'wall'): number | undefined => {
  const time = timesOf(phase, clock)[side]?.median;
  return time === undefined ? undefined : (1000 * phase.rows) / time;
};

/** Time of `side` ÷ time of `by`: the median of the rounds' own ratios. */
export function timeRatio(phase: PhaseResult, side: SideId, by: SideId, clock: Clock = 'wall'): number | undefined {
  const times = timesOf(phase, clock);
  const [own, other] = [times[side]?.samples, times[by]?.samples];
  return own && other && summarize(own.map((value, i) => value / other[i]!)).median;
}

/** The same of the fastest samples, which other programs disturbed least. */
function fastestRatio({ ms }: PhaseResult, side: SideId, by: SideId): number | undefined {
  const [own, other] = [ms[side]?.samples, ms[by]?.samples];
  return own && other && Math.min(...own) / Math.min(...other);
}

/** How much more than its products alone a call of MSD should take, at most. */
const GOALS: readonly (Pick<PhaseResult, 'rows' | 'past'> & { readonly most: number })[] = [
  { rows: 1, past: 128, most: 1.15 },
  { rows: 1, past: 1024, most: 1.3 },
  { rows: 1, past: 4096, most: 1.8 },
  { rows: 128, past: 0, most: 1.15 },
  { rows: 512, past: 0, most: 1.25 },
];

export function decoderReport(results: readonly DecoderResult[]): string {
  const lines = [
    '# Decoders',
    '',
    'Generated by `npm run bench -- decoder`; how is said in docs/benchmarks.md. 4-bit decoders with random weights, whole, through',
    '`session.run`: plain onnxruntime-web and MSD in it, in turns in one process. Medians ± half the distance of the quartiles;',
    "ratios are medians of the rounds' own ratios.",
  ];
  for (const result of results) lines.push('', ...section(result));
  return lines.join('\n');
}

function section(result: DecoderResult): string[] {
  const { shape, embedding, packaging, fileBytes, macsPerToken, threads, machine, versions, load, date } = result;
  const { layers, hiddenSize, mlpSize, heads, kvHeads, headDim, vocabSize } = shape;
  const lines = [
    `## ${shape.name}, ${layers} layers of ${hiddenSize}, ${embedding} embedding, ${threads} thread${threads > 1 ? 's' : ''}`,
    '',
    `MLP ${mlpSize}, ${heads}/${kvHeads} heads of ${headDim}, vocabulary ${vocabSize}: ${digits(macsPerToken / 1e6)} MMAC per token, ` +
      `${megabytes(fileBytes)} MB (${packaging}). ${machine.cpu}, ${machine.cores} cores, Node ${versions.node}, onnxruntime-web ` +
      `${versions.ort}, ${date.slice(0, 10)}, load ${load}, ${result.rounds} rounds, ${result.clock} time.`,
  ];
  if (result.phases.length > 0) lines.push('', ...phaseTable(result), ...overProducts(result));
  const reports = Object.entries(result.reports);
  if (reports.length > 0) lines.push('');
  for (const [side, report] of reports)
    lines.push(
      `- ${LABELS[side as SideId]}: ${report.foreignRunsPerCall} foreign runs per token, ${report.foreignSessions} sessions; weights ` +
        `${megabytes(report.fileBytes)} MB in the file, ${megabytes(report.packedBytes)} MB packed.`,
    );
  if (result.loads.length > 0) lines.push('', ...loadTable(result.loads));
  if (result.pageLoads) lines.push('', ...pageLoadTable(result.pageLoads));
  return lines;
}

const phaseName = ({ rows, past }: PhaseResult): string => (rows > 1 ? `prompt of ${rows}` : `after ${past}`);
const times = (value: number | undefined): string => (value === undefined ? '' : `${digits(value)}x`);

function phaseTable({ phases, clock }: DecoderResult): string[] {
  const sides = Object.keys(phases[0]!.ms) as SideId[];
  const compared = sides.filter((side) => side !== 'msd' && side !== 'products');
  const head = [
    'tokens per second',
    ...sides.map((side) => LABELS[side]),
    ...compared.map((side) => `MSD ÷ ${LABELS[side]}`),
    'MSD, dB',
  ];
  const rows = phases.map((phase) => [
    phaseName(phase),
    ...sides.map((side) => {
      const value = rate(phase, side, clock);
      return value === undefined ? '' : `${digits(value)} ±${Math.round(100 * timesOf(phase, clock)[side]!.spread)} %`;
    }),
    ...compared.map((side) => times(timeRatio(phase, side, 'msd', clock))),
    String(phase.decibels.msd ?? ''),
  ]);
  return table(head, rows);
}

/** What lies between the products, as a factor of their time; nothing where they were not measured. */
function overProducts({ phases }: DecoderResult): string[] {
  const measured = phases.filter(({ ms }) => ms.msd && ms.products);
  if (measured.length === 0) return [];
  const head = ['time ÷ products alone', 'MSD', 'fastest samples', 'processor time', 'at most', '', 'MSD before'];
  const rows = measured.map((phase) => {
    const own = timeRatio(phase, 'msd', 'products')!;
    const goal = GOALS.find(({ rows, past }) => rows === phase.rows && past === phase.past)?.most;
    return [
      phaseName(phase),
      times(own),
      times(fastestRatio(phase, 'msd', 'products')),
      times(timeRatio(phase, 'msd', 'products', 'cpu')),
      times(goal),
      goal === undefined ? '' : own <= goal ? 'PASS' : 'above',
      times(timeRatio(phase, 'before', 'products')),
    ];
  });
  return ['', ...table(head, rows)];
}

function loadTable(loads: readonly LoadResult[]): string[] {
  const head = [
    'loading',
    'from',
    'ms',
    '÷ packing',
    'own start',
    'system ms',
    'page faults',
    'WASM MB',
    'after a token',
    'of allowed',
    'RSS MB',
    'peak',
  ];
  const rows = loads.map((load) => {
    const pack = loads.find(({ by, from }) => by === 'pack' && from === load.from);
    const allowed = load.claimedBytes === undefined ? undefined : MEMORY.factor * load.claimedBytes + MEMORY.bytes;
    return [
      LABELS[load.by],
      load.from,
      `${Math.round(load.ms.median)} ±${Math.round(100 * load.ms.spread)} %`,
      load.by === 'pack' ? '' : ratio(load.ms.median, pack?.ms.median),
      load.by === 'pack' ? '' : `${Math.round(load.startMs)} ms`,
      String(Math.round(load.systemMs)),
      String(load.pageFaults),
      megabytes(load.wasmBytes),
      megabytes(load.wasmBytesAfterToken),
      load.by === 'pack' ? '' : ratio(load.wasmBytes, allowed),
      megabytes(load.rss),
      megabytes(load.peakRss),
    ];
  });
  const note = `"Of allowed": memory after loading ÷ (${MEMORY.factor} × the claimed weights' bytes + ${MEMORY.bytes / 1e6} MB).`;
  return [...table(head, rows), '', note];
}

function pageLoadTable(loads: readonly PageLoadResult[]): string[] {
  const rows = loads.map(({ by, from, ms, startMs }) => {
    const pack = loads.find((other) => other.by === 'pack' && other.from === from);
    return [
      LABELS[by],
      from,
      `${Math.round(ms.median)} ±${Math.round(100 * ms.spread)} %`,
      by === 'pack' ? '' : ratio(ms.median, pack?.ms.median),
      `${startMs} ms`,
    ];
  });
  return table(['loading in Chromium', 'from', 'ms', '÷ packing', 'own start'], rows);
}
