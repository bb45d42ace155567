/** A LayersModel that is loaded or built already: each Dense layer runs on packed weights, in place. */

import { UnsupportedError } from '@msd/core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { DisposedError } from '../errors.ts';
import { stockBytes } from '../graph-model/artifacts.ts';
import { setReport } from '../graph-model/model.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import { layers } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import { encode } from '../weights/encode.ts';
import { type LayerInternals, type LayerVariable, msdDenseConfig, registerDense, runDense } from './dense.ts';

interface Taken {
  readonly layer: LayerInternals;
  readonly spec: MatrixSpec;
  readonly data: Int32Array<ArrayBuffer>;
}

export async function accelerateLayersModel(
  model: LayersModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const { tf } = requireRegistration(where);
  registerDense(await layers(where));
  const tensors = model.weights.map((weight) => weight.read());
  if (tensors.some(({ isDisposed }) => isDisposed)) throw new DisposedError(`${where}: model has been disposed of.`);

  // All is packed before the first layer changes: an error leaves the model as it was.
  const taken: Taken[] = [];
  const nodes: NodeReport[] = [];
  for (const layer of denseLayers(model)) {
    const refuse = (reason: string) => void nodes.push({ name: layer.name, op: 'Dense', where: 'tfjs', reason });
    if (!layer.kernel) refuse('not built yet');
    else if (layer.kernel.read().size < options.minElements) refuse(`fewer than ${options.minElements} weights`);
    else {
      const kernel = layer.kernel.read();
      const [K, N] = kernel.shape as [number, number];
      const view = { kind: 'matrix', batchShape: [], N, K, transposed: false } as const;
      const { packed, error, how } = encode({ kind: 'float32', values: await kernel.data<'float32'>() }, view, options);
      const spec = packed.spec as MatrixSpec;
      taken.push({ layer, spec, data: packed.data });
      const bytes = { bytesBefore: 4 * N * K, bytesAfter: packed.data.byteLength };
      nodes.push({
        name: layer.name,
        op: 'Dense',
        where: 'msd',
        msdOp: 'MsdDense',
        weights: { spec, how, error, ...bytes, sharedBy: 1 },
      });
    }
  }
  const stock = tensors.reduce((sum, tensor) => sum + stockBytes(tensor), 0);
  const undo = taken.map((one) => takeOver(one, restorable));
  const weightBytes = model.weights.reduce((sum, weight) => sum + stockBytes(weight.read()), 0);
  const report: ModelReport = { nodes, stockBytes: stock, weightBytes };
  setReport(model, report);
  return {
    report,
    async restore() {
      if (!restorable && undo.length)
        throw new UnsupportedError('restore: the float weights are gone. Use accelerate(model, { restorable: true }).');
      for (const back of undo.splice(0)) tf.tidy(back);
      setReport(model, undefined);
    },
  };
}

/** Dense layers of a model and of the models in it, each once. */
function denseLayers(model: LayersModel, seen = new Set<object>()): LayerInternals[] {
  return model.layers.flatMap((layer) => {
    if (seen.has(layer)) return [];
    seen.add(layer);
    if ('layers' in layer) return denseLayers(layer as unknown as LayersModel, seen);
    return layer.getClassName() === 'Dense' ? [layer as unknown as LayerInternals] : [];
  });
}

/** @returns what makes the layer a plain Dense again */
function takeOver({ layer, spec, data }: Taken, restorable: boolean): () => void {
  const { tf } = requireRegistration('accelerate');
  const float = layer.kernel!;
  const values = restorable ? float.read().dataSync<'float32'>().slice() : undefined;
  const Variable = float.constructor as new (
    value: unknown,
    dtype: string,
    name: string,
    trainable: boolean,
  ) => LayerVariable;
  const variableOf = (tensor: ReturnType<typeof tf.tensor>, dtype: string, trainable: boolean) => {
    const variable = new Variable(tensor, dtype, float.originalName, trainable);
    tensor.dispose();
    return variable;
  };
  const packed = variableOf(tf.tensor1d(data, 'int32'), 'int32', false);
  const own = Object.getOwnPropertyDescriptors(layer);
  const before = { trainable: layer._trainableWeights, fixed: layer._nonTrainableWeights };
  layer._trainableWeights = before.trainable.filter((weight) => weight !== float);
  layer._nonTrainableWeights = [packed, ...before.fixed.filter((weight) => weight !== float)];
  layer.kernel = packed;
  const config = layer.getConfig();
  layer.call = (inputs, kwargs) => runDense(layer, packed.read(), spec, inputs, kwargs);
  layer.getClassName = () => 'MsdDense';
  layer.getConfig = () => msdDenseConfig(config, spec);
  const shape = float.shape;
  float.dispose();
  return () => {
    const restored = variableOf(tf.tensor(values!, shape), 'float32', true);
    packed.dispose();
    layer.kernel = restored;
    layer._trainableWeights = before.trainable.map((weight) => (weight === float ? restored : weight));
    layer._nonTrainableWeights = before.fixed;
    for (const name of ['call', 'getClassName', 'getConfig'] as const)
      if (name in own) Object.defineProperty(layer, name, own[name as keyof typeof own]!);
      else delete (layer as unknown as Record<string, unknown>)[name];
  };
}
