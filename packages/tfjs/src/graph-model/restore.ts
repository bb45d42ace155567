/** The way back from what accelerate() did to a GraphModel. */
import { UnsupportedError } from '@msd/core';
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { io } from '@tensorflow/tfjs-core';
import { type Change, changesOf, forgetChanges, undoFrom } from '../changes.ts';
import { shown } from '../errors.ts';
import type { ModelReport } from '../report.ts';
import { lastNamespace, requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { readManifest, type StoredWeight } from '../weights/manifest.ts';
import { fileConstant, floatsOf } from '../weights/source.ts';
import { isSame } from './constants.ts';
import { internalsOf, type ModelInternals, setReport } from './model.ts';
import { disposeWhenUnused } from './running.ts';

/** Makes weights that were replaced, by name. */
export type KeptWeights = ReadonlyMap<string, () => Tensor>;

/** For `restorable: true`. What the file's bytes say as well is not kept twice. */
export async function keepWeights(
  gone: ReadonlyMap<string, Tensor>,
  stored: ReadonlyMap<string, StoredWeight>,
): Promise<KeptWeights> {
  const { tf } = requireRegistration('accelerate');
  const kept = new Map<string, () => Tensor>();
  for (const [name, tensor] of gone) {
    const values = (await tensor.data()) as Float32Array;
    const { shape, dtype } = tensor;
    const file = stored.get(name);
    if (file?.spec.dtype === 'float32' && isSame(floatsOf(fileConstant(file).stored()), values))
      kept.set(name, () => decoded(file));
    else {
      const copy = values.slice();
      kept.set(name, () => tf.tensor(copy, shape, dtype));
    }
  }
  return kept;
}

/** As stock decodes it. */
function decoded({ spec, bytes }: StoredWeight): Tensor {
  const tf = lastNamespace('restore');
  return tf.io.decodeWeights(bytes().buffer, [spec as io.WeightsManifestEntry])[spec.name]!;
}

export interface Done {
  /** Of the weights that are gone. */
  readonly gone: readonly string[];
  readonly kept: KeptWeights | undefined;
  /** What the model had before; without `kept` only if it holds no bytes. */
  readonly original: io.ModelArtifacts | undefined;
  /** What it has now. */
  readonly artifacts: io.ModelArtifacts;
  readonly packed: readonly Tensor[];
  readonly reportBefore: ModelReport | undefined;
}

type GraphChange = Change & Pick<Done, 'artifacts' | 'packed' | 'reportBefore'>;

export function changeOf(model: GraphModel, done: Done): GraphChange {
  const { gone, kept, original, artifacts, packed, reportBefore } = done;
  return {
    artifacts,
    packed,
    reportBefore,
    isWhole: !original,
    check() {
      const { handler } = internalsOf(model, 'restore');
      if (!kept && (!original || gone.length > 0) && typeof handler?.load !== 'function')
        throw new UnsupportedError(
          'restore: the model has no handler to load its weights again from. Use accelerate(model, { restorable: true }).',
        );
    },
    async undo() {
      if (!original) await reload(model);
      else await putBack(model, original, gone, kept);
      disposeWhenUnused(model, packed);
      setReport(model, reportBefore);
    },
  };
}

export async function restore(model: GraphModel, change: Change): Promise<void> {
  forgetStale(model);
  await undoFrom(model, change);
}

/** What was done before somebody loaded the model again is nothing to undo: its weights are stock's. */
export function forgetStale(model: GraphModel): void {
  const { artifacts, executor } = model as unknown as ModelInternals;
  const changes = changesOf(model) as readonly GraphChange[];
  if (changes.length === 0 || changes.at(-1)!.artifacts === artifacts) return;
  const now = new Set(Object.values(executor.weightMap).flat());
  const left = changes.flatMap(({ packed }) => packed).filter((tensor) => !now.has(tensor));
  disposeWhenUnused(model, left);
  forgetChanges(model);
  setReport(model, changes[0]!.reportBefore);
}

/** Everything as the file has it. */
async function reload(model: GraphModel): Promise<void> {
  const { handler } = internalsOf(model, 'restore');
  const fresh = await handler!.load!();
  const internals = internalsOf(model, 'restore'); // still there?
  const now = Object.values(internals.executor.weightMap).flat();
  if (fresh.getWeightStream) await internals.loadStreaming(fresh);
  else internals.loadSync(fresh);
  disposeWhenUnused(model, now);
}

async function putBack(
  model: GraphModel,
  original: io.ModelArtifacts,
  gone: readonly string[],
  kept: KeptWeights | undefined,
): Promise<void> {
  const tf = lastNamespace('restore');
  const before = kept ?? (await fromFile(internalsOf(model, 'restore'), gone));
  const internals = internalsOf(model, 'restore');
  const weights: Record<string, Tensor> = {};
  for (const [name, [tensor]] of Object.entries(internals.executor.weightMap)) weights[name] = tensor!;
  for (const name of gone) weights[name] = tf.keep(before.get(name)!());
  internals.loadWithWeightMap(original, weights);
}

async function fromFile({ handler }: ModelInternals, names: readonly string[]): Promise<KeptWeights> {
  const { weightSpecs, weightData } = names.length ? await handler!.load!() : {};
  const stored = weightSpecs && weightData ? readManifest(weightSpecs, weightData) : new Map<string, StoredWeight>();
  return new Map(
    names.map((name) => {
      const weight = stored.get(name);
      if (!weight)
        throw new UnsupportedError(
          `restore: ${shown(name)}, expected it where the model was loaded from, got none of that name. Use accelerate(model, { restorable: true }).`,
        );
      return [name, () => decoded(weight)];
    }),
  );
}
