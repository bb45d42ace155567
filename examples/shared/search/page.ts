/**
 * A page with one search box and two encoders, each in a worker of its own: what search by meaning shows, whichever engines are
 * compared. Elements are found by their id: query, cancel, status, headline, sides, agreement, figures, report, and
 * -progress, -state, -hits of both sides.
 */
import {
  atMostEvery,
  counted,
  create,
  element,
  type FigureRow,
  median,
  megabytes,
  milliseconds,
  showFigures,
} from '../elements.ts';
import { explain } from '../explain.ts';
import { type Hit, type Reply, SIDES, type Side } from './protocol.ts';
import { SideWorker } from './side.ts';

/** As they start: MSD can be searched with while the other one is still loading. */
const START_ORDER: readonly Side[] = ['msd', 'stock'];
const WAITS = 'Waits for MSD: at the same time they would slow each other down.';
const QUERIES_KEPT = 9;
const FIRST_QUERIES = 3;
const PROGRESS_MS = 500;
/** A pasted page is no title. */
const SHOWN_CHARACTERS = 80;

/** What one side took so far. */
export interface Figures<Costs> {
  load?: number;
  index?: number;
  /** Milliseconds of the last queries. */
  queries: number[];
  costs?: Costs;
}

export interface SearchOptions<Costs> {
  readonly names: Readonly<Record<Side, string>>;
  createWorker(side: Side): Worker;
  /** Brings the model's files into the browser's cache, so that no side downloads for the other. */
  prepare?(): Promise<void>;
  /** Rows of the table, below loading, reading and one query. */
  readonly rows: readonly (readonly [
    label: string,
    value: (costs: Costs) => number,
    text: (value: number) => string,
  ])[];
  /** The payoff, when both sides have read `count` sentences. */
  headline(figures: Readonly<Record<Side, Required<Figures<Costs>>>>, count: number): readonly (string | HTMLElement)[];
  /** What the headline says of MSD's costs while the other side still works. */
  intermediate(costs: Costs): string;
}

type Answer<Costs> = Extract<Reply<Costs>, { type: 'hits' }>;

export class SearchPage<Load, Costs> {
  readonly #options: SearchOptions<Costs>;
  readonly #query = element<HTMLInputElement>('query');
  readonly #cancel = element<HTMLButtonElement>('cancel');
  readonly #sides = element('sides');
  #sentences: readonly string[] = [];
  #workers: Record<Side, SideWorker<Load, Costs>> | undefined;
  #figures: Record<Side, Figures<Costs>> = { stock: { queries: [] }, msd: { queries: [] } };
  /** Sides that have read all sentences. */
  #ready: Side[] = [];
  /** Whatever was started for an older run of `start` stops when it looks at this. */
  #generation = 0;
  #searches = 0;
  #isSearching = false;
  #hasAnswered = false;

  constructor(options: SearchOptions<Costs>) {
    this.#options = options;
    this.#query.addEventListener('input', () => void this.#search());
    this.#cancel.addEventListener('click', () => {
      for (const worker of Object.values(this.#workers ?? {})) worker.cancel();
    });
    this.#show();
  }

  /** Answers what the reader just did. It stays until the next start, whatever a run that goes on would say. */
  say(text: string, isError = false): void {
    this.#hasAnswered = true;
    showStatus(text, isError);
  }

  /** What a run says of itself. */
  #tell(text: string, isError = false): void {
    if (!this.#hasAnswered) showStatus(text, isError);
  }

  /** Loads and reads, one side after the other: they would only slow each other down. Ends what was started before. */
  async start(load: Load, sentences: readonly string[]): Promise<void> {
    const own = ++this.#generation;
    this.#hasAnswered = false;
    for (const worker of Object.values(this.#workers ?? {})) worker.terminate();
    const worker = (side: Side) => new SideWorker<Load, Costs>(this.#options.createWorker(side));
    const workers = { stock: worker('stock'), msd: worker('msd') };
    this.#workers = workers;
    this.#sentences = sentences;
    this.#figures = { stock: { queries: [] }, msd: { queries: [] } };
    this.#ready = [];
    this.#query.disabled = true;
    this.#cancel.hidden = false;
    element('agreement').textContent = '';
    for (const side of SIDES) {
      element<HTMLProgressElement>(`${side}-progress`).value = 0;
      element(`${side}-hits`).replaceChildren();
      element(`${side}-state`).textContent = side === START_ORDER[0] ? '' : WAITS;
    }
    this.#show();
    try {
      if (this.#options.prepare) {
        this.#tell('Downloading the model');
        await this.#options.prepare();
      }
      for (const side of START_ORDER) {
        if (own !== this.#generation || !(await this.#startSide(side, workers[side], load))) return;
        this.#ready.push(side);
        this.#query.disabled = false;
        void this.#search();
      }
      // One time is no figure: the first query is asked again.
      for (let again = 1; again < FIRST_QUERIES; again++) await this.#search();
      if (own === this.#generation)
        this.#tell(
          `${counted(sentences.length, 'sentence')} ${sentences.length === 1 ? 'is' : 'are'} ready. Type to search.`,
        );
    } catch (error) {
      if (own === this.#generation) this.#tell(`It failed: ${explain(error)}`, true);
    } finally {
      if (own === this.#generation) this.#cancel.hidden = true;
    }
  }

  /** @returns whether it got to the end */
  async #startSide(side: Side, worker: SideWorker<Load, Costs>, load: Load): Promise<boolean> {
    const name = this.#options.names[side];
    const state = element(`${side}-state`);
    const progress = element<HTMLProgressElement>(`${side}-progress`);
    const say = atMostEvery(PROGRESS_MS, (text: string) => this.#tell(text));
    worker.onProgress = (done, total) => {
      progress.value = done / total;
      say(`${name}: ${done} of ${total} sentences`);
    };
    worker.onDownload = (loaded, total) => {
      say(`${name}: loading the model, ${megabytes(loaded)} of ${megabytes(total)}`);
    };
    state.textContent = 'Loads the model …';
    this.#tell(`${name}: loading the model`);
    const figures = this.#figures[side];
    const loaded = await worker.load(load);
    figures.load = loaded.milliseconds;
    if (side === 'msd') element('report').textContent = loaded.report;
    this.#show();
    state.textContent = 'Reads the sentences …';
    const indexed = await worker.index(this.#sentences);
    if (!indexed) {
      state.textContent = 'Cancelled.';
      this.#tell('Cancelled. Change a setting or choose a file to start again.');
      return false;
    }
    figures.index = indexed.milliseconds;
    figures.costs = indexed.costs;
    state.textContent = '';
    this.#show();
    return true;
  }

  /**
   * Only the newest text matters: what was typed meanwhile is searched for when all sides have answered. Until they have, the
   * page shows that it waits; then all answers appear together, so that they always belong to the same text.
   */
  async #search(): Promise<void> {
    const id = ++this.#searches;
    this.#setPending(true);
    const workers = this.#workers;
    if (this.#isSearching || !workers || this.#query.disabled) return;
    this.#isSearching = true;
    try {
      const text = this.#query.value.trim();
      const asked = [...this.#ready];
      const answers: Partial<Record<Side, Answer<Costs>>> = {};
      if (text) for (const side of asked) answers[side] = await workers[side].search(id, text);
      for (const side of asked) this.#showHits(side, answers[side]?.hits ?? []);
      const { stock, msd } = answers;
      element('agreement').textContent = stock && msd ? describeAgreement(text, stock, msd) : '';
      if (stock && msd) {
        for (const side of SIDES) {
          const { queries } = this.#figures[side];
          this.#figures[side].queries = [answers[side]!.milliseconds, ...queries].slice(0, QUERIES_KEPT);
        }
        this.#show();
      }
    } catch (error) {
      if ((error as Error).name !== 'AbortError') this.#tell(`The search failed: ${(error as Error).message}`, true);
    } finally {
      this.#isSearching = false;
    }
    if (id === this.#searches) this.#setPending(false);
    else await this.#search();
  }

  #setPending(isPending: boolean): void {
    this.#sides.classList.toggle('pending', isPending);
    this.#sides.setAttribute('aria-busy', String(isPending));
    if (isPending && !this.#query.disabled && this.#query.value.trim())
      element('agreement').textContent = 'Searching …';
  }

  #showHits(side: Side, hits: readonly Hit[]): void {
    const items = hits.map(({ index, score }) =>
      create('li', create('b', score.toFixed(3)), create('span', this.#sentences[index] ?? '')),
    );
    element(`${side}-hits`).replaceChildren(...items);
  }

  #show(): void {
    const columns = SIDES.map((side) => this.#figures[side]);
    const row = (
      label: string,
      value: (own: Figures<Costs>) => number | undefined,
      text: (value: number) => string,
    ): FigureRow => ({ label, values: columns.map(value), text });
    showFigures(element('figures'), [
      row('load the model (downloaded before)', ({ load }) => load, milliseconds),
      row('index all sentences', ({ index }) => index, milliseconds),
      row('one query', ({ queries }) => (queries.length ? median(queries) : undefined), milliseconds),
      ...this.#options.rows.map(([label, value, text]) => row(label, ({ costs }) => costs && value(costs), text)),
    ]);
    this.#showHeadline();
  }

  #showHeadline(): void {
    const { stock, msd } = this.#figures;
    const headline = element('headline');
    if (isComplete(stock) && isComplete(msd)) {
      const parts = this.#options.headline({ stock, msd }, this.#sentences.length);
      const text = parts.map((part) => (typeof part === 'string' ? part : part.textContent)).join('');
      // The same words again would be read out again.
      if (headline.textContent !== text) headline.replaceChildren(...parts);
    } else if (msd.costs) {
      headline.textContent = `Measuring what each side costs … ${this.#options.intermediate(msd.costs)}; ${this.#options.names.stock} is next.`;
    } else if (this.#generation > 0) headline.textContent = 'Measuring what each side costs …';
  }
}

function showStatus(text: string, isError: boolean): void {
  element('status').textContent = text;
  element('status').classList.toggle('error', isError);
}

function isComplete<Costs>(figures: Figures<Costs>): figures is Required<Figures<Costs>> {
  return figures.load !== undefined && figures.index !== undefined && figures.costs !== undefined;
}

function describeAgreement<Costs>(text: string, stock: Answer<Costs>, msd: Answer<Costs>): string {
  const cosine = stock.embedding.reduce((sum, value, i) => sum + value * msd.embedding[i]!, 0);
  const order = stock.hits.map(({ index }) => index);
  const shared = msd.hits.filter(({ index }) => order.includes(index)).length;
  const asked = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  return `Both answers to “${asked}”: cosine of the embeddings ${cosine.toFixed(5)}, ${shared} of ${order.length} results are the same.`;
}
