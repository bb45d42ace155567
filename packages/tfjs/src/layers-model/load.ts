/** Layers models whose weights stay integers from download to kernel. */
import type { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { hasConvolutions, prepareConvolutions } from '../convolution/kernels.ts';
import { checkLayers } from '../copies.ts';
import { prepareBackend } from '../fallback.ts';
import type { MsdHandler } from '../graph-model/load.ts';
import { setReport } from '../graph-model/model.ts';
import { resolveModelOptions } from '../graph-model/options.ts';
import { buildCleanly } from '../leftovers.ts';
import { handlerFor, loadRewritten, type Rewrite } from '../loading/load.ts';
import { type LoadModelOptions, splitOptions } from '../loading/options.ts';
import { layers } from '../peers.ts';
import { prepareRecurrent } from '../recurrent/layer.ts';
import type { ModelReport } from '../report.ts';
import { reserveFor } from '../reserve.ts';
import { requireRegistration } from '../state.ts';
import { variablesOf } from './places.ts';
import { hasRecurrent } from './recurrent/plan.ts';
import { registerLayers, replacedClasses } from './register.ts';
import { rewriteLayers } from './rewrite.ts';
import { packedOf } from './variable.ts';

/**
 * Like {@link graphModelHandler}, for layers models: `Dense` layers become `MsdDense`, and so on for the classes that
 * MSD takes.
 *
 * @throws `ModelFormatError` (from `load`) if the model contradicts itself
 */
export async function layersModelHandler(
  source: string | io.IOHandler,
  options: LoadModelOptions = {},
): Promise<MsdHandler> {
  const where = 'layersModelHandler';
  const { tf } = requireRegistration(where);
  const { own, stock } = splitOptions(options, where);
  const resolved = await resolveModelOptions(own, where);
  const namespace = await layers(where);
  checkLayers(namespace, where);
  const replaced = replacedClasses(registerLayers(namespace));
  await prepareBackend(tf);
  const inner = handlerFor(tf.io, source, stock);
  let report: ModelReport | undefined;
  return {
    async load() {
      const rewrite: Rewrite = (artifacts, stored) => rewriteLayers(artifacts, resolved, replaced, stored);
      const rewritten = await loadRewritten(tf.io, inner, rewrite, stock);
      if (hasRecurrent(rewritten.report)) await prepareRecurrent();
      if (hasConvolutions(rewritten.report)) await prepareConvolutions();
      report = rewritten.report;
      return rewritten.artifacts;
    },
    get report() {
      return report;
    },
  };
}

/**
 * Like `tf.loadLayersModel`, with the weights of Dense, Embedding and 1x1 convolution layers as integers.
 *
 * @returns a LayersModel as every other; layers with packed weights cannot be trained further, all others can
 * @example
 * ```ts
 * const model = await loadLayersModel('https://…/model.json', { format: 'int4' });
 * ```
 */
export async function loadLayersModel(
  source: string | io.IOHandler,
  options: LoadModelOptions = {},
): Promise<LayersModel> {
  const handler = await layersModelHandler(source, options);
  const where = 'loadLayersModel';
  const namespace = await layers(where);
  const artifacts = await handler.load();
  const { strict } = splitOptions(options, where).stock;
  const strictness = strict === undefined ? {} : { strict };
  const atOnce = { load: () => artifacts } as unknown as io.IOHandler;
  const model = await buildCleanly(requireRegistration(where).tf, () => namespace.loadLayersModel(atOnce, strictness));
  setReport(model, handler.report!);
  reserveFor(variablesOf(model).flatMap((variable) => packedOf(variable) ?? []));
  return model;
}
