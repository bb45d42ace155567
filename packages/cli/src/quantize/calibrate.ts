/**
 * What the inputs of a model's products are like: the float model runs on the user's texts or arrays, on texts that it writes itself, or
 * on made-up inputs, with the products' inputs as further outputs, and second moments are summed up. Inputs whose sums would not fit in
 * memory together take turns.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { random as seededRandom } from '@msd/core/numerics';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { Edit } from '../edit/edit.ts';
import type { OpenModel } from '../edit/open-model.ts';
import { type Feeds, numbersOf, sessionOf } from '../feeds/engines.ts';
import { feedsOf, readsText } from '../feeds/feeds.ts';
import { readNpz } from '../feeds/npz.ts';
import { tokenizerOf, tokensOf } from '../feeds/texts.ts';
import { messageOf, UserError } from '../shared/errors.ts';
import { MomentSums, type Moments } from './moments.ts';
import { patchesOf } from './patches.ts';
import type { Plan, PlannedGroup } from './plan.ts';
import { selfWritten } from './self-written.ts';

export interface CalibrationOptions {
  /** Text, or arrays as `.npz`; `undefined`: a decoder below 8 bits writes texts itself, other inputs are made up. */
  readonly path: string | undefined;
  /** The model's file. */
  readonly model: string;
  /** The folder with its tokenizer. */
  readonly root: string;
  /** Rows that are looked at, at most. */
  readonly rows: number;
  /** Products of channels for all matrices, however long that takes. */
  readonly isThorough: boolean;
  readonly onStep: (done: number, total: number) => void;
}

/** Bytes of sums that are kept at a time. */
const MOST_BYTES = 2 ** 29;
/** Multiplications of a descent, N · K² each: some minutes in all. */
const MOST_WORK = 1.5e11;
/** Made-up inputs. */
const MADE_UP = 16;
const MADE_UP_TOKENS = 128;
/**
 * What is added to every channel's square, relative to their mean. What a model writes is like what it reads. Made-up inputs tell the
 * directions that weights and norms give activations, less so those of real texts: they are trusted less.
 */
const DAMPING = { given: 0.25, written: 0.5, madeUp: 1 };

/** A value of the model, and how rows of it are made. */
interface Probe {
  readonly name: string;
  readonly key: string;
  readonly K: number;
  readonly withProducts: boolean;
  rows(tensor: Tensor, most: number): Promise<Float32Array>;
}

export interface Calibration {
  /** What the input of a product is like; groups are asked for in the order of the plan. */
  momentsOf(group: PlannedGroup): Promise<Moments | undefined>;
  /** Texts that a model of these inputs reads, one of them each; `undefined`: inputs were made up. */
  readonly texts: ((session: InferenceSession) => Promise<readonly Feeds[]>) | undefined;
}

/** Runs the float model. */
export async function calibration(model: OpenModel, plan: Plan, options: CalibrationOptions): Promise<Calibration> {
  const probes = probesOf(model, plan, options);
  const parts = partsOf([...new Map([...probes.values()].map((probe) => [probe.key, probe])).values()]);
  const texts = textsOf(options, plan);
  let sums = new Map<string, MomentSums>();
  let moments = new Map<string, Moments | undefined>();
  const load = async (part: readonly Probe[]): Promise<void> => {
    sums = new Map(part.map(({ key, K, withProducts }) => [key, new MomentSums(K, withProducts)]));
    moments = new Map();
    await run(model, part, sums, texts, options);
  };
  // At once, so that a model which cannot run says so before anything is written.
  if (parts.length > 0) await load(parts[0]!);
  return {
    async momentsOf({ targets }) {
      const probe = probes.get(targets);
      if (!probe) return undefined;
      const { key } = probe;
      if (!sums.has(key)) await load(parts.find((part) => part.some((each) => each.key === key))!);
      if (!moments.has(key)) {
        const found = sums.get(key)!.moments(DAMPING[texts.kind]);
        moments.set(key, found && { ...found, isMadeUp: texts.kind === 'madeUp' });
      }
      return moments.get(key);
    },
    texts: texts.kind === 'madeUp' ? undefined : (session) => texts.feeds(session),
  };
}

/** By nodes. What lies inside of a body is no value that a run can give. */
function probesOf(
  model: OpenModel,
  { groups }: Plan,
  { isThorough }: CalibrationOptions,
): Map<PlannedGroup['targets'], Probe> {
  const probes = new Map<PlannedGroup['targets'], Probe>();
  let work = 0;
  for (const group of [...groups].sort((a, b) => workOf(a) - workOf(b))) {
    work += workOf(group);
    const target = group.targets.find(({ kind, scope }) => kind !== 'Gather' && scope === model.root);
    if (!target || group.shape.format === 'mxfp4') continue;
    const { K } = group.matrix;
    const withProducts = isThorough || work <= MOST_WORK;
    const name = target.node.inputs[0] ?? '';
    const patches = target.kind === 'Conv' ? patchesOf(target.node, group.matrix.held.tensor.dims) : undefined;
    if (target.kind === 'Conv' && !patches) continue;
    probes.set(group.targets, {
      name,
      key: JSON.stringify([name, patches?.key, withProducts]),
      K,
      withProducts,
      rows: patches?.rows ?? (async (tensor, most) => spread(await numbersOf(tensor), K, most)),
    });
  }
  return probes;
}

/** Rows from all over: texts begin alike. */
function spread(x: Float32Array, K: number, most: number): Float32Array {
  const count = x.length / K;
  if (count <= most) return x;
  const rows = new Float32Array(most * K);
  for (let i = 0; i < most; i++) {
    const at = Math.floor((i * count) / most) * K;
    rows.set(x.subarray(at, at + K), i * K);
  }
  return rows;
}

const workOf = ({ matrix: { N, K } }: PlannedGroup): number => N * K * K;

function partsOf(probes: readonly Probe[]): Probe[][] {
  const parts: Probe[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const probe of probes) {
    const own = probe.withProducts ? 4 * probe.K * probe.K : 8 * probe.K;
    if (bytes + own > MOST_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(probe);
    bytes += own;
  }
  return parts;
}

interface Texts {
  /** Known when they were fed once. */
  readonly kind: keyof typeof DAMPING;
  feeds(session: InferenceSession): Promise<readonly Feeds[]>;
}

function textsOf(options: CalibrationOptions, plan: Plan): Texts {
  const { path } = options;
  return path === undefined
    ? new OwnTexts(options, wordsOf(plan), plan.groups.some(isCoarse))
    : { kind: 'given', feeds: givenTexts(path, options) };
}

/** With 8 bits the story model was as far from its floats with made-up inputs as with its own texts (KL 1.5e-5, 2.0e-5). */
const isCoarse = ({ shape }: PlannedGroup): boolean => shape.format !== 'int8';

/** Nobody gave any: a decoder writes some, for everybody else they are made up. */
class OwnTexts implements Texts {
  kind: 'written' | 'madeUp' = 'madeUp';
  readonly #options: CalibrationOptions;
  readonly #words: number;
  readonly #writes: boolean;
  #written: readonly (readonly number[])[] | undefined;

  constructor(options: CalibrationOptions, words: number, writes: boolean) {
    this.#options = options;
    this.#words = words;
    this.#writes = writes;
  }

  async feeds(session: InferenceSession): Promise<readonly Feeds[]> {
    const { root, onStep } = this.#options;
    const words = this.#words;
    if (this.kind === 'madeUp' && this.#writes)
      this.#written = await selfWritten(session, {
        ...{ texts: MADE_UP, tokens: MADE_UP_TOKENS, begin: beginningOf(root), words, onStep },
      }).catch(() => undefined);
    if (!this.#written) return madeUp(session, words);
    this.kind = 'written';
    return Promise.all(this.#written.map((ids) => feedsOf(session, { ids })));
  }
}

/** The token that every text begins with, if the model's folder names one. */
function beginningOf(root: string): number | undefined {
  try {
    const { bos_token_id: id } = JSON.parse(readFileSync(join(root, 'config.json'), 'utf8')) as {
      readonly bos_token_id?: unknown;
    };
    return typeof id === 'number' && id >= 0 ? id : undefined;
  } catch {
    return undefined;
  }
}

function givenTexts(path: string, { root }: CalibrationOptions): Texts['feeds'] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new UserError(`--calibrate: ${path} cannot be read: ${messageOf(cause)}`, { cause });
  }
  if (/\.npz$/i.test(path)) {
    const arrays = readNpz(bytes, path);
    return async (session) => {
      if (!session.inputNames.some((name) => arrays.has(name)))
        throw new UserError(
          `--calibrate: ${path} has ${[...arrays.keys()].join(', ')}, the model's inputs are ${session.inputNames.join(', ')}. Name arrays as inputs.`,
        );
      return [await feedsOf(session, { ids: [0], arrays })];
    };
  }
  const pieces = tokensOf(tokenizerOf(root), bytes.toString('utf8'));
  if (pieces.length === 0) throw new UserError(`--calibrate: ${path} has no text.`);
  return async (session) => {
    if (!readsText(session))
      throw new UserError(
        `--calibrate: the model reads no text, its inputs are ${session.inputNames.join(', ')}. Pass them as .npz.`,
      );
    return Promise.all(pieces.map((ids) => feedsOf(session, { ids })));
  };
}

/** Rows of the tables that ids look up: as many words are safe to make up. */
function wordsOf({ groups }: Plan): number {
  const tables = groups.filter(({ targets }) => targets.some(({ kind }) => kind === 'Gather'));
  return Math.min(...tables.map(({ matrix }) => matrix.N), 1000);
}

function madeUp(session: InferenceSession, words: number): Promise<Feeds[]> {
  return Promise.all(
    Array.from({ length: MADE_UP }, (_, i) => {
      const random = seededRandom(i + 1);
      const ids = Array.from({ length: MADE_UP_TOKENS }, () => Math.floor(random() * words));
      return feedsOf(session, { ids, seed: i + 1 });
    }),
  );
}

async function run(
  model: OpenModel,
  probes: readonly Probe[],
  sums: ReadonlyMap<string, MomentSums>,
  texts: Texts,
  { model: path, rows, onStep }: CalibrationOptions,
): Promise<void> {
  const edit = new Edit(model);
  const { inputs, outputs } = model.root.graph;
  const names = new Set(probes.map(({ name }) => name).filter((name) => !inputs.some((input) => input.name === name)));
  for (const name of names) if (!outputs.some((output) => output.name === name)) edit.outputs.push({ name });
  const session = await sessionOf(edit, 'ort', path);
  const all = await texts.feeds(session);
  for (const [i, feeds] of all.entries()) {
    onStep(i, all.length);
    const results = await session.run(feeds, [...(names.size > 0 ? names : session.outputNames)]);
    // Of every run a share: what comes first in a file is not all that there is.
    const share = Math.ceil((rows * (i + 1)) / all.length);
    for (const { key, name, rows: rowsOf } of probes) {
      const tensor = results[name] ?? feeds[name];
      const sum = sums.get(key)!;
      if (tensor && sum.rows < share) sum.add(await rowsOf(tensor, share - sum.rows));
    }
    for (const tensor of Object.values(results)) tensor.dispose();
  }
  onStep(all.length, all.length);
  await session.release();
}
