/** The layer classes of tfjs-layers that MSD takes: how their weights lie, and what runs on them instead. */
import { gather } from '../gather.ts';
import type { LayersNamespace } from '../peers.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { WeightView } from '../weights/view.ts';
import { convolution, separable } from './convolutions.ts';
import { numbersOf, onlyOne, product } from './products.ts';
import type { Variable } from './variable.ts';

/** What of a layer MSD looks at, beyond tfjs-layers' public types. */
export interface LayerInternals {
  name: string;
  getClassName(): string;
  getConfig(): Record<string, unknown>;
  call(inputs: Tensor | Tensor[], kwargs: object): Tensor | Tensor[];
  readonly fastWeightInitDuringBuild: boolean;
  invokeCallHook(inputs: Tensor | Tensor[], kwargs: object): void;
  addWeight(name: string, shape: number[], dtype?: string, ...rest: unknown[]): LayerVariable;
  computeOutputShape(inputShape: number[]): number[];
  kernel?: LayerVariable | null;
  embeddings?: LayerVariable | null;
  pointwiseKernel?: LayerVariable | null;
  bias?: LayerVariable | null;
  activation?: { getClassName(): string; apply(x: Tensor): Tensor } | null;
  _trainableWeights: LayerVariable[];
  _nonTrainableWeights: LayerVariable[];
}

export interface LayerVariable {
  readonly shape: number[];
  readonly name: string;
  readonly originalName: string;
  trainable: boolean;
  readonly constraint?: { apply(values: Tensor): Tensor } | null;
  val: Variable;
  read(): Tensor;
  write(values: Tensor): LayerVariable;
  dispose(): void;
}

/** An entry of a layer's config, by its name in tfjs-layers. */
export type Field = (name: string) => unknown;

/** With how much faster than tfjs a convolution is predicted to be. */
export type LayerView = WeightView & { readonly gain?: number };

export interface LayerKind {
  /** Class name in tfjs-layers. */
  readonly stock: string;
  /** Class name of the layer that stands in its place. */
  readonly msd: string;
  /** The weight that becomes integers: a property of the layer. */
  readonly weight: 'kernel' | 'embeddings' | 'pointwiseKernel';
  /** Its name in files. */
  readonly leaf: string;
  readonly isConvolution: boolean;
  /** `run` only multiplies with the weight, through `matMul`. */
  readonly canLevel?: true;
  /** Any layer of the class. */
  sample(layers: LayersNamespace['layers']): object;
  /** How the weight of this shape lies; or why such a layer is left alone. */
  view(shape: readonly number[], config: Field): LayerView | { readonly reason: string };
  run(layer: LayerInternals, w: QuantizedTensor, inputs: Tensor | Tensor[], kwargs: object): Tensor;
}

/** Configs in files are spelled as Keras does it, those of layers as JavaScript does. */
export const fieldOf =
  (config: Readonly<Record<string, unknown>>): Field =>
  (name) =>
    config[name] ?? config[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)];

/** tfjs will say what is wrong with weights of other dimensions. */
const notOfRank = (rank: number, { length }: readonly number[]): { readonly reason: string } | undefined =>
  length === rank ? undefined : { reason: `weights of ${length} dimensions, expected ${rank}` };

const dense: LayerKind = {
  stock: 'Dense',
  msd: 'MsdDense',
  weight: 'kernel',
  leaf: 'kernel',
  isConvolution: false,
  canLevel: true,
  sample: ({ dense: make }) => make({ units: 1, name: 'msd' }),
  view: (shape) => {
    const [K, N] = shape as [number, number];
    return notOfRank(2, shape) ?? { kind: 'matrix', batchShape: [], N, K, transposed: false };
  },
  run(layer, w, inputs, kwargs) {
    layer.invokeCallHook(inputs, kwargs);
    return product(layer, w, inputs);
  },
};

const embedding: LayerKind = {
  stock: 'Embedding',
  msd: 'MsdEmbedding',
  weight: 'embeddings',
  leaf: 'embeddings',
  isConvolution: false,
  sample: ({ embedding: make }) => make({ inputDim: 1, outputDim: 1, name: 'msd' }),
  view: (shape) => {
    const [rows, columns] = shape as [number, number];
    return notOfRank(2, shape) ?? { kind: 'table', rows, columns };
  },
  run(layer, w, inputs, kwargs) {
    const { tf } = requireRegistration('MsdEmbedding');
    layer.invokeCallHook(inputs, kwargs);
    const ids = onlyOne(inputs);
    const rows = gather(w, ids.dtype === 'int32' ? ids : tf.cast(ids, 'int32'));
    return tf.reshape(rows, layer.computeOutputShape(ids.shape));
  },
};

export const KINDS: readonly LayerKind[] = /* @__PURE__ */ (() => [
  dense,
  convolution(1),
  convolution(2),
  separable,
  embedding,
])();

/** The kind of a layer that is stock's or MSD's. */
export const kindNamed = (className: unknown): LayerKind | undefined =>
  KINDS.find(({ stock, msd }) => stock === className || msd === className);

export const kindOf = (className: unknown): LayerKind | undefined => KINDS.find(({ stock }) => stock === className);

/** Convolutions that look at neighbours: what makes a model a CNN. */
export const isSpatial = (className: unknown, config: Field): boolean =>
  /Conv/.test(String(className)) && numbersOf(config('kernelSize')).some((size) => size > 1);
