/**
 * tfjs-layers' loader in two steps: it builds the model, then the weights are written to it with tfjs's own checks. Between them
 * the model is in our hands, so that one whose weights do not fit is disposed of; stock leaves its tensors behind.
 */
import type { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { MsdHandler } from '../graph-model/load.ts';
import type { LayersNamespace } from '../peers.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';

export async function loadAndFill(
  { loadLayersModel }: LayersNamespace,
  handler: Pick<MsdHandler, 'load'>,
  loadOptions: io.LoadOptions = {},
): Promise<LayersModel> {
  const artifacts = await handler.load();
  if (artifacts.weightData == null || artifacts.weightSpecs == null)
    return loadLayersModel({ load: async () => artifacts }, loadOptions);
  const model = await loadLayersModel({ load: async () => announced(artifacts) }, loadOptions);
  try {
    await fill(model, artifacts.weightData, artifacts.weightSpecs, loadOptions.strict ?? true);
  } catch (error) {
    const { optimizer, layers } = model;
    if (layers.every(({ built }) => built)) model.dispose(); // others have no weights, and no way to say so
    optimizer?.dispose(); // one of a file is nobody's
    throw error;
  }
  return model;
}

/**
 * Artifacts whose weights are to come: tfjs looks once whether there are any, and spares the initializers then. It looks again
 * to load them.
 */
function announced(artifacts: io.ModelArtifacts): io.ModelArtifacts {
  let looks = 0;
  const weightData = { get: () => (looks++ === 0 ? new ArrayBuffer(0) : undefined) };
  return Object.defineProperty({ ...artifacts }, 'weightData', weightData);
}

/** As tfjs-layers does it, and nothing is left if it throws. */
async function fill(
  model: LayersModel,
  data: io.WeightData,
  specs: io.WeightsManifestEntry[],
  strict: boolean,
): Promise<void> {
  const { tf } = requireRegistration('loadLayersModel');
  const tensors = tf.io.decodeWeights(data, specs);
  try {
    const weights: Record<string, Tensor> = {};
    const state: { name: string; tensor: Tensor }[] = [];
    for (const { name, group } of specs)
      if (group === 'optimizer') state.push({ name, tensor: tensors[name]! });
      else weights[name] = tensors[name]!;
    model.loadWeights(weights, strict);
    if (model.optimizer && state.length) await model.optimizer.setWeights(state);
  } finally {
    tf.dispose(tensors);
  }
}
