/** What the page shows of texts and figures. */
import { create, element, megabytes, milliseconds, ratio, showFigures } from '../../shared/elements.ts';
import { drawSoon } from './chart.ts';
import { SIDES } from './comparison.ts';
import type { Dtype, Side } from './protocol.ts';
import { tokensPerSecond } from './rates.ts';
import type { Figures, SharedResult } from './share.ts';

/** Files that round activations, too, while they run. */
const DYNAMIC: readonly Dtype[] = ['q8', 'int8', 'uint8'];

export function say(text: string, isError = false): void {
  element('status').textContent = text;
  element('status').classList.toggle('error', isError);
}

const formatRate = (rate: number): string => (rate < 99.5 ? rate.toFixed(1) : String(Math.round(rate)));

/** Both texts, while they are written and afterwards. */
export class Texts {
  #opening = '';
  #isAnswer = false;
  #times: Record<Side, number[]> = { stock: [], msd: [] };

  begin(opening: string): void {
    this.#opening = opening;
    this.#times = { stock: [], msd: [] };
    for (const side of SIDES) {
      this.#clear(side);
      element(`${side}-rate`).textContent = '–';
    }
  }

  /** The model was trained to chat, so that its text is no continuation. */
  set isAnswer(isAnswer: boolean) {
    this.#isAnswer = isAnswer;
  }

  add(side: Side, times: readonly number[], piece: string): void {
    this.#times[side].push(...times);
    const text = element(`${side}-text`);
    if (text.childNodes.length === 1) text.append(this.#gapBefore(piece));
    text.append(piece);
    text.scrollTop = text.scrollHeight;
    const rate = tokensPerSecond(this.#times[side]);
    if (rate !== undefined) element(`${side}-rate`).textContent = formatRate(rate);
    drawSoon(element('chart'), this.#times);
  }

  /** @param different the token where the two texts part, if they do; `rest` what follows it */
  show(side: Side, shared: string, different = '', rest = ''): void {
    this.#clear(side);
    const text = element(`${side}-text`);
    text.append(this.#gapBefore(shared || different), shared);
    if (different) text.append(create('mark', different));
    text.append(rest);
    text.scrollTop = 0;
  }

  #clear(side: Side): void {
    const start = create('span', this.#opening);
    start.className = 'opening';
    element(`${side}-text`).replaceChildren(start);
  }

  /** Tokenizers leave out a space in front of the first word. */
  #gapBefore(text: string): string {
    if (this.#isAnswer) return '\n\n';
    return /^[\p{L}\p{N}“"(]/u.test(text) ? ' ' : '';
  }
}

export function describeAgreement({ written, same, dtype }: SharedResult): string {
  if (same === written) return `Both wrote the same ${written} tokens.`;
  const why = DYNAMIC.includes(dtype)
    ? `With ${dtype} weights onnxruntime-web rounds the values inside the model to 8 bits, MSD keeps 16.`
    : 'Where two words are nearly as likely, the last bits of a sum decide.';
  return `The first ${same} of ${written} tokens are the same; the marked one differs. ${why}`;
}

export function describeOrigin({ kind, name, dtype, threads, browser, date }: SharedResult): string {
  const model = kind === 'shipped' ? 'the story model' : name;
  return `Measured by whoever sent this link: ${model} ${dtype}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${browser}, ${date}.`;
}

/** Headline, speeds and the words of the chart. */
export function showResult({ figures: { stock, msd }, written, same, isLeft }: SharedResult): void {
  const times = msd.rate / stock.rate;
  const rates = `${formatRate(msd.rate)} instead of ${formatRate(stock.rate)} tokens/s`;
  const text = same === written ? `the same ${written} tokens` : `the same first ${same} of ${written} tokens`;
  const payoff = isLeft
    ? ['The same on both sides', ': MSD leaves this model to onnxruntime-web, because it would not be faster.']
    : [times > 1.05 ? `${ratio(times)} times as fast on MSD` : 'No faster on MSD', `: ${rates}, ${text}.`];
  element('headline').replaceChildren(create('strong', payoff[0]!), payoff[1]!);
  for (const side of SIDES) element(`${side}-rate`).textContent = formatRate({ stock, msd }[side].rate);
  element('chart-text').textContent =
    `Transformers.js wrote ${formatRate(stock.rate)} tokens per second, on MSD it wrote ${formatRate(msd.rate)}.`;
}

export function showFigureTable(of: { figures(side: Side): Figures | undefined }): void {
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
