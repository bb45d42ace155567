/** What test/bench/tfjs.ts measured, as JSON beside it and as Markdown: a page of its own, and the table in @msd/tfjs's README. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { between } from './readme.ts';
import type { Machine } from './results.ts';

export const TFJS_README = new URL('../../packages/tfjs/README.md', import.meta.url);
const BEGIN = '<!-- node test/bench/tfjs.ts readme: begin -->';
const END = '<!-- node test/bench/tfjs.ts readme: end -->';

export type Side = 'stock' | 'int8' | 'int4';

/** Stock tfjs and MSD on the same work, interleaved. */
export interface TfjsCase {
  readonly id: string;
  readonly part: 'matmul' | 'dense' | 'encoder' | 'load';
  /** Multiplications of one call, where that is what is done. */
  readonly macs?: number;
  /** ms per call; spread: half the distance of the quartiles, relative. */
  readonly sides: Partial<Record<Side, { readonly median: number; readonly spread: number }>>;
  readonly load: number;
}

/** Bytes after batch 64. */
export interface TfjsMemory {
  readonly tensors: number;
  readonly initial: number;
  readonly heap: number;
  readonly keptInJs: number;
}

export interface TfjsResult {
  readonly date: string;
  readonly machine: Machine;
  readonly versions: { readonly node: string; readonly tfjs: string };
  readonly rounds: number;
  readonly cases: readonly TfjsCase[];
  /** Of the sentence encoder's embeddings to stock's, 40 sentences. */
  readonly cosine?: { readonly min: number; readonly mean: number };
  readonly memory?: { readonly stock: TfjsMemory; readonly int8: TfjsMemory };
  /** Weights of the language classifier, in bytes. */
  readonly classifier?: { readonly stock: number; readonly kept: number };
}

export const totalBytes = ({ tensors, initial, heap, keptInJs }: TfjsMemory): number =>
  tensors + heap - initial + keptInJs;

const fileOf = (folder: string): string => joinPath(folder, 'tfjs.json');

/** @returns undefined if nothing has been measured yet */
export function readTfjs(folder: string): TfjsResult | undefined {
  return existsSync(fileOf(folder)) ? (JSON.parse(readFileSync(fileOf(folder), 'utf8')) as TfjsResult) : undefined;
}

/** Adds a run to what lies in the folder: what is measured again is replaced. */
export function writeTfjs(folder: string, run: TfjsResult): void {
  const before = readTfjs(folder);
  const again = new Set(run.cases.map(({ id }) => id));
  const cases = [...(before?.cases ?? []).filter(({ id }) => !again.has(id)), ...run.cases];
  const result: TfjsResult = { ...before, ...run, cases };
  writeFileSync(fileOf(folder), `${JSON.stringify(result)}\n`);
  writeFileSync(joinPath(folder, 'tfjs.md'), tfjsReport(result));
}

const digits = (value: number, count = 2): string => {
  const text = value.toPrecision(count);
  return text.includes('e') ? String(Number(text)) : text;
};
const milliseconds = (value: number): string => digits(value, value < 10 ? 2 : 3);
const megabytes = (bytes: number): string => `${digits(bytes / 1e6, 3)} MB`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
  [head, head.map((_, i) => (i ? '---:' : '---')), ...rows].map((cells) => `| ${cells.join(' | ')} |`);

function gain({ sides }: TfjsCase, side: Side): number | undefined {
  const [stock, own] = [sides.stock, sides[side]];
  return stock && own && stock.median / own.median;
}

const times = (value: number | undefined): string => (value === undefined ? '' : `${digits(value)}x`);

const where = ({ machine, versions, date }: TfjsResult): string =>
  `${machine.cpu} (${machine.cores} cores, virtual and shared), Node ${versions.node}, tfjs ${versions.tfjs} wasm, one thread, ${date.slice(0, 10)}`;

/** tfjs.md of a results folder. */
export function tfjsReport(result: TfjsResult): string {
  const { cases, cosine, memory, classifier, rounds } = result;
  const rows = cases.map((own) => {
    const cell = (side: Side) => {
      const time = own.sides[side];
      return time ? `${milliseconds(time.median)} ±${digits(100 * time.spread, 1)} %` : '–';
    };
    const speed = (side: Side) => {
      const time = own.sides[side];
      return time && own.macs ? digits(own.macs / time.median / 1e6) : '–';
    };
    const gains = (['int8', 'int4'] as const).map((side) => times(gain(own, side)) || '–');
    return [
      own.id,
      cell('stock'),
      cell('int8'),
      gains[0]!,
      cell('int4'),
      gains[1]!,
      speed('stock'),
      speed('int8'),
      speed('int4'),
      String(own.load),
    ];
  });
  const bytes = (side: 'stock' | 'int8') => {
    const { tensors, initial, heap, keptInJs } = memory![side];
    return [side, ...[tensors, initial, heap, keptInJs, totalBytes(memory![side])].map(megabytes)];
  };
  return [
    '<!-- Written by `node test/bench/tfjs.ts`. Do not edit. -->',
    '',
    '# @msd/tfjs beside stock TensorFlow.js',
    '',
    `${where(result)}. How it is measured: [docs/benchmarks.md](../../../../docs/benchmarks.md#tensorflowjs).`,
    '',
    '## Time',
    '',
    `ms per call, medians of ${rounds} rounds or more ± half the distance of the quartiles; stock is float32.`,
    '',
    ...table(['', 'stock', 'int8', 'gain', 'int4', 'gain', 'GMAC/s stock', 'int8', 'int4', 'load'], rows),
    ...(memory
      ? [
          '',
          '## Memory of the sentence encoder after batch 64',
          '',
          ...table(['', 'tensors', 'heap at first', 'heap', 'kept in JS', 'total'], [bytes('stock'), bytes('int8')]),
        ]
      : []),
    ...(cosine
      ? ['', `Cosine of its embeddings to stock's, 40 sentences: at least ${cosine.min}, ${cosine.mean} on average.`]
      : []),
    ...(classifier
      ? [
          '',
          `Weights of the language classifier (uint8 manifest): ${megabytes(classifier.stock)} in tfjs, ${megabytes(classifier.kept)} kept.`,
        ]
      : []),
    '',
  ].join('\n');
}

const span = (values: readonly number[], text: (value: number) => string): string => {
  const ends = [Math.min(...values), Math.max(...values)].map(text);
  return ends[0] === ends[1] ? ends[0]! : ends.join(' … ');
};

/** Markdown between the markers of the README. */
export function tfjsTable(result: TfjsResult, folder: string): string {
  const { cases, cosine, memory, classifier } = result;
  const row = (title: string, pick: (own: TfjsCase) => boolean, join: typeof span): string[] => {
    const chosen = cases.filter(pick);
    const gains = (side: Side) => chosen.flatMap((own) => gain(own, side) ?? []);
    const cell = (side: Side) => (gains(side).length ? join(gains(side), times) : '');
    const stock = chosen.map(({ sides }) => sides.stock!.median);
    return [title, `${join(stock, milliseconds)} ms`, cell('int8'), cell('int4')];
  };
  const list: typeof span = (values, text) => values.map(text).join(' / ');
  const ofM = (M: number) => (own: TfjsCase) => own.part === 'matmul' && own.id.startsWith(`matMul M=${M} `);
  const rows = [
    row('`matMul` M=1, weights out of cache, 896x896 … 4096x4096', ofM(1), span),
    row('`matMul` M=128', ofM(128), span),
    row('Dense 1024 on a sequence of one', ({ part }) => part === 'dense', list),
    row('sentence encoder (USE lite), batch 1 / 8 / 64', ({ part }) => part === 'encoder', list),
    ...cases
      .filter(({ part }) => part === 'load')
      .map(({ sides }) => [
        'its loading from memory: stock copies floats, MSD quantizes them',
        ...(['stock', 'int8', 'int4'] as const).map((side) => `${milliseconds(sides[side]!.median)} ms`),
      ]),
    [
      'its memory after batch 64: tensors, heap growth, bytes in JS',
      megabytes(totalBytes(memory!.stock)),
      megabytes(totalBytes(memory!.int8)),
      '',
    ],
    ['its embeddings, smallest cosine to stock over 40 sentences', '', cosine!.min.toFixed(4), ''],
    ['language classifier, uint8 manifest', megabytes(classifier!.stock), megabytes(classifier!.kept), ''],
  ];
  return [
    `${where(result)}, medians of interleaved`,
    `rounds; stock is tfjs's own float32 ([all figures](../../${folder}/tfjs.md)).`,
    '',
    ...table(['', 'stock', 'int8', 'int4'], rows),
  ].join('\n');
}

/** What stands between the markers now, and the results that it names. */
export function tfjsBlock(): { readonly block: string; readonly folder: string } {
  const { block } = between(readFileSync(TFJS_README, 'utf8'), BEGIN, END);
  return { block, folder: /\]\((?:\.\.\/)+([^)]*)\/tfjs\.md\)/.exec(block)?.[1] ?? '' };
}

/** @param folder of the results, relative to the repository */
export function writeTfjsReadme(folder: string, result: TfjsResult): void {
  const { before, after } = between(readFileSync(TFJS_README, 'utf8'), BEGIN, END);
  writeFileSync(TFJS_README, `${before}\n${tfjsTable(result, folder)}\n${after}`);
}
