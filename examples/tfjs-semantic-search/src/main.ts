/** The page: TensorFlow.js and MSD, one search box, and what each of them costs. */
import '../../shared/page.css';
import { counted, create, element, megabytes, milliseconds, onDrop, ratio, shortcuts } from '../../shared/elements.ts';
import { linesOf, NOT_A_FILE } from '../../shared/search/lines.ts';
import { SearchPage } from '../../shared/search/page.ts';
import type { Side } from '../../shared/search/protocol.ts';
import type { BackendName, Format, LoadOptions, Memory } from './protocol.ts';
import { SENTENCES } from './sentences.ts';

const FORMAT_HINTS = {
  int8: 'int8: embeddings as good as the float ones (cosine 0.9998 between the two sides).',
  int4: 'int4: weights take a quarter less than int8’s in all, and embeddings are a little off (cosine about 0.97 between the two sides), so that neighbours change places. For this model int8 is the better choice.',
} as const;

const backend = element<HTMLSelectElement>('backend');
const format = element<HTMLSelectElement>('format');
const file = element<HTMLInputElement>('file');
let sentences: readonly string[] = SENTENCES;

const total = ({ tensors, heap, files }: Memory) => tensors + heap + files;

const page = new SearchPage<LoadOptions, Memory>({
  names: { stock: 'TensorFlow.js', msd: 'MSD' },
  // A worker knows by its name which side it is.
  createWorker: (name: Side) => new Worker(new URL('./worker.ts', import.meta.url), { type: 'module', name }),
  prepare: fetchModel,
  rows: [
    ['memory: tensors', ({ tensors }) => tensors, megabytes],
    ['memory: growth of the WebAssembly heap', ({ heap }) => heap, megabytes],
    ['memory: file bytes kept in JavaScript', ({ files }) => files, megabytes],
    ['memory together', total, megabytes],
  ],
  intermediate: (memory) => `MSD holds the model in ${megabytes(total(memory))}`,
  headline: ({ stock, msd }, count) => {
    const [before, after] = [total(stock.costs), total(msd.costs)];
    return [
      create(
        'strong',
        `${megabytes(after)} of memory instead of ${megabytes(before)}, ${ratio(before / after)} times less`,
      ),
      `; reading ${counted(count, 'sentence')} took ${milliseconds(msd.index)} instead of ${milliseconds(stock.index)}.`,
    ];
  },
});

/** Brings the model's files into the browser's cache, so that no side downloads for the other. */
async function fetchModel(): Promise<void> {
  const manifest = await fetch('./model/model.json');
  if (!manifest.ok) throw new Error(`model/model.json, the server answered ${manifest.status}. Build the page again.`);
  const { weightsManifest } = (await manifest.json()) as { weightsManifest: { paths: string[] }[] };
  const paths = ['vocab.json', ...weightsManifest.flatMap(({ paths }) => paths)];
  await Promise.all(paths.map(async (path) => (await fetch(`./model/${path}`)).arrayBuffer()));
}

function start(): void {
  element('format-hint').textContent = FORMAT_HINTS[format.value as Format];
  const base = new URL('.', document.baseURI).href;
  void page.start({ backend: backend.value as BackendName, format: format.value as Format, base }, sentences);
}

async function takeFile(own: File): Promise<void> {
  try {
    sentences = (await linesOf(own)).lines;
    start();
  } catch (error) {
    page.say((error as Error).message, true);
  }
}

for (const select of [backend, format]) select.addEventListener('change', start);
element('settings').addEventListener('submit', (event) => event.preventDefault());
file.addEventListener('change', () => {
  const [chosen] = file.files ?? [];
  if (chosen) void takeFile(chosen);
});
onDrop(({ files: [dropped] }) => {
  if (dropped) void takeFile(dropped);
  else page.say(NOT_A_FILE, true);
});
shortcuts(element('query'), element<HTMLButtonElement>('cancel'));

start();
