/** A LayersModel that is loaded or built already: each layer that MSD takes runs on packed weights, in place. */

import { UnsupportedError } from '@msd/core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { DisposedError } from '../errors.ts';
import { stockBytes } from '../graph-model/artifacts.ts';
import { reportOf, setReport } from '../graph-model/model.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { Packed } from '../pack.ts';
import { layers } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { packedConfig, registerClasses, runPacked } from './classes.ts';
import { fieldOf, isSpatial, kindNamed, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';
import { isTransparent, keptLayer, leftAlone, packLayer, planOf } from './plan.ts';
import { nodeOf, packedOf, packVariable, requirePacked, unpackVariable } from './variable.ts';

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

/** Why layers were left alone when it was looked at them last. */
const reasons = /* @__PURE__ */ new WeakMap<LayerInternals, string>();

export async function accelerateLayersModel(
  model: LayersModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const stockClasses = registerClasses(await layers(where));
  const weights = variablesOf(model);
  requireAlive(weights, where);
  const places = layersOf(model as unknown as ModelInternals);
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
    return owners.length > 1 ? `shares its ${kind.weight} with another layer` : undefined;
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
      reasons.set(layer, view.reason);
      continue;
    }
    const float = weight!.val;
    const { dataId } = float;
    const values = await float.data<'float32'>();
    const { packed, node } = packLayer(candidate, view, { kind: 'float32', values }, 4 * float.size, options);
    taken.push({ kind, layer, weight: weight!, dataId, packed, kept: restorable ? values.slice() : undefined, node });
  }
  requireAlive(weights, where);
  const done = taken.flatMap((one) => {
    if (packedOf(one.weight)) return []; // by a model that shares the layer, meanwhile
    if (one.weight.val.dataId === one.dataId) return [{ ...one, putBack: takeOver(one) }];
    reasons.set(one.layer, 'its weights changed meanwhile: the model is being trained');
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
        reasons.set(layer, 'restored');
      }
      const now = describe(model, places);
      setReport(model, now.nodes.some(({ msdOp }) => msdOp) ? now : undefined);
    },
  };
}

/** The layers as they are now. */
function describe(model: LayersModel, places: readonly Place[]): ModelReport {
  const before = reportOf(model)?.nodes ?? [];
  const nodes = places.flatMap(({ layer, name }): NodeReport[] => {
    const kind = kindNamed(layer.getClassName());
    if (!kind) return [];
    const weight = layer[kind.weight];
    const packed = weight && packedOf(weight);
    if (!packed) return [leftAlone({ kind, name }, reasons.get(layer) ?? 'not looked at')];
    const known = nodeOf(weight) ?? before.find((node) => node.name === name && node.msdOp === kind.msd);
    return [known ?? keptLayer({ kind, name }, packed.spec)];
  });
  let [stock, weightBytes] = [0, 0];
  for (const weight of variablesOf(model)) {
    const bytes = stockBytes({ shape: weight.shape, dtype: 'float32' });
    stock += bytes;
    weightBytes += packedOf(weight)?.byteLength ?? bytes;
  }
  return { nodes, stockBytes: stock, weightBytes };
}

const variablesOf = ({ weights }: LayersModel): LayerVariable[] => weights as unknown as LayerVariable[];

function requireAlive(weights: readonly LayerVariable[], where: string): void {
  const gone = weights.find(({ val }) => val.isDisposed);
  if (gone) throw new DisposedError(`${where}: model, ${gone.originalName} has been disposed of.`);
}

/** What of a model and of wrappers MSD looks at. A Sequential trains the model that it has built. */
type ModelInternals = {
  readonly layers: readonly object[];
  readonly isTraining?: boolean;
  readonly model?: { readonly isTraining?: boolean } | null;
};
type AnyLayer = LayerInternals & Partial<ModelInternals> & { readonly layer?: AnyLayer };

interface Place {
  readonly layer: LayerInternals;
  /** With the names of the wrappers around it. */
  readonly name: string;
  readonly wrapper?: string;
  readonly isTraining: boolean;
}

/** Layers of a model, of the models in it and of wrappers, each once. */
function layersOf(model: ModelInternals, isTraining = false, seen = new Set<object>()): Place[] {
  const inTraining = isTraining || model.isTraining === true || model.model?.isTraining === true;
  const placesOf = (layer: AnyLayer, outer: string, wrapper?: string): Place[] => {
    if (seen.has(layer)) return [];
    seen.add(layer);
    if (Array.isArray(layer.layers)) return layersOf(layer as ModelInternals, inTraining, seen);
    const name = outer + layer.name;
    if (layer.layer) return placesOf(layer.layer, `${name}/`, isTransparent(wrapper) ? layer.getClassName() : wrapper);
    return [{ layer, name, isTraining: inTraining, ...(wrapper !== undefined && { wrapper }) }];
  };
  return model.layers.flatMap((layer) => placesOf(layer as AnyLayer, ''));
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
