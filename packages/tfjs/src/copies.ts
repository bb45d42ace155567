/**
 * Packages of tfjs that are there twice, in a bundle or in node_modules. Each copy has ops, classes and a registry of its own, and a
 * model of one does not know what MSD has told another. It is noticed before anything is changed.
 */
import { UnsupportedError } from '@msd/core';
import type { ConverterNamespace, LayersNamespace } from './peers.ts';
import { requireRegistration } from './state.ts';
import type { Tensor, TfNamespace } from './tf.ts';

const PACKAGES = { converter: '@tensorflow/tfjs-converter', layers: '@tensorflow/tfjs-layers' } as const;

const dedupe = (name: string): string =>
  `Have one: npm dedupe, resolve.dedupe: ['${name}'] in Vite, resolve.alias in webpack, alias in esbuild`;

function otherCopy(where: string, option: keyof typeof PACKAGES, kind: string): UnsupportedError {
  const name = PACKAGES[option];
  return new UnsupportedError(
    `${where}: model, expected a ${kind} of the ${name} that MSD knows, got one of another copy: the package is there twice. ${dedupe(name)}. Or pass the copy that the model is of: register(tf, { ${option} }).`,
  );
}

/** @throws {@link UnsupportedError} for a model of another copy of tfjs-converter */
export function checkGraphModel(model: object, { GraphModel }: Pick<ConverterNamespace, 'GraphModel'>): void {
  const looksLikeOne =
    typeof (model as Partial<ConverterNamespace['GraphModel']['prototype']>)?.executeAsync === 'function';
  if (looksLikeOne && !(model instanceof GraphModel)) throw otherCopy('accelerate', 'converter', 'GraphModel');
}

/** @throws {@link UnsupportedError} for a model of another copy of tfjs-layers */
export function checkLayersModel(model: object, namespace: LayersNamespace): void {
  if (!(model instanceof namespace.LayersModel)) throw otherCopy('accelerate', 'layers', 'LayersModel');
  checkLayers(namespace, 'accelerate');
}

/** What deserializes layers is in tfjs-core, one for all copies of tfjs-layers that use it: the one that came last has it. */
interface ClassMap {
  readonly classNameMap: Readonly<Record<string, readonly [unknown, ...unknown[]] | undefined>>;
}

/** @throws {@link UnsupportedError} if layers that MSD registers would be made for another copy of tfjs-layers, or by another tfjs-core */
export function checkLayers({ layers, LayersModel }: LayersNamespace, where: string): void {
  const { tf } = requireRegistration(where);
  const { Serializable, SerializationMap } = tf.serialization as TfNamespace['serialization'];
  if (Object.getPrototypeOf(layers.Layer) !== Serializable)
    throw new UnsupportedError(
      `${where}: @tensorflow/tfjs-core is there twice: tfjs-layers uses another copy than the one that was registered. ${dedupe('@tensorflow/tfjs-core')}. Or register a tf and layers that belong together: register(tf, { layers }).`,
    );
  const { classNameMap } = SerializationMap.getMap() as unknown as ClassMap;
  const [known] = classNameMap.Model ?? [];
  if (known !== undefined && known !== LayersModel)
    throw new UnsupportedError(
      `${where}: @tensorflow/tfjs-layers is there twice, and tfjs makes layers of the copy that was imported last, not of the one that MSD knows. ${dedupe(PACKAGES.layers)}. Or pass that copy: register(tf, { layers }).`,
    );
}

/** @throws {@link UnsupportedError} where another copy of tfjs-layers builds a model of MSD's layers: its symbols are no tensors here */
export function checkInput(inputs: Tensor | Tensor[], where: string): void {
  const [first] = [inputs].flat();
  if (!(first instanceof requireRegistration(where).tf.Tensor))
    throw new UnsupportedError(
      `${where}: input, expected a tensor, got what another copy of ${PACKAGES.layers} has for one: the package is there twice. ${dedupe(PACKAGES.layers)}. Or pass the copy that loads the model: register(tf, { layers }).`,
    );
}
