/** The page: a model, a text, one search box, and what each side takes. */
import '../../shared/page.css';
import { counted, create, element, megabytes, milliseconds, onDrop, ratio, shortcuts } from '../../shared/elements.ts';
import { linesOf, NOT_A_FILE } from '../../shared/search/lines.ts';
import { SearchPage } from '../../shared/search/page.ts';
import { SENTENCES } from '../../tfjs-semantic-search/src/sentences.ts';
import type { Costs, LoadOptions } from './protocol.ts';

const HUB_NAME = /^\w[\w.-]*\/\w[\w.-]*$/;
const MAX_THREADS = 4;
const TOY_HINT =
  'The toy model was made by code and knows fewer than 400 words: it is here to try the page. For text of your own, choose a model from the hub.';
const HUB_HINT =
  'Downloaded from huggingface.co by this browser when you press Start (q8 weights), and kept in its cache.';

const model = element<HTMLSelectElement>('model');
const hub = element<HTMLInputElement>('hub');
const file = element<HTMLInputElement>('file');
const threads = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MAX_THREADS) : 1;
let sentences: readonly string[] = SENTENCES;

const page = new SearchPage<LoadOptions, Costs>({
  names: { stock: 'Transformers.js', msd: 'MSD' },
  createWorker: (side) =>
    // Written out twice: bundlers look for this form.
    side === 'msd'
      ? new Worker(new URL('./msd.worker.ts', import.meta.url), { type: 'module' })
      : new Worker(new URL('./stock.worker.ts', import.meta.url), { type: 'module' }),
  rows: [
    ['WebAssembly memory', ({ memory }) => memory, megabytes],
    ['code of the engine', ({ code }) => code, megabytes],
  ],
  intermediate: ({ memory }) => `MSD takes ${megabytes(memory)} of memory`,
  headline: ({ stock, msd }, count) => {
    const times = stock.index / msd.index;
    const read = `reading ${counted(count, 'line')} took ${milliseconds(msd.index)} instead of ${milliseconds(stock.index)}`;
    const memory = `, and ${megabytes(msd.costs.memory)} of memory instead of ${megabytes(stock.costs.memory)}.`;
    const payoff = msd.costs.isLeft
      ? 'The same on both sides, MSD leaves this model to onnxruntime-web'
      : times > 1.05
        ? `${ratio(times)} times as fast on MSD`
        : 'No faster on MSD';
    return [create('strong', payoff), `: ${read}${memory}`];
  },
});

function showModel(): void {
  element('hub-label').hidden = model.value !== 'other';
  element('model-hint').textContent = model.value === 'toy' ? TOY_HINT : HUB_HINT;
}

function start(): void {
  const name = model.value === 'other' ? hub.value.trim() : model.value;
  if (name !== 'toy' && !HUB_NAME.test(name)) {
    page.say(`“${name}” is not the name of a model on the hub. Names look like Xenova/all-MiniLM-L6-v2.`, true);
    return;
  }
  void page.start({ model: name, threads, base: new URL('.', document.baseURI).href }, sentences);
}

async function takeFile(own: File): Promise<void> {
  try {
    const { lines, what } = await linesOf(own);
    sentences = lines;
    page.say(`${what}. Press Start to read them.`);
  } catch (error) {
    page.say((error as Error).message, true);
  }
}

model.addEventListener('change', showModel);
element('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  start();
});
file.addEventListener('change', () => {
  const [chosen] = file.files ?? [];
  if (chosen) void takeFile(chosen);
});
onDrop(({ files: [dropped] }) => {
  if (dropped) void takeFile(dropped);
  else page.say(NOT_A_FILE, true);
});
shortcuts(element('query'), element<HTMLButtonElement>('cancel'));
element('threads-hint').textContent =
  threads > 1
    ? `Both use ${threads} threads.`
    : 'Both use one thread: browsers allow more only if the host sends the headers COOP and COEP.';
showModel();
start();
