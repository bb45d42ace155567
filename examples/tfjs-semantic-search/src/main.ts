/** The page: two workers, one search box, and what each of them costs. */
import '../../shared/page.css';
import './style.css';
import {
  create,
  element,
  median,
  megabytes,
  milliseconds,
  onDrop,
  ratio,
  shortcuts,
  showFigures,
} from '../../shared/elements.ts';
import type { BackendName, Format, Hit, Memory, Reply, Side } from './protocol.ts';
import { SENTENCES } from './sentences.ts';
import { SideWorker } from './side.ts';

/** As they are shown. */
const SIDES: readonly Side[] = ['stock', 'msd'];
/** As they start: MSD can be searched with while the other one is still loading. */
const START_ORDER: readonly Side[] = ['msd', 'stock'];
const NAMES = { stock: 'TensorFlow.js', msd: 'MSD' } as const;
const WAITS = 'Waits for MSD: at the same time they would slow each other down.';
const FORMAT_HINTS = {
  int8: 'int8: embeddings as good as the float ones (cosine 0.9998 between the two sides).',
  int4: 'int4: weights take a quarter less than int8’s in all, and embeddings are a little off (cosine about 0.97 between the two sides), so that neighbours change places. For this model int8 is the better choice.',
} as const;
const MAX_SENTENCES = 5000;
const QUERIES_KEPT = 9;

const query = element<HTMLInputElement>('query');
const cancel = element<HTMLButtonElement>('cancel');
const backend = element<HTMLSelectElement>('backend');
const format = element<HTMLSelectElement>('format');
const sides = element('sides');
const say = (text: string) => {
  element('status').textContent = text;
};

interface Figures {
  load?: number;
  index?: number;
  /** Milliseconds of the last queries. */
  queries: number[];
  memory?: Memory;
}
type Answer = Extract<Reply, { type: 'hits' }>;

let sentences: readonly string[] = SENTENCES;
let workers: Record<Side, SideWorker> | undefined;
let figures: Record<Side, Figures> = { stock: { queries: [] }, msd: { queries: [] } };
/** Sides that have indexed all sentences. */
let ready: Side[] = [];
/** Whatever was started for an older run of `start` stops when it looks at this. */
let generation = 0;

/** Loads and indexes, one side after the other: they would only slow each other down. */
async function start(): Promise<void> {
  const own = ++generation;
  for (const worker of Object.values(workers ?? {})) worker.terminate();
  workers = { stock: new SideWorker('stock'), msd: new SideWorker('msd') };
  figures = { stock: { queries: [] }, msd: { queries: [] } };
  ready = [];
  query.disabled = true;
  cancel.hidden = false;
  element('format-hint').textContent = FORMAT_HINTS[format.value as Format];
  element('agreement').textContent = '';
  for (const side of SIDES) {
    element<HTMLProgressElement>(`${side}-progress`).value = 0;
    element(`${side}-hits`).replaceChildren();
    element(`${side}-state`).textContent = side === START_ORDER[0] ? '' : WAITS;
  }
  show();
  try {
    await fetchModel();
    for (const side of START_ORDER) {
      if (!(await startSide(side, workers[side]))) return;
      if (own !== generation) return;
      ready.push(side);
      query.disabled = false;
      void search();
    }
    say(`${sentences.length} sentences are ready. Type to search.`);
  } catch (error) {
    if (own === generation) say(`It failed: ${(error as Error).message}`);
  } finally {
    if (own === generation) cancel.hidden = true;
  }
}

/** Brings the model's files into the browser's cache, so that no side downloads for the other. */
async function fetchModel(): Promise<void> {
  say('Downloading the model');
  const manifest = await fetch('./model/model.json');
  if (!manifest.ok) throw new Error(`model/model.json, the server answered ${manifest.status}. Build the page again.`);
  const { weightsManifest } = (await manifest.json()) as { weightsManifest: { paths: string[] }[] };
  const paths = ['vocab.json', ...weightsManifest.flatMap(({ paths }) => paths)];
  await Promise.all(paths.map(async (path) => (await fetch(`./model/${path}`)).arrayBuffer()));
}

/** @returns whether it got to the end */
async function startSide(side: Side, worker: SideWorker): Promise<boolean> {
  const state = element(`${side}-state`);
  const progress = element<HTMLProgressElement>(`${side}-progress`);
  worker.onProgress = (done, total) => {
    progress.value = done / total;
    say(`${NAMES[side]}: ${done} of ${total} sentences`);
  };
  state.textContent = 'Loads the model …';
  say(`${NAMES[side]}: loading the model`);
  const loaded = await worker.load(backend.value as BackendName, format.value as Format);
  figures[side].load = loaded.milliseconds;
  if (side === 'msd') element('report').textContent = loaded.report;
  show();
  state.textContent = 'Reads the sentences …';
  const indexed = await worker.index(sentences);
  if (!indexed) {
    state.textContent = 'Cancelled.';
    say('Cancelled. Choose a backend, a format or a file to start again.');
    return false;
  }
  figures[side].index = indexed.milliseconds;
  figures[side].memory = indexed.memory;
  state.textContent = '';
  show();
  return true;
}

let searches = 0;
let isSearching = false;

/**
 * Only the newest text matters: what was typed meanwhile is searched for when all sides have answered. Until they have, the
 * page shows that it waits; then all answers appear together, so that they always belong to the same text.
 */
async function search(): Promise<void> {
  const id = ++searches;
  setPending(true);
  if (isSearching || !workers || query.disabled) return;
  isSearching = true;
  try {
    const text = query.value.trim();
    const asked = [...ready];
    const answers: Partial<Record<Side, Answer>> = {};
    if (text) for (const side of asked) answers[side] = await workers[side].search(id, text);
    for (const side of asked) showHits(side, answers[side]?.hits ?? []);
    const { stock, msd } = answers;
    element('agreement').textContent = stock && msd ? describeAgreement(text, stock, msd) : '';
    if (stock && msd)
      for (const side of SIDES)
        figures[side].queries = [answers[side]!.milliseconds, ...figures[side].queries].slice(0, QUERIES_KEPT);
    show();
  } catch (error) {
    if ((error as Error).name !== 'AbortError') say(`The search failed: ${(error as Error).message}`);
  } finally {
    isSearching = false;
  }
  if (id === searches) setPending(false);
  else await search();
}

function setPending(isPending: boolean): void {
  sides.classList.toggle('pending', isPending);
  sides.setAttribute('aria-busy', String(isPending));
  if (isPending && !query.disabled && query.value.trim()) element('agreement').textContent = 'Searching …';
}

function showHits(side: Side, hits: readonly Hit[]): void {
  const items = hits.map(({ index, score }) =>
    create('li', create('b', score.toFixed(3)), create('span', sentences[index] ?? '')),
  );
  element(`${side}-hits`).replaceChildren(...items);
}

function describeAgreement(text: string, stock: Answer, msd: Answer): string {
  const cosine = stock.embedding.reduce((sum, value, i) => sum + value * msd.embedding[i]!, 0);
  const order = stock.hits.map(({ index }) => index);
  const shared = msd.hits.filter(({ index }) => order.includes(index)).length;
  return `Both answers to “${text}”: cosine of the embeddings ${cosine.toFixed(5)}, ${shared} of ${order.length} results are the same.`;
}

const total = ({ tensors, heap, files }: Memory) => tensors + heap + files;

const ROWS: readonly [label: string, value: (own: Figures) => number | undefined, text: (value: number) => string][] = [
  ['load the model (downloaded before)', ({ load }) => load, milliseconds],
  ['index all sentences', ({ index }) => index, milliseconds],
  ['one query', ({ queries }) => (queries.length ? median(queries) : undefined), milliseconds],
  ['memory: tensors', ({ memory }) => memory?.tensors, megabytes],
  ['memory: growth of the WebAssembly heap', ({ memory }) => memory?.heap, megabytes],
  ['memory: file bytes kept in JavaScript', ({ memory }) => memory?.files, megabytes],
  ['memory together', ({ memory }) => memory && total(memory), megabytes],
];

function show(): void {
  showFigures(
    element('figures'),
    ROWS.map(([label, value, text]) => ({ label, values: SIDES.map((side) => value(figures[side])), text })),
  );
  showHeadline();
}

/** "105 MB of memory become 7 MB", as soon as both are known. */
function showHeadline(): void {
  const { stock, msd } = figures;
  const headline = element('headline');
  if (!stock.memory || !msd.memory) {
    const known = msd.memory ? ` MSD holds the model in ${megabytes(total(msd.memory))}; TensorFlow.js is next.` : '';
    headline.textContent = `Measuring what each side costs …${known}`;
    return;
  }
  const [before, after] = [total(stock.memory), total(msd.memory)];
  const payoff = create(
    'strong',
    `Memory ${megabytes(before)} → ${megabytes(after)}, ${ratio(before / after)} times less`,
  );
  const read = stock.index && msd.index ? `${milliseconds(stock.index)} → ${milliseconds(msd.index)}` : '';
  const text = `; ${sentences.length} sentences are read in ${read}.`;
  // The same words again would be read out again.
  if (headline.textContent !== `${payoff.textContent}${text}`) headline.replaceChildren(payoff, text);
}

async function takeFile(file: File): Promise<void> {
  const lines = (await file.text()).split(/\r?\n/).map((line) => line.trim());
  const own = lines.filter(Boolean).slice(0, MAX_SENTENCES);
  if (own.length === 0) return say(`${file.name} has no lines of text. Choose a text file with one sentence per line.`);
  sentences = own;
  await start();
}

query.addEventListener('input', () => void search());
cancel.addEventListener('click', () => {
  for (const worker of Object.values(workers ?? {})) worker.cancel();
});
for (const select of [backend, format]) select.addEventListener('change', () => void start());
element('settings').addEventListener('submit', (event) => event.preventDefault());
const file = element<HTMLInputElement>('file');
file.addEventListener('change', () => {
  const [chosen] = file.files ?? [];
  if (chosen) void takeFile(chosen);
});
onDrop(({ files: [dropped] }) => {
  if (dropped) void takeFile(dropped);
});
shortcuts(query, cancel);

void start();
