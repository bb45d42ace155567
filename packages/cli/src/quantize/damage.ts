/**
 * Which matrices change a text most when they get few bits: one kind after the other is rounded to nearest while all others stay floats,
 * and what the model then says of the next tokens is compared with what its floats say.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InferenceSession } from 'onnxruntime-web';
import { Edit } from '../edit/edit.ts';
import type { OpenModel } from '../edit/open-model.ts';
import { WeightsFile } from '../edit/weights-file.ts';
import { type Feeds, numbersOf, sessionOf } from '../feeds/engines.ts';
import type { Undo } from '../shared/interrupt.ts';
import { quantizeMatrix } from './matrix.ts';
import type { Plan, PlannedGroup } from './plan.ts';
import { weightsOf } from './quantize.ts';
import { addTensors, spellProduct, spellRows } from './spell.ts';

/** Matrices that are tried together. */
export interface Tried {
  readonly groups: readonly PlannedGroup[];
  /** Kullback-Leibler divergence of the next token's probabilities from those of the floats, mean of all positions. */
  readonly damage: number;
}

export interface DamageOptions {
  /** The model's file. */
  readonly model: string;
  readonly texts: (session: InferenceSession) => Promise<readonly Feeds[]>;
  readonly onStep: (done: number, total: number, name: string) => void;
  readonly undo: Undo;
}

/** Of so many each is tried by itself: of more, those of all layers that have one name together. */
const MOST_TRIALS = 24;
/** Multiplications of all trials: some half a minute. */
const MOST_WORK = 3e11;
const MOST_LOGITS = 2.5e7;

/** @returns `undefined` where it would take too long, or the model has no logits */
export async function measureDamage(
  model: OpenModel,
  plan: Plan,
  candidates: readonly PlannedGroup[],
  { model: path, texts, undo, onStep }: DamageOptions,
): Promise<Tried[] | undefined> {
  const kinds = kindsOf(candidates);
  if (kinds.length === 0 || !model.root.graph.outputs.some(({ name }) => name === LOGITS)) return undefined;
  const floats = await sessionOf(new Edit(model), 'ort', path);
  const feeds: Feeds[] = [];
  const references: Float32Array[] = [];
  let [words, work, logits] = [1, 0, 0];
  for (const feed of await texts(floats)) {
    const { length } = feed.input_ids?.data ?? [];
    work += plan.weights * Number(length ?? 0) * (kinds.length + 1);
    if (work > MOST_WORK) break;
    const tensor = (await floats.run(feed, [LOGITS]))[LOGITS]!;
    words = tensor.dims.at(-1)!;
    if ((logits += tensor.size) > MOST_LOGITS) break;
    feeds.push(feed);
    references.push(await numbersOf(tensor));
    if (feeds.length === MOST_TEXTS) break;
  }
  await floats.release();
  if (feeds.length === 0) return undefined;
  const tried: Tried[] = [];
  for (const groups of kinds) {
    onStep(tried.length, kinds.length, groups[0]!.matrix.held.name);
    undo.check();
    const session = await roundedSession(model, path, groups, undo);
    let [sum, positions] = [0, 0];
    for (const [i, feed] of feeds.entries()) {
      const got = await numbersOf((await session.run(feed, [LOGITS]))[LOGITS]!);
      for (let at = 0; at < got.length; at += words, positions++)
        sum += divergence(references[i]!.subarray(at, at + words), got.subarray(at, at + words));
      undo.check();
    }
    await session.release();
    tried.push({ groups, damage: sum / positions });
  }
  onStep(kinds.length, kinds.length, '');
  return tried;
}

const LOGITS = 'logits';
const MOST_TEXTS = 4;

function kindsOf(candidates: readonly PlannedGroup[]): PlannedGroup[][] {
  const kinds = new Map<string, PlannedGroup[]>();
  for (const [i, group] of candidates.entries()) {
    const name = group.targets[0]!.node.name || group.matrix.held.name;
    const kind = candidates.length > MOST_TRIALS ? name.replace(/\d+/g, '#') : `${i}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), group]);
  }
  return [...kinds.values()];
}

/** Of a model in which only these are integers. */
async function roundedSession(
  model: OpenModel,
  path: string,
  groups: readonly PlannedGroup[],
  undo: Undo,
): Promise<InferenceSession> {
  const edit = new Edit(model);
  const weights = new WeightsFile(join(tmpdir(), `msd-quantize-${process.pid}.weights`));
  const removed = undo.add(() => weights.remove());
  try {
    for (const group of groups) {
      const { held, N, K } = group.matrix;
      const options = { isSearched: false, moments: undefined };
      const codes = await quantizeMatrix(weightsOf(group), group.shape, options, weights, () => undefined);
      if (typeof codes === 'string') continue;
      const spelt = addTensors(edit, { scope: held.scope, name: held.name, N, K, isTable: false }, group.shape, codes);
      for (const target of group.targets)
        if (target.kind === 'Gather') spellRows(edit, target, spelt);
        else spellProduct(edit, target, spelt);
    }
    edit.dropUnused();
    return await sessionOf(edit, 'ort', path);
  } finally {
    weights.remove();
    removed();
  }
}

/** Kullback-Leibler divergence of what two sets of logits say of the next token. */
export function divergence(expected: Float32Array, got: Float32Array): number {
  const [p, q] = [logShares(expected), logShares(got)];
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const share = Math.exp(p[i]!);
    if (share > 0) sum += share * (p[i]! - q[i]!); // a word that models rule out has a logit of -Infinity
  }
  return sum;
}

function logShares(logits: Float32Array): Float64Array {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of logits) most = Math.max(most, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  const all = most + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - all);
}
