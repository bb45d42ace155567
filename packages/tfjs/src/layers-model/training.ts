/**
 * Two methods of tfjs-layers' LayersModel know of packed weights: what a model is saved as are the integers, and no model begins to
 * train weights that have no gradient. Both are asked for every model, whoever made it: a new head on a packed base is one.
 */
import { UnsupportedError } from '@msd/core';
import { shown } from '../errors.ts';
import type { LayersNamespace } from '../peers.ts';
import { lastNamespace } from '../state.ts';
import type { LayerVariable } from './kinds.ts';
import { packedOf, whileSaving } from './variable.ts';

/** What of LayersModel is not in its types, here and where training is looked at. */
interface ModelMethods {
  collectedTrainableWeights?: readonly LayerVariable[];
  getNamedWeights(config?: object): object[];
  makeTrainFunction(): (data: object[]) => object[];
}

/**
 * Once per copy of tfjs-layers.
 *
 * @throws {@link UnsupportedError} if its LayersModel is another one than that of 4.22
 */
export function guardTraining({ LayersModel }: LayersNamespace): void {
  const methods = LayersModel.prototype as unknown as ModelMethods;
  const { getNamedWeights, makeTrainFunction } = methods;
  if (typeof getNamedWeights !== 'function' || typeof makeTrainFunction !== 'function')
    throw new UnsupportedError('layers: this version of tfjs-layers has another LayersModel; 4.22 is known.');
  methods.getNamedWeights = function (config) {
    return whileSaving(() => getNamedWeights.call(this, config));
  };
  methods.makeTrainFunction = function () {
    requireTrainable(this);
    const train = makeTrainFunction.call(this);
    return (data) => {
      requireTrainable(this); // a callback may have packed something meanwhile
      // Frozen weights stay in an optimizer's list until the model is compiled again, as in stock: optimizers know weights by their place.
      const all = this.collectedTrainableWeights ?? [];
      const stoodIn = all.map((weight) => (packedOf(weight) ? standIn(weight) : undefined));
      if (!stoodIn.some(Boolean)) return train(data);
      this.collectedTrainableWeights = all.map((weight, i) => stoodIn[i]?.weight ?? weight);
      try {
        return train(data);
      } finally {
        for (const one of stoodIn) one?.dispose();
        this.collectedTrainableWeights = all;
      }
    };
  };
}

/** A float variable of the weight's name and shape, for optimizers: integers are none that tfjs could take a gradient of. */
function standIn(weight: LayerVariable): { readonly weight: LayerVariable; dispose(): void } {
  const tf = lastNamespace('fit');
  const { registeredVariables } = tf.engine().state as { registeredVariables: Record<string, object> };
  const packed = weight.val;
  const variable = tf.tidy(() => tf.variable(tf.zeros(weight.shape), false));
  delete registeredVariables[variable.name];
  Object.assign(variable, { name: packed.name });
  registeredVariables[packed.name] = variable;
  return {
    weight: Object.create(weight, { read: { value: () => variable } }),
    dispose() {
      variable.dispose();
      registeredVariables[packed.name] = packed;
    },
  };
}

function requireTrainable({ collectedTrainableWeights = [] }: ModelMethods): void {
  const stuck = collectedTrainableWeights.filter((weight) => weight.trainable && packedOf(weight));
  if (stuck.length === 0) return;
  const names = stuck.slice(0, 3).map(({ originalName }) => shown(originalName));
  const more = stuck.length > names.length ? ` and ${stuck.length - names.length} more` : '';
  throw new UnsupportedError(
    `fit: ${names.join(', ')}${more}, expected float weights to train, got packed integers. Freeze their layers ` +
      '(layer.trainable = false), restore() the model first, or leave them floats with keepTrainable: true.',
  );
}
