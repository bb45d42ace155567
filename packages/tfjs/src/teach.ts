/** The code behind `teachLoaders`. */
import { prepareConverter } from './graph-model/ops.ts';
import { registerLayers } from './layers-model/register.ts';
import type { ConverterNamespace, LayersNamespace } from './peers.ts';

export function teach(converter: ConverterNamespace | undefined, layers: LayersNamespace | undefined): void {
  if (converter) prepareConverter(converter);
  if (layers) registerLayers(layers);
}
