/** What runs in place of a layer's `call`, and ends as the layer does. */
import { type Activation, matMul } from '../mat-mul.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import type { Tensor } from '../tf.ts';
import type { LayerInternals } from './kinds.ts';

export const onlyOne = (inputs: Tensor | Tensor[]): Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/** Sizes of a window, which configs may give as one number. */
export const numbersOf = (value: unknown): number[] => [value].flat().filter((size) => typeof size === 'number');

/** Activations that `matMul` knows, by the names of tfjs-layers. */
const FUSED: readonly string[] = ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh'];

export const product = (layer: LayerInternals, w: QuantizedTensor, inputs: Tensor | Tensor[]): Tensor =>
  withActivation(layer, (end) => matMul(onlyOne(inputs), w, end));

/** @param run ends with what it is given, which is all that it can end with */
export function withActivation(
  layer: LayerInternals,
  run: (end: { readonly bias: Tensor | undefined; readonly activation: Activation }) => Tensor,
): Tensor {
  const name = layer.activation?.getClassName() ?? 'linear';
  const isFused = FUSED.includes(name);
  const y = run({ bias: layer.bias?.read(), activation: isFused ? (name as Activation) : 'linear' });
  return isFused ? y : layer.activation!.apply(y);
}
