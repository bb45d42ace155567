/** A LayersModel that is loaded or built already: each layer that MSD takes runs on packed weights, in place. */

import { UnsupportedError } from '@msd/core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { addChange, type Change, undoFrom } from '../changes.ts';
import { prepareConvolutions } from '../convolution/kernels.ts';
import { checkLayersModel } from '../copies.ts';
import { reportOf, setReport } from '../graph-model/model.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { Packed } from '../pack.ts';
import { layers } from '../peers.ts';
import { prepareRecurrent } from '../recurrent/layer.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import type { Tensor } from '../tf.ts';
import { packedConfig, runPacked } from './classes.ts';
import { takeDepthwise, withNodes } from './depthwise.ts';
import { describe, setReason } from './describe.ts';
import { fieldOf, isSpatial, kindNamed, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';
import { layersOf, ownersOf, type Place, replaceMembers, requireAlive, variablesOf } from './places.ts';
import { isTransparent, packLayer, planOf } from './plan.ts';
import { planRecurrent, type SeenWeight } from './recurrent/loaded.ts';
import { registerLayers } from './register.ts';
import { packedOf, packVariable, requirePacked, unpackVariable } from './variable.ts';

/** A layer whose weights are packed, and that is as it was yet. */
interface Taken {
  readonly layer: LayerInternals;
  readonly weights: readonly SeenWeight[];
  /** @returns what makes the layer a stock one again */
  takeOver(): () => void;
}

export async function accelerateLayersModel(
  model: LayersModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const namespace = await layers(where);
  checkLayersModel(model, namespace);
  const { stock: stockClasses, recurrent: recurrentClasses } = registerLayers(namespace);
  const weights = variablesOf(model);
  requireAlive(weights, where);
  const places = layersOf(model);
  const isCnn = places.some(({ layer }) => isSpatial(layer.getClassName(), (name) => fieldOf(layer.getConfig())(name)));
  const trainable = options.keepTrainable ? (model.trainableWeights as unknown as LayerVariable[]) : [];

  /** Why the layer is left alone, whatever its weights. */
  const forbidden = ({ layer, wrapper, isTraining }: Place, kind: LayerKind): string | undefined => {
    const weight = layer[kind.weight];
    if (!isTransparent(wrapper)) return `inside of ${wrapper}`;
    if (layer.constructor !== stockClasses.get(kind)) return `a class of its own behind the name ${kind.stock}`;
    if (Object.hasOwn(layer, 'call')) return 'its call has been replaced';
    if (!weight) return 'not built yet';
    if (isTraining) return 'the model is being trained';
    if (trainable.includes(weight)) return 'trainable, and keepTrainable is set';
    return ownersOf(weight, places) > 1 ? `shares its ${kind.leaf} with another layer` : undefined;
  };

  // All is packed before the first layer changes: an error leaves the model as it was.
  const taken: Taken[] = [];
  for (const place of places) {
    const { layer, name } = place;
    const recurrent = await planRecurrent(place, recurrentClasses, places, options, { restorable, trainable });
    if (recurrent) {
      if ('reason' in recurrent) setReason(layer, recurrent.reason);
      else {
        await prepareRecurrent();
        taken.push({ layer, ...recurrent });
      }
      continue;
    }
    const kind = kindNamed(layer.getClassName());
    const weight = kind && layer[kind.weight];
    if (!kind || (weight && packedOf(weight))) continue;
    const reason = forbidden(place, kind);
    const candidate = { kind, name, shape: weight?.shape ?? [], config: fieldOf(layer.getConfig()) };
    const view = reason === undefined ? planOf(candidate, isCnn, options) : { reason };
    if ('reason' in view) {
      setReason(layer, view.reason);
      continue;
    }
    const float = weight!.val;
    const { dataId } = float;
    const values = await float.data<'float32'>();
    const own = packLayer(candidate, view, { kind: 'float32', values }, 4 * float.size, options);
    if ('reason' in own) {
      setReason(layer, own.reason);
      continue;
    }
    if (kind.isConvolution) await prepareConvolutions();
    const kept = restorable ? values.slice() : undefined;
    const weights = [{ variable: weight!, dataId }];
    taken.push({ layer, weights, takeOver: () => takeOver(kind, layer, weight!, own, kept) });
  }
  requireAlive(weights, where);
  const done = taken.flatMap(({ layer, weights: own, takeOver: take }) => {
    if (own.some(({ variable }) => packedOf(variable))) return []; // by a model that shares the layer, meanwhile
    if (own.every(({ variable, dataId }) => variable.val.dataId === dataId)) return [{ layer, putBack: take() }];
    setReason(layer, 'its weights changed meanwhile: the model is being trained');
    return [];
  });
  const depthwise = await takeDepthwise(model, namespace, options);
  const reportBefore = reportOf(model);
  const report = withNodes(describe(model, places), depthwise.nodes);
  setReport(model, report);
  const change: Change = {
    check() {
      requireAlive(variablesOf(model), 'restore');
      if (!restorable && done.length)
        throw new UnsupportedError('restore: the float weights are gone. Use accelerate(model, { restorable: true }).');
    },
    undo() {
      for (const { putBack } of done) putBack();
      for (const putBack of depthwise.undo) putBack();
      setReport(model, reportBefore);
    },
  };
  if (done.length || depthwise.undo.length) addChange(model, change);
  return { report, restore: () => undoFrom(model, change) };
}

function takeOver(
  kind: LayerKind,
  layer: LayerInternals,
  weight: LayerVariable,
  { packed, node }: { readonly packed: Packed; readonly node: NodeReport },
  kept: Float32Array | undefined,
): () => void {
  const { getConfig } = layer;
  packVariable(weight, packed, { shape: weight.shape, kept, node });
  const putBack = replaceMembers(layer, {
    call: (inputs: Tensor | Tensor[], kwargs: object) => runPacked(kind, layer, inputs, kwargs),
    getClassName: () => kind.msd,
    getConfig: () => ({ ...getConfig.call(layer), packed: packedConfig(requirePacked(weight).spec) }),
  });
  return () => {
    unpackVariable(weight);
    putBack();
  };
}
