/**
 * A session's first runs, before its caller has it: kernels are compiled, and the engine optimises the JavaScript of a run, which it
 * does after some ten of them. A first reply would wait for all that. A decoder reads a token, a short prompt and
 * tokens after it, anything else some rows; inputs are zeros. It leaves nothing behind but warm code.
 */
import { BOOL } from '../data-types.ts';
import { AbortError } from '../errors.ts';
import { asSession, createOrtTensor, type OrtData, type OrtTensor } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import { ARRAYS } from './arrays.ts';
import { inputSpec } from './bind.ts';
import { type CutModel, shopOf } from './cut-model.ts';
import { keptOf } from './kv/lazy.ts';
import type { SessionRequest } from './options.ts';
import type { CutSession } from './session.ts';

/**
 * Rows of a prompt: as many as short ones have, or as few as products take the kernels of long ones for. Working buffers that a real
 * prompt outgrows are placed anew by the first token after it, which takes four times as long as others then.
 */
const PROMPT_ROWS: readonly number[] = [32, 8];
/** Tokens that tell how long a row takes: the first ones are mostly the engine's interpreter. */
const TRIES = 6;
/**
 * V8 in Chromium optimises a function when so many bytes of its code have run: sixty small ones, of which a token calls each once or
 * twice, get there only after half of these, and take a third of a token's time until then. Halfway tokens begin anew,
 * so that caches are not made for as many. With the prompt that is 160 positions: warm-model.ts has angles for as many.
 */
const TOKENS = 256;
/** No run begins after so long. */
const BUDGET_MS = 60;
/** How often, and for how long at most, a session rehearses that exists only to warm code while a file arrives. */
const WARMING = { rounds: 10, budgetMs: 300 } as const;
/**
 * From this size on a model is not rehearsed: its kernels are compiled, and other cold code takes little time compared
 * with its products.
 */
const LARGE_BYTES = 2 ** 27;

/**
 * Runs a session that needs nothing of ONNX Runtime.
 *
 * @throws `AbortError` if its creation was stopped: it is disposed of then
 */
export async function rehearse(
  session: CutSession,
  model: CutModel,
  { watch, isWarming }: Pick<SessionRequest, 'watch' | 'isWarming'>,
): Promise<void> {
  const { rounds, budgetMs } = isWarming ? WARMING : { rounds: 1, budgetMs: BUDGET_MS };
  const { foreignRunsPerCall, weights } = session.report;
  if (foreignRunsPerCall > 0 || weights.packedBytes > LARGE_BYTES || hasLoops(model)) return;
  const play = new Play(session, model);
  if (!play.isOpen) return;
  const end = performance.now() + budgetMs;
  const run = async (rows: number): Promise<void> => {
    watch.check();
    if (watch.isDue) await watch.turn();
    await play.run(rows);
  };
  try {
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 2 || (i < TRIES && performance.now() < end); i++) {
      const before = performance.now();
      await run(1);
      least = Math.min(least, performance.now() - before);
    }
    const prompt = PROMPT_ROWS.find((rows) => performance.now() + rows * least < end);
    for (let round = 0; round === 0 || (round < rounds && performance.now() < end); round++) {
      play.forget();
      // Prompts outgrow it. Code that has never met that would be optimised again, in the two tokens after the first prompt.
      shopOf(model).block.leave();
      if (prompt !== undefined) await run(prompt);
      for (let i = 0; i === 0 || (i < TOKENS && performance.now() < end); i++) {
        if (i === TOKENS / 2) play.forget();
        await run(1);
      }
    }
  } catch (error) {
    // Sizes that do not go together, most likely: a caller's will.
    if (!(error instanceof AbortError)) return;
    await session.dispose();
    throw error;
  } finally {
    play.forget();
    session.forgetRuns();
  }
}

/** A loop may wait for something that zeros never bring. */
const hasLoops = ({ variants }: CutModel): boolean =>
  variants.some(({ plan }) => plan.some((region) => 'control' in region));

/** Feeds a session what a run may bring. */
class Play {
  /** What a caller has. */
  readonly #session: ReturnType<typeof asSession>;
  readonly #model: CutModel;
  /** Outputs that come back as inputs, by the input's name. */
  readonly #pairs: ReadonlyMap<string, string>;
  /** Names of sizes: positions of the past, the same with those that a run adds, and sequences. */
  readonly #past = new Set<unknown>();
  readonly #total = new Set<unknown>();
  readonly #batch = new Set<unknown>();
  #kept = new Map<string, OrtTensor>();
  #position = 0;

  constructor(session: CutSession, model: CutModel) {
    this.#session = asSession(model.ort, session);
    this.#model = model;
    this.#pairs = cachePairs(model);
    const { inputs, outputs } = model;
    for (const { name, type } of inputs) {
      this.#batch.add(type.dims?.[0]);
      if (this.#pairs.has(name)) this.#past.add(type.dims?.at(-2));
    }
    const presents = new Set(this.#pairs.values());
    for (const { name, type } of outputs) if (presents.has(name)) this.#total.add(type.dims?.at(-2));
  }

  /** Is there a size, other than the number of sequences, that is a run's to say? */
  get isOpen(): boolean {
    return this.#model.inputs.some(({ type }) => type.dims?.slice(1).some((dim) => typeof dim !== 'number'));
  }

  /** Runs it on so many rows after those before. */
  async run(rows: number): Promise<void> {
    const { inputs } = this.#model;
    // Made as callers make it: an object of another kind would be another case for the engine.
    const feeds = Object.fromEntries(inputs.map((input) => [input.name, this.#feedOf(input, rows)] as const));
    const results = await this.#session.run(feeds);
    // As callers do, who leave caches where they are.
    for (const result of Object.values(results)) if (!keptOf(result)) void result.data;
    if (this.#pairs.size > 0) this.#position += rows;
    const before = this.#kept;
    this.#kept = new Map([...this.#pairs].map(([past, present]) => [past, results[present]!]));
    for (const tensor of before.values()) tensor.dispose?.();
  }

  /** Begins anew. */
  forget(): void {
    for (const tensor of this.#kept.values()) tensor.dispose?.();
    this.#kept.clear();
    this.#position = 0;
  }

  #feedOf(input: ValueInfo, rows: number): OrtTensor {
    const kept = this.#kept.get(input.name);
    if (kept) return kept;
    const { dims, data } = this.#zeros(input, rows);
    return createOrtTensor(this.#model.ort, inputSpec(input).type, data, dims);
  }

  #zeros(input: ValueInfo, rows: number): { readonly dims: readonly number[]; readonly data: OrtData } {
    const isMask = /mask/.test(input.name);
    const { elemType } = input.type;
    const dims = (input.type.dims ?? []).map((dim, i): number => {
      if (typeof dim === 'number') return dim;
      if (this.#past.has(dim)) return this.#position;
      if (this.#total.has(dim) || (isMask && i > 0)) return this.#position + rows;
      return this.#batch.has(dim) || i === 0 ? 1 : rows;
    });
    const Elements = ARRAYS[inputSpec(input).type]![0] as unknown as new (length: number) => OrtData & number[];
    const data = new Elements(dims.reduce((count, dim) => count * dim, 1));
    if (isMask)
      (data as unknown as { fill(value: number | bigint): void }).fill(data instanceof BigInt64Array ? 1n : 1);
    else if (elemType === BOOL && this.#position > 0) data.fill(1); // whether there is a past
    return { dims, data };
  }
}

/** Which results of attention a caller feeds back as what: keys, then values. */
function cachePairs({ inputs, outputs, variants }: CutModel): Map<string, string> {
  const [fed, given] = [inputs, outputs].map((values) => new Set(values.map(({ name }) => name))) as [
    Set<string>,
    Set<string>,
  ];
  const pairs = new Map<string, string>();
  for (const { plan } of variants)
    for (const region of plan) {
      if (!('matches' in region)) continue;
      for (const { caches = [], inputs: read, outputs: made } of region.matches) {
        const pasts = caches.filter((name) => fed.has(name) && read.includes(name));
        const presents = caches.filter((name) => given.has(name) && made.includes(name));
        for (const [i, past] of pasts.entries()) if (presents[i]) pairs.set(past, presents[i]);
      }
    }
  return pairs;
}
