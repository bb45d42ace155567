/** The layers of a model in memory, and their variables. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { DisposedError, shown } from '../errors.ts';
import type { LayerInternals, LayerVariable } from './kinds.ts';
import { isTransparent } from './plan.ts';
import { isGone } from './variable.ts';

export const variablesOf = ({ weights }: LayersModel): LayerVariable[] => weights as unknown as LayerVariable[];

/** What tfjs would keep of a weight, packed or not. */
export const floatsOf = ({ shape }: LayerVariable) => ({ shape, dtype: 'float32' });

/** @throws {@link DisposedError} if a weight is gone */
export function requireAlive(weights: readonly LayerVariable[], where: string): void {
  const gone = weights.find(isGone);
  if (gone) throw new DisposedError(`${where}: model, ${shown(gone.originalName)} has been disposed of.`);
}

/** What of a model and of wrappers MSD looks at. A Sequential trains the model that it has built. */
type ModelInternals = {
  readonly layers: readonly object[];
  readonly isTraining?: boolean;
  readonly model?: { readonly isTraining?: boolean } | null;
};
type AnyLayer = LayerInternals &
  Partial<ModelInternals> & { readonly layer?: AnyLayer; readonly weights: readonly LayerVariable[] };

export interface Place {
  readonly layer: LayerInternals;
  /** With the names of the wrappers around it. */
  readonly name: string;
  readonly wrapper?: string;
  /** The innermost of these. */
  readonly parent?: object;
  /** The first of these, or the layer itself: it knows all weights, also of cells. */
  readonly outermost: AnyLayer;
  readonly isTraining: boolean;
}

/** Layers of a model, of the models in it and of wrappers, each once. */
export const layersOf = (model: LayersModel): Place[] => placesIn(model as unknown as ModelInternals, false, new Set());

function placesIn(model: ModelInternals, isTraining: boolean, seen: Set<object>): Place[] {
  const inTraining = isTraining || model.isTraining === true || model.model?.isTraining === true;
  const placesOf = (
    layer: AnyLayer,
    outer: string,
    outermost: AnyLayer,
    wrapper?: string,
    parent?: object,
  ): Place[] => {
    if (seen.has(layer)) return [];
    seen.add(layer);
    if (Array.isArray(layer.layers)) return placesIn(layer as ModelInternals, inTraining, seen);
    const name = outer + layer.name;
    if (layer.layer)
      return placesOf(
        layer.layer,
        `${name}/`,
        outermost,
        isTransparent(wrapper) ? layer.getClassName() : wrapper,
        layer,
      );
    return [
      {
        layer,
        name,
        outermost,
        isTraining: inTraining,
        ...(wrapper !== undefined && { wrapper }),
        ...(parent && { parent }),
      },
    ];
  };
  return model.layers.flatMap((layer) => placesOf(layer as AnyLayer, '', layer as AnyLayer));
}

/** How many layers have a weight. */
export const ownersOf = (weight: LayerVariable, places: readonly Place[]): number =>
  new Set(places.filter(({ outermost }) => outermost.weights.includes(weight)).map(({ outermost }) => outermost)).size;

/** @returns what puts back what was there */
export function replaceMembers(layer: object, members: Readonly<Record<string, unknown>>): () => void {
  const own = Object.getOwnPropertyDescriptors(layer) as Record<string, PropertyDescriptor>;
  Object.assign(layer, members);
  return () => {
    for (const name of Object.keys(members))
      if (Object.hasOwn(own, name)) Object.defineProperty(layer, name, own[name]!);
      else delete (layer as Record<string, unknown>)[name];
  };
}
