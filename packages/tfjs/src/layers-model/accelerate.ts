/** A LayersModel that is loaded or built already: each layer that MSD takes runs on packed weights, in place. */

import { UnsupportedError } from '@msd/core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { DisposedError } from '../errors.ts';
import { stockBytes } from '../graph-model/artifacts.ts';
import { setReport } from '../graph-model/model.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { Packed } from '../pack.ts';
import { layers } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { requireRegistration } from '../state.ts';
import { packedConfig, registerClasses, runPacked } from './classes.ts';
import { fieldOf, isSpatial, kindOf, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';
import { reportWithLeftAlone } from './left-alone.ts';
import { isTransparent, leftAlone, packLayer, planOf } from './plan.ts';

interface Taken {
  readonly kind: LayerKind;
  readonly layer: LayerInternals;
  readonly packed: Packed;
}

export async function accelerateLayersModel(
  model: LayersModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const { tf } = requireRegistration(where);
  const stockClasses = registerClasses(await layers(where));
  const tensors = model.weights.map((weight) => weight.read());
  if (tensors.some(({ isDisposed }) => isDisposed)) throw new DisposedError(`${where}: model has been disposed of.`);
  const places = layersOf(model as unknown as ModelInternals);
  const isCnn = places.some(({ layer }) => isSpatial(layer.getClassName(), (name) => fieldOf(layer.getConfig())(name)));

  /** Why the layer is left alone, whatever its weights. */
  const forbidden = ({ layer, wrapper, isTraining }: Place, kind: LayerKind): string | undefined => {
    const weight = layer[kind.weight];
    if (!isTransparent(wrapper)) return `inside of ${wrapper}`;
    if (layer.constructor !== stockClasses.get(kind)) return `a class of its own behind the name ${kind.stock}`;
    if (Object.hasOwn(layer, 'call')) return 'its call has been replaced';
    if (!weight) return 'not built yet';
    if (isTraining) return 'the model is being trained';
    const owners = places.filter(({ layer: own }) =>
      [...own._trainableWeights, ...own._nonTrainableWeights].includes(weight),
    );
    return owners.length > 1 ? `shares its ${kind.weight} with another layer` : undefined;
  };

  // All is packed before the first layer changes: an error leaves the model as it was.
  const taken: Taken[] = [];
  const nodes: NodeReport[] = [];
  for (const place of places) {
    const { layer, name } = place;
    const kind = kindOf(layer.getClassName());
    if (!kind) continue;
    const reason = forbidden(place, kind);
    const shape = layer[kind.weight]?.shape ?? [];
    const candidate = { kind, name, shape, config: fieldOf(layer.getConfig()) };
    const view = reason === undefined ? planOf(candidate, isCnn, options) : { reason };
    if ('reason' in view) {
      nodes.push(leftAlone(candidate, view.reason));
      continue;
    }
    const float = layer[kind.weight]!.read();
    const values = await float.data<'float32'>();
    const { packed, node } = packLayer(candidate, view, { kind: 'float32', values }, 4 * float.size, options);
    taken.push({ kind, layer, packed });
    nodes.push(node);
  }
  const all = places.map(({ layer, name, outermost }) => {
    const weights = outermost.weights.map((weight) => weight.read());
    return { name, className: layer.getClassName(), weights };
  });
  const stock = tensors.reduce((sum, tensor) => sum + stockBytes(tensor), 0);
  const undo = taken.map((one) => takeOver(one, restorable));
  const weightBytes = model.weights.reduce((sum, weight) => sum + stockBytes(weight.read()), 0);
  const report: ModelReport = { nodes: reportWithLeftAlone(nodes, all), stockBytes: stock, weightBytes };
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

/** What of a model and of wrappers MSD looks at. */
type ModelInternals = { readonly layers: readonly object[]; readonly isTraining?: boolean };
type AnyLayer = LayerInternals &
  Partial<ModelInternals> & { readonly layer?: AnyLayer; readonly weights: readonly LayerVariable[] };

interface Place {
  readonly layer: LayerInternals;
  /** With the names of the wrappers around it. */
  readonly name: string;
  readonly wrapper?: string;
  /** The first of these, or the layer itself: it knows all weights, also of cells. */
  readonly outermost: AnyLayer;
  readonly isTraining: boolean;
}

/** Layers of a model, of the models in it and of wrappers, each once. */
function layersOf(model: ModelInternals, isTraining = false, seen = new Set<object>()): Place[] {
  const inTraining = isTraining || model.isTraining === true;
  const placesOf = (layer: AnyLayer, outer: string, outermost: AnyLayer, wrapper?: string): Place[] => {
    if (seen.has(layer)) return [];
    seen.add(layer);
    if (Array.isArray(layer.layers)) return layersOf(layer as ModelInternals, inTraining, seen);
    const name = outer + layer.name;
    if (layer.layer)
      return placesOf(layer.layer, `${name}/`, outermost, isTransparent(wrapper) ? layer.getClassName() : wrapper);
    return [{ layer, name, outermost, isTraining: inTraining, ...(wrapper !== undefined && { wrapper }) }];
  };
  return model.layers.flatMap((layer) => placesOf(layer as AnyLayer, '', layer as AnyLayer));
}

/** @returns what makes the layer a stock one again */
function takeOver({ kind, layer, packed: { spec, data } }: Taken, restorable: boolean): () => void {
  const { tf } = requireRegistration('accelerate');
  const float = layer[kind.weight]!;
  const values = restorable ? float.read().dataSync<'float32'>().slice() : undefined;
  const Variable = float.constructor as new (
    value: unknown,
    dtype: string,
    name: string,
    trainable: boolean,
    constraint: unknown,
  ) => LayerVariable & { readonly trainable: boolean; readonly constraint?: unknown };
  const { trainable, constraint = null } = float as InstanceType<typeof Variable>;
  const variableOf = (tensor: ReturnType<typeof tf.tensor>, ...rest: [dtype: string, boolean, unknown]) => {
    const variable = new Variable(tensor, rest[0], float.originalName, rest[1], rest[2]);
    tensor.dispose();
    return variable;
  };
  const packed = variableOf(tf.tensor1d(data, 'int32'), 'int32', false, null);
  const own = Object.getOwnPropertyDescriptors(layer);
  const before = { trainable: layer._trainableWeights, fixed: layer._nonTrainableWeights };
  layer._trainableWeights = before.trainable.filter((weight) => weight !== float);
  layer._nonTrainableWeights = [packed, ...before.fixed.filter((weight) => weight !== float)];
  layer[kind.weight] = packed;
  const config = layer.getConfig();
  layer.call = (inputs, kwargs) => runPacked(kind, layer, spec, inputs, kwargs);
  layer.getClassName = () => kind.msd;
  layer.getConfig = () => ({ ...config, packed: packedConfig(spec) });
  const shape = float.shape;
  float.dispose();
  return () => {
    const restored = variableOf(tf.tensor(values!, shape), 'float32', trainable, constraint);
    packed.dispose();
    layer[kind.weight] = restored;
    layer._trainableWeights = before.trainable.map((weight) => (weight === float ? restored : weight));
    layer._nonTrainableWeights = before.fixed.map((weight) => (weight === float ? restored : weight));
    for (const name of ['call', 'getClassName', 'getConfig'] as const)
      if (name in own) Object.defineProperty(layer, name, own[name as keyof typeof own]!);
      else delete (layer as unknown as Record<string, unknown>)[name];
  };
}
