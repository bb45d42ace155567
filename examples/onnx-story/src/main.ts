/** The page: one opening, two workers, and what each of them costs. */
import '../../shared/page.css';
import './style.css';
import {
  create,
  element,
  megabytes,
  milliseconds,
  onDrop,
  ratio,
  shortcuts,
  showFigures,
} from '../../shared/elements.ts';
import { PROMPTS } from '../../story-model/src/prompts.ts';
import { drawSoon } from './chart.ts';
import { Comparison, SIDES } from './comparison.ts';
import { EngineWorker } from './engine-worker.ts';
import { openFolder, readDropped } from './model-folder.ts';
import type { Side } from './protocol.ts';
import { tokensPerSecond } from './rates.ts';
import { Settings } from './settings.ts';
import { describeBrowser, type Figures, readShareHash, type SharedResult, shareHash } from './share.ts';

const NAMES = { stock: 'Transformers.js', msd: 'MSD' } as const;

const settings = new Settings();
const prompt = element<HTMLTextAreaElement>('prompt');
const write = element<HTMLButtonElement>('write');
const stop = element<HTMLButtonElement>('stop');
const share = element<HTMLButtonElement>('share');
const say = (text: string, isError = false) => {
  element('status').textContent = text;
  element('status').classList.toggle('error', isError);
};

/** Workers with a loaded model, and what they have done. Thrown away when the model or a setting changes. */
interface Run {
  readonly key: string;
  readonly workers: Record<Side, EngineWorker>;
  readonly isLoaded: Record<Side, boolean>;
  readonly comparison: Comparison;
}

let run: Run | undefined;
/** Grows with every press: an older run stops when it looks at it, and sides change places. */
let presses = 0;
let times: Record<Side, number[]> = { stock: [], msd: [] };
let result: SharedResult | undefined;

function openRun(key: string): Run {
  if (run?.key === key) return run;
  closeRun();
  const workers = { stock: new EngineWorker('stock'), msd: new EngineWorker('msd') };
  run = { key, workers, isLoaded: { stock: false, msd: false }, comparison: new Comparison() };
  return run;
}

function closeRun(): void {
  for (const worker of Object.values(run?.workers ?? {})) worker.terminate();
  run = undefined;
}

/** Both sides load and write, one after the other. */
async function start(): Promise<void> {
  const own = ++presses;
  const text = prompt.value.trim();
  let key: string;
  let tokens: number;
  try {
    if (!text) throw new Error('The opening is empty. Write a few words for the model to go on from.');
    ({ key, tokens } = settings);
  } catch (error) {
    say((error as Error).message, true);
    return;
  }
  setBusy(true);
  forgetShared();
  const { workers, isLoaded, comparison } = openRun(key);
  times = { stock: [], msd: [] };
  for (const side of SIDES) clearText(side, text);
  const order: readonly Side[] = own % 2 ? ['msd', 'stock'] : ['stock', 'msd'];
  try {
    for (const side of order) {
      if (!isLoaded[side]) await load(side, workers[side], comparison);
      isLoaded[side] = true;
      say(`${NAMES[side]} writes …`);
      workers[side].onTokens = (more, piece) => showTokens(side, more, piece);
      comparison.wrote(side, await workers[side].write(text, tokens));
      showFigureTable(comparison);
    }
    await finish(own, text, tokens);
  } catch (error) {
    if (own !== presses || (error as Error).name === 'AbortError') return;
    closeRun();
    say((error as Error).message, true);
  } finally {
    if (own === presses) setBusy(false);
  }
}

async function load(side: Side, worker: EngineWorker, comparison: Comparison): Promise<void> {
  say(`${NAMES[side]} loads the model …`);
  worker.onProgress = (loaded, total) =>
    say(`${NAMES[side]} loads the model: ${megabytes(loaded)} of ${megabytes(total)}`);
  const { source, dtype, threads } = settings;
  const { startMs } = await worker.load({ source, dtype, threads });
  comparison.started(side, startMs);
}

function clearText(side: Side, opening: string): void {
  const start = create('span', `${opening} `);
  start.className = 'opening';
  element(`${side}-text`).replaceChildren(start);
  element(`${side}-rate`).textContent = '–';
}

function showTokens(side: Side, more: readonly number[], piece: string): void {
  times[side].push(...more);
  const text = element(`${side}-text`);
  text.append(piece);
  text.scrollTop = text.scrollHeight;
  const rate = tokensPerSecond(times[side]);
  if (rate !== undefined) element(`${side}-rate`).textContent = formatRate(rate);
  drawSoon(element('chart'), times);
}

const formatRate = (rate: number): string => (rate < 99.5 ? rate.toFixed(1) : String(Math.round(rate)));

/** Compares what both wrote, marks where they part, and says what it cost. */
async function finish(own: number, opening: string, tokens: number): Promise<void> {
  if (!run) return;
  const { comparison, workers } = run;
  const [stock, msd] = [comparison.last('stock'), comparison.last('msd')];
  const { written, same } = comparison.tokens ?? { written: 0, same: 0 };
  if (!stock || !msd) return;
  const shared = await workers.msd.decode(msd.ids.slice(0, same));
  for (const side of SIDES) {
    const text = await workers[side].decode(comparison.last(side)!.ids);
    showText(side, opening, text.slice(0, shared.length), text.slice(shared.length));
  }
  if (own !== presses) return;
  const isSame = same === written;
  element('agreement').textContent = isSame
    ? `Both wrote the same ${written} tokens.`
    : `The first ${same} of ${written} tokens are the same; from there on, marked above, they differ: where two words are nearly as likely, the last bits of a sum decide.`;
  element('summary').textContent = msd.summary;
  element('report').textContent = msd.report;
  const figures = { stock: comparison.figures('stock'), msd: comparison.figures('msd') };
  if (!figures.stock || !figures.msd) return say('One token was written: too few for a speed. Choose more.');
  const { source, dtype, threads } = settings;
  result = {
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
    browser: describeBrowser(navigator.userAgent, navigator.hardwareConcurrency),
    date: new Date().toISOString().slice(0, 10),
  };
  share.disabled = false;
  showHeadline(result, msd.summary);
  describeChart(result);
  say(`Done. Press Write for another round: ${comparison.rounds} so far.`);
}

function showText(side: Side, opening: string, shared: string, rest: string): void {
  clearText(side, opening);
  const text = element(`${side}-text`);
  text.append(shared);
  if (rest) text.append(create('mark', rest));
  text.scrollTop = 0;
  const figures = run?.comparison.figures(side) ?? result?.figures[side];
  if (figures) element(`${side}-rate`).textContent = formatRate(figures.rate);
}

function showHeadline({ figures: { stock, msd }, written, same }: SharedResult, whole: string): void {
  const times = msd.rate / stock.rate;
  const rates = `${formatRate(msd.rate)} instead of ${formatRate(stock.rate)} tokens/s`;
  const text = same === written ? `the same ${written} tokens` : `the same first ${same} of ${written} tokens`;
  const [payoff, rest] =
    times > 1.05
      ? [`${ratio(times)} times as fast on MSD`, `: ${rates}, ${text}.`]
      : ['No faster on MSD', `: ${rates}. ${whole}`];
  element('headline').replaceChildren(create('strong', payoff!), rest!);
}

function describeChart({ figures: { stock, msd } }: SharedResult): void {
  element('chart-text').textContent =
    `Transformers.js wrote ${formatRate(stock.rate)} tokens per second, on MSD it wrote ${formatRate(msd.rate)}.`;
}

function showFigureTable(of: { figures(side: Side): Figures | undefined }): void {
  const columns = SIDES.map((side) => of.figures(side));
  const row = (label: string, value: (own: Figures) => number, text: (value: number) => string) => ({
    label,
    values: columns.map((own) => own && value(own)),
    text,
  });
  showFigures(element('figures'), [
    row('tokens per second', ({ rate }) => rate, formatRate),
    row('start, after the model’s last byte', ({ startMs }) => startMs, milliseconds),
    row('first token', ({ firstMs }) => firstMs, milliseconds),
    row('WebAssembly memory', ({ memory }) => memory, megabytes),
    row('code of the engine', ({ code }) => code, megabytes),
  ]);
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
  say('Stopped. Press Write to start again.');
}

/** A result that came with the link gives way to one of the reader's own. */
function forgetShared(): void {
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
  settings.kind = shared.kind;
  if (shared.kind === 'hub') settings.hubName = shared.name;
  settings.dtype = shared.dtype;
  settings.threads = shared.threads;
  settings.tokens = shared.tokens;
  prompt.value = shared.prompt;
  for (const side of SIDES) showText(side, shared.prompt, shared.text, '');
  showHeadline(shared, '');
  describeChart(shared);
  showFigureTable({ figures: (side) => shared.figures[side] });
  share.disabled = false;
  const model = shared.kind === 'shipped' ? 'the story model' : shared.name;
  element('agreement').textContent =
    `Measured by whoever sent this link: ${model} ${shared.dtype}, ${shared.threads} ${shared.threads === 1 ? 'thread' : 'threads'}, ${shared.browser}, ${shared.date}.`;
  say('Press Write to measure it here.');
}

async function takeFolder(files: ReadonlyMap<string, File>): Promise<void> {
  if (files.size === 0) return;
  try {
    settings.folder = await openFolder(files);
    say('The folder is ready. Press Write.');
  } catch (error) {
    say((error as Error).message, true);
  }
}

let opening = 0;
function nextOpening(): void {
  prompt.value = PROMPTS[opening++ % PROMPTS.length]!;
}

element('settings').addEventListener('submit', (event) => {
  event.preventDefault();
  void start();
});
element('model-settings').addEventListener('submit', (event) => {
  event.preventDefault();
  void start();
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
