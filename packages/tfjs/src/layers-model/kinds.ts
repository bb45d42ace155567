/** The layer classes of tfjs-layers that MSD takes: how their weights lie, and what runs on them instead. */
import { gather } from '../gather.ts';
import { type Activation, matMul } from '../mat-mul.ts';
import type { LayersNamespace } from '../peers.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { WeightView } from '../weights/view.ts';
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

export interface LayerKind {
  /** Class name in tfjs-layers. */
  readonly stock: string;
  /** Class name of the layer that stands in its place. */
  readonly msd: string;
  /** The weight that becomes integers: a property of the layer, and its name in files. */
  readonly weight: 'kernel' | 'embeddings';
  readonly isConvolution: boolean;
  /** `run` only multiplies with the weight, through `matMul`. */
  readonly canLevel?: true;
  /** Any layer of the class. */
  sample(layers: LayersNamespace['layers']): object;
  /** How the weight of this shape lies; or why such a layer is left alone. */
  view(shape: readonly number[], config: Field): WeightView | { readonly reason: string };
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

const onlyOne = (inputs: Tensor | Tensor[]): Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/** Activations that `matMul` knows, by the names of tfjs-layers. */
const FUSED: readonly string[] = ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh'];

function product(layer: LayerInternals, w: QuantizedTensor, inputs: Tensor | Tensor[]): Tensor {
  const name = layer.activation?.getClassName() ?? 'linear';
  const isFused = FUSED.includes(name);
  const y = matMul(onlyOne(inputs), w, {
    bias: layer.bias?.read(),
    activation: isFused ? (name as Activation) : 'linear',
  });
  return isFused ? y : layer.activation!.apply(y);
}

const dense: LayerKind = {
  stock: 'Dense',
  msd: 'MsdDense',
  weight: 'kernel',
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

/** Sizes of a window, which configs may give as one number. */
const numbersOf = (value: unknown): number[] => [value].flat().filter((size) => typeof size === 'number');

/** A convolution whose filter sees one place at a time. */
const pointwise = (rank: 1 | 2): LayerKind => ({
  stock: `Conv${rank}D`,
  msd: `MsdConv${rank}D`,
  weight: 'kernel',
  isConvolution: true,
  canLevel: true,
  sample: (layers) => layers[`conv${rank}d`]({ filters: 1, kernelSize: 1, name: 'msd' }),
  view(shape, config) {
    const wrong = notOfRank(rank + 2, shape);
    if (wrong) return wrong;
    const filter = shape.slice(0, -2);
    const [K, N] = shape.slice(-2);
    if (filter.some((size) => size !== 1)) return { reason: `a ${filter.join('x')} filter is no matrix product` };
    if (numbersOf(config('strides')).some((stride) => stride !== 1)) return { reason: 'strides' };
    const dataFormat = String(config('dataFormat') ?? 'channelsLast');
    if (!/last$/i.test(dataFormat)) return { reason: `data format ${dataFormat}` };
    const padding = config('padding') ?? 'valid';
    if (padding !== 'valid' && padding !== 'same') return { reason: `padding ${padding}` };
    return { kind: 'matrix', batchShape: [], N: N!, K: K!, transposed: false };
  },
  run: product,
});

const embedding: LayerKind = {
  stock: 'Embedding',
  msd: 'MsdEmbedding',
  weight: 'embeddings',
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

export const KINDS: readonly LayerKind[] = /* @__PURE__ */ (() => [dense, pointwise(1), pointwise(2), embedding])();

/** The kind of a layer that is stock's or MSD's. */
export const kindNamed = (className: unknown): LayerKind | undefined =>
  KINDS.find(({ stock, msd }) => stock === className || msd === className);

export const kindOf = (className: unknown): LayerKind | undefined => KINDS.find(({ stock }) => stock === className);

/** Convolutions that look at neighbours: what makes a model a CNN. */
export const isSpatial = (className: unknown, config: Field): boolean =>
  /Conv/.test(String(className)) && numbersOf(config('kernelSize')).some((size) => size > 1);
