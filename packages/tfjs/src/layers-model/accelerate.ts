/** A LayersModel that is loaded or built already: each layer that MSD takes runs on packed weights, in place. */

import { UnsupportedError } from '@msd/core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { setReport } from '../graph-model/model.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { Packed } from '../pack.ts';
import { layers } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { packedConfig, registerClasses, runPacked } from './classes.ts';
import { describe, setReason } from './describe.ts';
import { fieldOf, isSpatial, kindNamed, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';
import { layersOf, type Place, requireAlive, variablesOf } from './places.ts';
import { isTransparent, packLayer, planOf } from './plan.ts';
import { packedOf, packVariable, requirePacked, unpackVariable } from './variable.ts';

interface Taken {
  readonly kind: LayerKind;
  readonly layer: LayerInternals;
  readonly weight: LayerVariable;
  /** What the weights were when they were packed. */
  readonly dataId: object;
  readonly packed: Packed;
  readonly kept: Float32Array | undefined;
  readonly node: NodeReport;
}

export async function accelerateLayersModel(
  model: LayersModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const stockClasses = registerClasses(await layers(where));
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
    const owners = places.filter(({ layer: own }) =>
      [...own._trainableWeights, ...own._nonTrainableWeights].includes(weight),
    );
    return owners.length > 1 ? `shares its ${kind.leaf} with another layer` : undefined;
  };

  // All is packed before the first layer changes: an error leaves the model as it was.
  const taken: Taken[] = [];
  for (const place of places) {
    const { layer, name } = place;
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
    if ('reason' in own) setReason(layer, own.reason);
    else taken.push({ kind, layer, weight: weight!, dataId, kept: restorable ? values.slice() : undefined, ...own });
  }
  requireAlive(weights, where);
  const done = taken.flatMap((one) => {
    if (packedOf(one.weight)) return []; // by a model that shares the layer, meanwhile
    if (one.weight.val.dataId === one.dataId) return [{ ...one, putBack: takeOver(one) }];
    setReason(one.layer, 'its weights changed meanwhile: the model is being trained');
    return [];
  });
  const report = describe(model, places);
  setReport(model, report);
  return {
    report,
    async restore() {
      if (done.length === 0) return;
      requireAlive(variablesOf(model), 'restore');
      if (!restorable)
        throw new UnsupportedError('restore: the float weights are gone. Use accelerate(model, { restorable: true }).');
      for (const { layer, weight, putBack } of done.splice(0)) {
        unpackVariable(weight);
        putBack();
        setReason(layer, 'restored');
      }
      const now = describe(model, places);
      setReport(model, now.nodes.some(({ msdOp }) => msdOp) ? now : undefined);
    },
  };
}

/** @returns what makes the layer a stock one again, once its weight is */
function takeOver({ kind, layer, weight, packed, kept, node }: Taken): () => void {
  const own = Object.getOwnPropertyDescriptors(layer);
  const { getConfig } = layer;
  packVariable(weight, packed, { shape: weight.shape, kept, node });
  layer.call = (inputs, kwargs) => runPacked(kind, layer, inputs, kwargs);
  layer.getClassName = () => kind.msd;
  layer.getConfig = () => ({ ...getConfig.call(layer), packed: packedConfig(requirePacked(weight).spec) });
  return () => {
    for (const name of ['call', 'getClassName', 'getConfig'] as const)
      if (name in own) Object.defineProperty(layer, name, own[name as keyof typeof own]!);
      else delete (layer as unknown as Record<string, unknown>)[name];
  };
}
