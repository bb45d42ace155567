/**
 * DepthwiseConv2D of tfjs-layers. The layer stays what it is, with float weights that can be trained, and stock's in files that are
 * saved: only what runs is MSD's kernel, where that one is quicker.
 */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { depthwiseConv2d } from '../convolution/conv2d.ts';
import { prepareConvolutions } from '../convolution/kernels.ts';
import { depthwiseGain, roundedGain } from '../convolution/price.ts';
import type { ConvolutionWindow } from '../convolution/window.ts';
import { whyUnwanted } from '../graph-model/options.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { LayersNamespace } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { windowOf } from './convolutions.ts';
import { type Field, fieldOf, isSpatial, type LayerInternals } from './kinds.ts';
import { perCopy } from './per-copy.ts';
import { layersOf, type Place, replaceMembers } from './places.ts';
import { isTransparent } from './plan.ts';
import { onlyOne, withActivation } from './products.ts';

export const DEPTHWISE_LAYER = 'DepthwiseConv2D';
const MSD = `Msd${DEPTHWISE_LAYER}`;
/** Its weight in files. */
export const DEPTHWISE_LEAF = 'depthwise_kernel';

export interface DepthwiseLayer extends LayerInternals {
  readonly kernelSize: readonly number[];
  readonly depthwiseKernel?: { readonly shape: number[]; read(): Tensor } | null;
}
type DepthwiseClass = new (config: Record<string, unknown>) => DepthwiseLayer;

/** Layers that run on MSD's kernel. */
const taken = /* @__PURE__ */ new WeakSet<LayerInternals>();
/** Registers the class that stands in the layer's place while a file is read. @returns the stock class */
export function registerDepthwise(namespace: LayersNamespace): DepthwiseClass {
  const { tf } = requireRegistration('layers');
  const { stock, own } = classesOf(namespace);
  tf.serialization.registerClass(own as never);
  return stock;
}

const classesOf = /* @__PURE__ */ perCopy(({ layers }) => {
  const stock = layers.depthwiseConv2d({ kernelSize: 1, name: 'msd' }).constructor as DepthwiseClass;
  return { stock, own: ownClass(stock) };
});

const ownClass = (Stock: DepthwiseClass): DepthwiseClass =>
  class extends Stock {
    static className = MSD;

    constructor(config: Record<string, unknown>) {
      super(config);
      void prepareConvolutions();
      taken.add(this);
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return runDepthwise(this, inputs);
    }

    /** As what it is saved. */
    override getClassName(): string {
      return DEPTHWISE_LAYER;
    }
  };

const windows = /* @__PURE__ */ new WeakMap<LayerInternals, ConvolutionWindow>();

function runDepthwise(layer: DepthwiseLayer, inputs: Tensor | Tensor[]): Tensor {
  const { tf } = requireRegistration(DEPTHWISE_LAYER);
  let window = windows.get(layer);
  if (!window) {
    const found = windowOf(layer.kernelSize, 2, fieldOf(layer.getConfig())) as ConvolutionWindow; // the layer was taken for it
    windows.set(layer, (window = { ...found, dilations: [1, 1] })); // tfjs-layers leaves dilations out of this layer
  }
  return tf.tidy(() =>
    withActivation(layer, (end) => depthwiseConv2d(onlyOne(inputs), layer.depthwiseKernel!.read(), window, end)),
  );
}

/**
 * What becomes of a layer, in a file or in a model.
 *
 * @param shape of its kernel
 * @returns its line of the report
 */
export function depthwiseNode(
  {
    name,
    shape = [],
    config,
  }: { readonly name: string; readonly shape?: readonly number[] | undefined; readonly config: Field },
  isCnn: boolean,
  options: RewriteOptions,
): NodeReport {
  const left = (reason: string): NodeReport => ({ name, op: DEPTHWISE_LAYER, where: 'tfjs', reason });
  const [down, across, channels, multiplier] = shape;
  if (!channels) return left(`weights of ${shape.length} dimensions, expected 4`);
  if (multiplier !== 1) return left(`${multiplier} results of each channel`);
  const window = windowOf([down!, across!], 2, config);
  if ('reason' in window) return left(window.reason);
  const gain = depthwiseGain(window, channels);
  const size = Number.POSITIVE_INFINITY; // float weights cost nothing, however few they are
  const reason = whyUnwanted({ size, isTable: false, isConvolution: true, isCnn, gain }, options);
  return reason === undefined ? takenNode(name, gain) : left(reason);
}

const takenNode = (name: string, gain: number): NodeReport => ({
  name,
  op: DEPTHWISE_LAYER,
  where: 'msd',
  msdOp: MSD,
  predictedGain: roundedGain(gain),
});

export interface TakenDepthwise {
  /** Of all layers of the class. */
  readonly nodes: readonly NodeReport[];
  readonly undo: readonly (() => void)[];
}

/** Layers of a model that is there already. */
export async function takeDepthwise(
  model: LayersModel,
  namespace: LayersNamespace,
  options: RewriteOptions,
): Promise<TakenDepthwise> {
  const places = layersOf(model);
  const own = places.filter(({ layer }) => layer.getClassName() === DEPTHWISE_LAYER);
  if (own.length === 0) return { nodes: [], undo: [] };
  const Stock = registerDepthwise(namespace);
  const isCnn = places.some(({ layer }) => isSpatial(layer.getClassName(), (name) => fieldOf(layer.getConfig())(name)));
  const nodes: NodeReport[] = [];
  const undo: (() => void)[] = [];
  for (const place of own) {
    const { layer, name } = place;
    const { depthwiseKernel, getConfig } = layer as DepthwiseLayer;
    const config = fieldOf(getConfig.call(layer));
    if (taken.has(layer)) {
      const [down, across, channels] = depthwiseKernel!.shape as [number, number, number];
      nodes.push(takenNode(name, depthwiseGain(windowOf([down, across], 2, config) as ConvolutionWindow, channels)));
      continue;
    }
    const reason = whyNot(place, Stock);
    const node: NodeReport = reason
      ? { name, op: DEPTHWISE_LAYER, where: 'tfjs', reason }
      : depthwiseNode({ name, shape: depthwiseKernel?.shape, config }, isCnn, options);
    nodes.push(node);
    if (node.where === 'tfjs') continue;
    await prepareConvolutions();
    undo.push(takeOver(layer as DepthwiseLayer));
  }
  return { nodes, undo };
}

function whyNot({ layer, wrapper }: Place, Stock: unknown): string | undefined {
  if (!isTransparent(wrapper)) return `inside of ${wrapper}`;
  if (layer.constructor !== Stock) return `a class of its own behind the name ${DEPTHWISE_LAYER}`;
  if (Object.hasOwn(layer, 'call')) return 'its call has been replaced';
  return (layer as DepthwiseLayer).depthwiseKernel ? undefined : 'not built yet';
}

function takeOver(layer: DepthwiseLayer): () => void {
  const putBack = replaceMembers(layer, { call: (inputs: Tensor | Tensor[]) => runDepthwise(layer, inputs) });
  taken.add(layer);
  return () => {
    taken.delete(layer);
    putBack();
  };
}

/** The report with these nodes in place of what it said of them. */
export function withNodes(report: ModelReport, nodes: readonly NodeReport[]): ModelReport {
  const known = new Map(nodes.map((node) => [node.name, node]));
  const merged = report.nodes.map((node) => {
    const now = known.get(node.name);
    if (!now) return node;
    return now.where === 'tfjs' && node.bytes !== undefined ? { ...now, bytes: node.bytes } : now;
  });
  return { ...report, nodes: merged };
}
