/** What of a loaded GraphModel MSD looks at and changes beyond its public type. All of it is there in tfjs 4.22. */

import { UnsupportedError } from '@msd/core';
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { io } from '@tensorflow/tfjs-core';
import { DisposedError, shown } from '../errors.ts';
import type { ModelReport } from '../report.ts';
import type { Tensor } from '../tf.ts';
import { type WeightSpec, weightsOf } from '../weights/manifest.ts';
import { artifactsInTensors } from './saving.ts';

export interface ModelInternals {
  artifacts: io.ModelArtifacts;
  readonly handler: io.IOHandler | undefined;
  save(target: io.IOHandler | string, config?: io.SaveConfig): Promise<io.SaveResult>;
  readonly executor: { readonly weightMap: Readonly<Record<string, readonly Tensor[]>> };
  loadWithWeightMap(artifacts: io.ModelArtifacts, weights: Readonly<Record<string, Tensor>>): boolean;
  loadSync(artifacts: io.ModelArtifacts): boolean;
  loadStreaming(artifacts: io.ModelArtifacts): Promise<boolean>;
}

/** @throws `TypeError`, {@link UnsupportedError}, {@link DisposedError} if MSD cannot work on it */
export function internalsOf(model: GraphModel, where: string): ModelInternals {
  const internals = model as unknown as Partial<ModelInternals> | null;
  if (typeof (internals as Partial<GraphModel> | null)?.executeAsync !== 'function')
    throw new TypeError(`${where}: model, expected a GraphModel or LayersModel, got ${shown(model)}.`);
  if (!internals?.artifacts || !internals.executor)
    throw new TypeError(`${where}: model, expected a loaded one. Call load() first.`);
  if (typeof internals.loadWithWeightMap !== 'function' || typeof internals.loadSync !== 'function')
    throw new UnsupportedError(`${where}: this version of tfjs-converter has another GraphModel; 4.22 is known.`);
  const tensors = Object.values(internals.executor.weightMap).flat();
  if (tensors.some((tensor) => tensor.isDisposed)) throw new DisposedError(`${where}: model has been disposed of.`);
  return internals as ModelInternals;
}

/** GraphModel keeps the file's bytes for `save`. Where the tensors hold the same values, they are read back then instead. */
export function dropFileBytes(model: GraphModel): void {
  const internals = internalsOf(model, 'loadGraphModel');
  const { artifacts } = internals;
  const specs = (artifacts.weightSpecs ?? []) as WeightSpec[];
  const kept = new Map<string, ArrayBuffer>();
  for (const [name, { spec, bytes }] of weightsOf(artifacts))
    if (spec.dtype === 'string' || spec.dtype === 'complex64' || spec.quantization) kept.set(name, bytes().buffer);
  internals.artifacts = artifactsInTensors(artifacts, artifacts.modelTopology, { specs, kept, model: internals });
}

const reports = /* @__PURE__ */ new WeakMap<object, ModelReport>();

export const setReport = (model: object, report: ModelReport | undefined): void => {
  if (report) reports.set(model, report);
  else reports.delete(model);
};

/**
 * What MSD did to a model.
 *
 * @returns `undefined` for models that it did not touch, or that were restored
 */
export function reportOf(model: object): ModelReport | undefined {
  return reports.get(model);
}
