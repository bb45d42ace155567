/** The page: one opening, two workers, and what each of them costs. */
import '../../shared/page.css';
import './style.css';
import { atMostEvery, element, megabytes, onDrop, shortcuts } from '../../shared/elements.ts';
import { PROMPTS } from '../../story-model/src/prompts.ts';
import { Comparison, SIDES } from './comparison.ts';
import { EngineWorker } from './engine-worker.ts';
import { openFolder, readDropped } from './model-folder.ts';
import type { Side } from './protocol.ts';
import { type Choice, Settings } from './settings.ts';
import { describeBrowser, readShareHash, type SharedResult, shareHash } from './share.ts';
import { describeAgreement, describeOrigin, say, showFigureTable, showResult, Texts } from './view.ts';

const PROGRESS_MS = 500;
/** Of less, like config.json alone, megabytes say nothing. */
const SHOWN_BYTES = 100_000;
const INVITATION = element('headline').textContent;
const NAMES = { stock: 'Transformers.js', msd: 'MSD' } as const;

const settings = new Settings();
const texts = new Texts();
const prompt = element<HTMLTextAreaElement>('prompt');
const write = element<HTMLButtonElement>('write');
const stop = element<HTMLButtonElement>('stop');
const share = element<HTMLButtonElement>('share');

/** Workers with a loaded model, and what they have done. Thrown away when the model or a setting changes. */
interface Run {
  readonly choice: Choice;
  readonly workers: Record<Side, EngineWorker>;
  readonly isLoaded: Record<Side, boolean>;
  readonly comparison: Comparison;
}

let run: Run | undefined;
/** Grows with every press: an older run stops when it looks at it, and sides change places. */
let presses = 0;
let result: SharedResult | undefined;

function openRun(choice: Choice): Run {
  if (run?.choice.key === choice.key) return run;
  closeRun();
  const workers = { stock: new EngineWorker('stock'), msd: new EngineWorker('msd') };
  run = { choice, workers, isLoaded: { stock: false, msd: false }, comparison: new Comparison() };
  return run;
}

function closeRun(): void {
  for (const worker of Object.values(run?.workers ?? {})) worker.terminate();
  run = undefined;
}

/** What the reader asks for now; `undefined` when something is missing, which the page says. */
function askedFor(): { choice: Choice; opening: string; tokens: number } | undefined {
  try {
    const opening = prompt.value.trim();
    if (!opening) throw new Error('The opening is empty. Write a few words for the model to go on from.');
    return { choice: settings.choice, opening, tokens: settings.tokens };
  } catch (error) {
    say((error as Error).message, true);
    return undefined;
  }
}

/** Both sides load and write, one after the other. */
async function start(): Promise<void> {
  const asked = askedFor();
  if (!asked) return;
  const press = ++presses;
  const { choice, opening, tokens } = asked;
  setBusy(true);
  forgetResult();
  texts.begin(opening);
  const own = openRun(choice);
  const order: readonly Side[] = press % 2 ? ['msd', 'stock'] : ['stock', 'msd'];
  try {
    for (const side of order) {
      if (!own.isLoaded[side]) await load(side, own);
      say(`${NAMES[side]} writes …`);
      own.workers[side].onTokens = (times, piece) => texts.add(side, times, piece);
      own.comparison.wrote(side, await own.workers[side].write(opening, tokens));
      showFigureTable(own.comparison);
    }
    const compared = await compare(own, opening, tokens);
    if (press !== presses) return;
    if (!compared) return say('One token was written: too few for a speed. Ask for more.');
    result = compared;
    const { rounds } = own.comparison;
    say(
      rounds === 1
        ? 'Done. In the first round the browser still compiles: press Write for another one.'
        : `Done. Press Write for another round: ${rounds} so far.`,
    );
  } catch (error) {
    if (press !== presses || (error as Error).name === 'AbortError') return;
    closeRun();
    element('headline').textContent = INVITATION;
    say((error as Error).message, true);
  } finally {
    if (press === presses) setBusy(false);
  }
}

async function load(side: Side, { choice, workers, isLoaded, comparison }: Run): Promise<void> {
  say(`${NAMES[side]} loads the model …`);
  workers[side].onProgress = atMostEvery(PROGRESS_MS, (loaded, total) => {
    if (total >= SHOWN_BYTES) say(`${NAMES[side]} loads the model: ${megabytes(loaded)} of ${megabytes(total)}`);
  });
  const { source, dtype, threads } = choice;
  const { startMs, isChat } = await workers[side].load({ source, dtype, threads });
  texts.isAnswer = isChat;
  comparison.started(side, startMs);
  isLoaded[side] = true;
}

/** Compares what both wrote, marks where they part, and says what it cost. */
async function compare({ choice, comparison, workers }: Run, opening: string, tokens: number) {
  const { written, same } = comparison.tokens!;
  const msd = comparison.last('msd')!;
  const shared = await workers.msd.decode(msd.ids.slice(0, same));
  for (const side of SIDES) {
    const { ids } = comparison.last(side)!;
    const upToDifference = await workers[side].decode(ids.slice(0, same + 1));
    const text = await workers[side].decode(ids);
    texts.show(side, shared, upToDifference.slice(shared.length), text.slice(upToDifference.length));
  }
  element('summary').textContent = msd.summary;
  element('report').textContent = msd.report;
  const figures = { stock: comparison.figures('stock'), msd: comparison.figures('msd') };
  if (!figures.stock || !figures.msd) return undefined;
  const { source, dtype, threads } = choice;
  const compared: SharedResult = {
    kind: source.kind,
    name: source.kind === 'shipped' ? '' : source.name,
    dtype,
    threads,
    tokens,
    prompt: opening,
    text: shared,
    written,
    same,
    figures: { stock: figures.stock, msd: figures.msd },
    isLeft: msd.isLeft,
    browser: describeBrowser(navigator.userAgent, navigator.hardwareConcurrency),
    date: new Date().toISOString().slice(0, 10),
  };
  element('agreement').textContent = describeAgreement(compared);
  showResult(compared);
  return compared;
}

function setBusy(isBusy: boolean): void {
  write.disabled = isBusy;
  stop.hidden = !isBusy;
  share.disabled = isBusy || !result;
}

/** A worker that computes hears nothing, so it is ended. */
function stopWriting(): void {
  presses++;
  closeRun();
  setBusy(false);
  element('headline').textContent = INVITATION;
  say('Stopped. Press Write to start again.');
}

/** A result, one's own or one that came with the link, gives way to the next. */
function forgetResult(): void {
  result = undefined;
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  element('headline').textContent = 'Measuring …';
  element('agreement').textContent = '';
}

async function copyLink(): Promise<void> {
  if (!result) return;
  history.replaceState(null, '', shareHash(result));
  const what = 'The link has the settings, the figures and the text in it; nothing was uploaded.';
  try {
    await navigator.clipboard.writeText(location.href);
    say(`Copied. ${what}`);
  } catch {
    say(`This browser does not let a page copy: copy the address of this page. ${what}`);
  }
}

/** Shows what somebody else measured; nothing is computed before the reader asks for it. */
function showShared(shared: SharedResult): void {
  result = shared;
  settings.take(shared);
  prompt.value = shared.prompt;
  texts.begin(shared.prompt);
  for (const side of SIDES) texts.show(side, shared.text);
  showResult(shared);
  showFigureTable({ figures: (side) => shared.figures[side] });
  share.disabled = false;
  element('agreement').textContent = describeOrigin(shared);
  say('Press Write to measure it here.');
}

async function takeFolder(files: ReadonlyMap<string, File>): Promise<void> {
  try {
    if (files.size === 0) throw new Error('No files came with that. Drop a folder, or choose one.');
    settings.folder = await openFolder(files);
    say('The folder is ready. Press Write.');
  } catch (error) {
    // Nobody should take an older folder for this one.
    settings.folder = undefined;
    folder.value = '';
    say((error as Error).message, true);
  }
}

let openings = 0;
function nextOpening(): void {
  prompt.value = PROMPTS[openings++ % PROMPTS.length]!;
}

for (const form of ['settings', 'model-settings'])
  element(form).addEventListener('submit', (event) => {
    event.preventDefault();
    if (!write.disabled) void start();
  });
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (!write.disabled) void start();
});
stop.addEventListener('click', stopWriting);
share.addEventListener('click', () => void copyLink());
element('another').addEventListener('click', nextOpening);
const folder = element<HTMLInputElement>('folder');
folder.addEventListener('change', () => {
  void takeFolder(new Map([...(folder.files ?? [])].map((file) => [file.webkitRelativePath || file.name, file])));
});
onDrop((data) => void readDropped(data).then(takeFolder));
shortcuts(prompt, stop);

nextOpening();
showFigureTable({ figures: () => undefined });
try {
  const shared = readShareHash(location.hash);
  if (shared) showShared(shared);
  else void start();
} catch (error) {
  say((error as Error).message, true);
}
