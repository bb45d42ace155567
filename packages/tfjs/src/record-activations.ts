/** A model that is loaded but not accelerated yet is run once, and what its products meet is noted. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { isLayersModel } from './accelerate.ts';
import type { Activations } from './activations.ts';
import { productInputs } from './graph-model/products.ts';
import { kindNamed } from './layers-model/kinds.ts';
import { layersOf, replaceMembers } from './layers-model/places.ts';
import { cellsOf } from './layers-model/recurrent/loaded.ts';
import { statesOf } from './layers-model/recurrent/plan.ts';
import { requireRegistration } from './state.ts';
import type { Tensor, TfNamespace } from './tf.ts';

/**
 * Runs a model that is loaded but not accelerated yet, and notes what its products meet. Hand the result to `accelerate`, or to
 * `loadGraphModel` and `loadLayersModel` of the same model, as `activations`.
 *
 * @param inputs as for `model.predict`: a few real ones
 * @returns tensors that are the caller's: `tf.dispose` them. Of control flow those of recurrent layers are among them
 * @example
 * ```ts
 * const activations = await recordActivations(model, inputs);
 * await accelerate(model, { activations });
 * tf.dispose(activations);
 * ```
 */
export async function recordActivations(
  model: GraphModel | LayersModel,
  inputs: Tensor | Tensor[] | NamedTensorMap,
): Promise<Activations> {
  const { tf } = requireRegistration('recordActivations');
  return isLayersModel(model) ? fromLayers(tf, model, inputs) : fromGraph(tf, model, inputs);
}

async function fromGraph(
  tf: TfNamespace,
  model: GraphModel,
  inputs: Tensor | Tensor[] | NamedTensorMap,
): Promise<Activations> {
  const products = await productInputs(model, 'recordActivations');
  const names = [...new Set(products.values())];
  if (names.length === 0) return {};
  const outputs = [(await executed(model, inputs, names)) as Tensor | Tensor[]].flat();
  const found: Record<string, Tensor> = {};
  for (const [product, name] of products) found[product] = tf.clone(outputs[names.indexOf(name)]!);
  // What a product reads may be the caller's own input.
  const given: readonly Tensor[] = inputs instanceof tf.Tensor ? [inputs] : Object.values(inputs);
  tf.dispose(outputs.filter((output) => !given.includes(output)));
  return found;
}

/** tfjs warns of graphs without control flow that are executed as if they had some. */
async function executed(model: GraphModel, inputs: Tensor | Tensor[] | NamedTensorMap, names: string[]) {
  try {
    return model.execute(inputs, names);
  } catch {
    return model.executeAsync(inputs, names);
  }
}

function fromLayers(tf: TfNamespace, model: LayersModel, inputs: Tensor | Tensor[] | NamedTensorMap): Activations {
  const found: Record<string, Tensor[]> = {};
  const places = layersOf(model);
  const note = (name: string, x: Tensor) => {
    found[name] = [...(found[name] ?? []), tf.keep(tf.clone(x))];
  };
  const watch = (own: Watched, seen: (given: readonly Tensor[]) => void) => {
    const { call } = own;
    return replaceMembers(own, {
      call: (given: Tensor | Tensor[], kwargs: object) => {
        seen([given].flat());
        return call.call(own, given, kwargs);
      },
    });
  };
  const undo = [
    ...places
      .filter(({ layer }) => kindNamed(layer.getClassName()))
      .map(({ layer, name }) => watch(layer as unknown as Watched, ([x]) => note(name, x!))),
    ...places.flatMap(cellsOf).map(({ name, cell }) =>
      watch(cell as unknown as Watched, ([x, h]) => {
        note(name, x!);
        note(statesOf(name), h!);
      }),
    ),
  ];
  try {
    tf.dispose(model.predict(inputs as Tensor));
  } finally {
    for (const back of undo) back();
  }
  return Object.fromEntries(
    Object.entries(found).map(([name, parts]) => {
      const all = tf.tidy(() => tf.concat(parts.map((part) => tf.reshape(part, [-1, part.shape.at(-1)!]))));
      tf.dispose(parts);
      return [name, all];
    }),
  );
}

interface Watched {
  call(given: Tensor | Tensor[], kwargs: object): Tensor | Tensor[];
}
