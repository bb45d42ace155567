/** What test/bench/tfjs.ts measured, as JSON beside it and as Markdown: a page of its own, and the table in @msd/tfjs's README. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { between } from './readme.ts';
import type { Machine } from './results.ts';

export const TFJS_README = new URL('../../packages/tfjs/README.md', import.meta.url);
const BEGIN = '<!-- node test/bench/tfjs.ts readme: begin -->';
const END = '<!-- node test/bench/tfjs.ts readme: end -->';

export type Side = 'stock' | 'int16' | 'int8' | 'int4';

/** Stock tfjs and MSD on the same work, interleaved. */
export interface TfjsCase {
  readonly id: string;
  readonly part: 'matmul' | 'dense' | 'recurrent' | 'convolution' | 'attention' | 'encoder' | 'load';
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

/** Stock and two forms of MSD's. */
function timeTable(cases: readonly TfjsCase[], sides: readonly [Side, Side]): string[] {
  const all: readonly Side[] = ['stock', ...sides];
  const rows = cases.map((own) => {
    const cell = (side: Side) => {
      const time = own.sides[side];
      return time ? `${milliseconds(time.median)} ±${digits(100 * time.spread, 1)} %` : '–';
    };
    const speed = (side: Side) => {
      const time = own.sides[side];
      return time && own.macs ? digits(own.macs / time.median / 1e6) : '–';
    };
    const gains = sides.flatMap((side) => [cell(side), times(gain(own, side)) || '–']);
    return [own.id, cell('stock'), ...gains, ...all.map(speed), String(own.load)];
  });
  const head = ['', 'stock', ...sides.flatMap((side) => [side, 'gain']), 'GMAC/s stock', ...sides, 'load'];
  return table(head, rows);
}

/** tfjs.md of a results folder. */
export function tfjsReport(result: TfjsResult): string {
  const { cases, cosine, memory, classifier, rounds } = result;
  const isAttention = ({ part }: TfjsCase) => part === 'attention';
  const [others, attention] = [cases.filter((own) => !isAttention(own)), cases.filter(isAttention)];
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
    ...timeTable(others, ['int8', 'int4']),
    ...(attention.length
      ? [
          '',
          '## Attention',
          '',
          'ms per call; stock: `matMul`, `mul`, `softmax`, `matMul` on float32. Columns name how MSD keeps keys and values.',
          '',
          ...timeTable(attention, ['int16', 'int8']),
        ]
      : []),
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

/** How keys come to an attention, as ids of cases begin. */
export const FORMS = ['keys in a cache', 'keys as they come'] as const;

const attentionRow = (form: string, M: number): [string, (own: TfjsCase) => boolean] => [
  `attention, ${form}, 12 heads of 64, M=${M}, T = 128 / 1024`,
  ({ part, id }) => part === 'attention' && id.startsWith(form) && id.includes(`M=${M},`),
];

/** Markdown between the markers of the README. */
export function tfjsTable(result: TfjsResult, folder: string): string {
  const { cases, cosine, memory, classifier } = result;
  const hasAttention = cases.some(({ part }) => part === 'attention');
  const sides: readonly Side[] = hasAttention ? ['int16', 'int8', 'int4'] : ['int8', 'int4'];
  /** A row in which only some sides have something to say. */
  const cells = (title: string, of: Partial<Record<Side, string>>): string[] => [
    title,
    ...(['stock', ...sides] as const).map((side) => of[side] ?? ''),
  ];
  const row = (title: string, pick: (own: TfjsCase) => boolean, join: typeof span): string[] => {
    const chosen = cases.filter(pick);
    const gains = (side: Side) => chosen.flatMap((own) => gain(own, side) ?? []);
    const cell = (side: Side) => (gains(side).length ? join(gains(side), times) : '');
    const stock = chosen.map(({ sides }) => sides.stock!.median);
    return [title, `${join(stock, milliseconds)} ms`, ...sides.map(cell)];
  };
  const list: typeof span = (values, text) => values.map(text).join(' / ');
  const ofM = (M: number) => (own: TfjsCase) => own.part === 'matmul' && own.id.startsWith(`matMul M=${M} `);
  const rows = [
    row('`matMul` M=1, weights out of cache, 896x896 … 4096x4096', ofM(1), span),
    row('`matMul` M=128', ofM(128), span),
    row('Dense 1024 on a sequence of one', ({ part }) => part === 'dense', list),
    ...(hasAttention ? [1, 128].flatMap((M) => FORMS.map((form) => row(...attentionRow(form, M), list))) : []),
    row('sentence encoder (USE lite), batch 1 / 8 / 64', ({ part }) => part === 'encoder', list),
    ...cases
      .filter(({ part }) => part === 'load')
      .map((own) => {
        const time = (side: Side) => `${milliseconds(own.sides[side]!.median)} ms`;
        const all = { stock: time('stock'), int8: time('int8'), int4: time('int4') };
        return cells('its loading from memory: stock copies floats, MSD quantizes them', all);
      }),
    cells('its memory after batch 64: tensors, heap growth, bytes in JS', {
      stock: megabytes(totalBytes(memory!.stock)),
      int8: megabytes(totalBytes(memory!.int8)),
    }),
    cells('its embeddings, smallest cosine to stock over 40 sentences', { int8: cosine!.min.toFixed(4) }),
    cells('language classifier, uint8 manifest', {
      stock: megabytes(classifier!.stock),
      int8: megabytes(classifier!.kept),
    }),
  ];
  return [
    `${where(result)}, medians of interleaved`,
    `rounds; stock is tfjs's own float32 ([all figures](../../${folder}/tfjs.md)).`,
    '',
    ...table(['', 'stock', ...sides], rows),
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
