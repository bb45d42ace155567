/** The page: two workers, one search box, and what each of them costs. */
import type { BackendName, Format, Hit, Memory, Reply, Side } from './protocol.ts';
import { SENTENCES } from './sentences.ts';
import { SideWorker } from './side.ts';

const SIDES: readonly Side[] = ['stock', 'msd'];
const NAMES = { stock: 'TensorFlow.js', msd: 'MSD' } as const;
const MAX_SENTENCES = 5000;

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no #${id} in the page`);
  return found as T;
}

const query = element<HTMLInputElement>('query');
const cancel = element<HTMLButtonElement>('cancel');
const backend = element<HTMLSelectElement>('backend');
const format = element<HTMLSelectElement>('format');
const say = (text: string) => {
  element('status').textContent = text;
};

interface Figures {
  load?: number;
  index?: number;
  query?: number;
  memory?: Memory;
}

let sentences: readonly string[] = SENTENCES;
let workers: Record<Side, SideWorker> | undefined;
let figures: Record<Side, Figures> = { stock: {}, msd: {} };
/** Whatever was started for an older run of `start` stops when it looks at this. */
let generation = 0;

/** Loads and indexes, one side after the other: they would only slow each other down. */
async function start(): Promise<void> {
  const own = ++generation;
  for (const worker of Object.values(workers ?? {})) worker.terminate();
  workers = { stock: new SideWorker('stock'), msd: new SideWorker('msd') };
  figures = { stock: {}, msd: {} };
  query.disabled = true;
  cancel.hidden = false;
  show();
  try {
    for (const side of SIDES) {
      const worker = workers[side];
      const progress = element<HTMLProgressElement>(`${side}-progress`);
      progress.value = 0;
      worker.onProgress = (done, total) => {
        progress.value = done / total;
        say(`${NAMES[side]}: ${done} of ${total} sentences`);
      };
      element(`${side}-hits`).replaceChildren();
      say(`${NAMES[side]}: loading the model`);
      const loaded = await worker.load(backend.value as BackendName, format.value as Format);
      figures[side].load = loaded.milliseconds;
      if (side === 'msd') element('report').textContent = loaded.report;
      show();
      const indexed = await worker.index(sentences);
      if (!indexed) return say('Cancelled. Choose a backend, a format or a file to start again.');
      figures[side].index = indexed.milliseconds;
      figures[side].memory = indexed.memory;
      show();
    }
    query.disabled = false;
    say(`${sentences.length} sentences are ready. Type to search.`);
    await search();
  } catch (error) {
    if (own === generation) say(`It failed: ${(error as Error).message}`);
  } finally {
    if (own === generation) cancel.hidden = true;
  }
}

let searches = 0;
let isSearching = false;

/** Only the newest text matters: what was typed meanwhile is searched for when both sides have answered. */
async function search(): Promise<void> {
  const id = ++searches;
  if (isSearching || !workers || query.disabled) return;
  isSearching = true;
  try {
    const text = query.value.trim();
    if (text) {
      const replies = {} as Record<Side, Extract<Reply, { type: 'hits' }>>;
      for (const side of SIDES) {
        replies[side] = await workers[side].search(id, text);
        figures[side].query = replies[side].milliseconds;
        showHits(side, replies[side].hits);
      }
      showAgreement(replies);
      show();
    } else for (const side of SIDES) showHits(side, []);
  } catch (error) {
    if ((error as Error).name !== 'AbortError') say(`The search failed: ${(error as Error).message}`);
  } finally {
    isSearching = false;
  }
  if (id !== searches) await search();
}

function showHits(side: Side, hits: readonly Hit[]): void {
  element(`${side}-hits`).replaceChildren(
    ...hits.map(({ index, score }) => {
      const item = document.createElement('li');
      const number = document.createElement('b');
      number.textContent = score.toFixed(3);
      const text = document.createElement('span');
      text.textContent = sentences[index] ?? '';
      item.append(number, text);
      return item;
    }),
  );
}

function showAgreement({ stock, msd }: Record<Side, Extract<Reply, { type: 'hits' }>>): void {
  const cosine = stock.embedding.reduce((sum, value, i) => sum + value * msd.embedding[i]!, 0);
  const order = stock.hits.map(({ index }) => index);
  const shared = msd.hits.filter(({ index }) => order.includes(index)).length;
  element('agreement').textContent =
    `The two embeddings of the query: cosine ${cosine.toFixed(5)}. ${shared} of ${order.length} results are the same.`;
}

const milliseconds = (value: number) => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
const megabytes = (value: number) => `${(value / 1e6).toFixed(1)} MB`;
const total = ({ tensors, heap, files }: Memory) => tensors + heap + files;

const ROWS: readonly [label: string, value: (own: Figures) => number | undefined, text: (value: number) => string][] = [
  ['load the model', ({ load }) => load, milliseconds],
  ['index all sentences', ({ index }) => index, milliseconds],
  ['one query', ({ query: own }) => own, milliseconds],
  ['memory: tensors', ({ memory }) => memory?.tensors, megabytes],
  ['memory: growth of the WebAssembly heap', ({ memory }) => memory?.heap, megabytes],
  ['memory: file bytes kept in JavaScript', ({ memory }) => memory?.files, megabytes],
  ['memory together', ({ memory }) => memory && total(memory), megabytes],
];

/** A table whose cells have bars: the chart and its text are one. */
function show(): void {
  element('figures').replaceChildren(
    ...ROWS.map(([label, value, text]) => {
      const row = document.createElement('tr');
      const head = document.createElement('th');
      head.scope = 'row';
      head.textContent = label;
      const values = SIDES.map((side) => value(figures[side]));
      const largest = Math.max(...values.map((own) => own ?? 0));
      const cells = values.map((own) => {
        const cell = document.createElement('td');
        cell.textContent = own === undefined ? '–' : text(own);
        if (own !== undefined && largest > 0) {
          const bar = document.createElement('span');
          bar.className = 'bar';
          bar.setAttribute('aria-hidden', 'true');
          bar.style.width = `${(100 * own) / largest}%`;
          cell.append(bar);
        }
        return cell;
      });
      row.append(head, ...cells);
      return row;
    }),
  );
}

async function takeFile(file: File): Promise<void> {
  const lines = (await file.text()).split(/\r?\n/).map((line) => line.trim());
  const own = lines.filter(Boolean).slice(0, MAX_SENTENCES);
  if (own.length === 0) return say(`${file.name} has no lines of text.`);
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
addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragging');
});
addEventListener('dragleave', () => document.body.classList.remove('dragging'));
addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dragging');
  const [dropped] = event.dataTransfer?.files ?? [];
  if (dropped) void takeFile(dropped);
});
addEventListener('keydown', (event) => {
  const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key === '/' && !isTyping) {
    event.preventDefault();
    query.focus();
  } else if (event.key === 'Escape' && !cancel.hidden) cancel.click();
});

void start();
