/**
 * DepthwiseConv2D of tfjs-layers. The layer stays what it is, with float weights that can be trained, in files too: only what runs is
 * MSD's kernel, where that one is quicker.
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
import { fieldOf, isSpatial, type LayerInternals } from './kinds.ts';
import { layersOf, type Place, replaceMembers } from './places.ts';
import { isTransparent } from './plan.ts';
import { onlyOne, withActivation } from './products.ts';

const STOCK = 'DepthwiseConv2D';

interface DepthwiseLayer extends LayerInternals {
  readonly depthwiseKernel?: { readonly shape: number[]; read(): Tensor } | null;
}

/** Of layers that run on MSD's kernel. */
const taken = /* @__PURE__ */ new WeakMap<LayerInternals, NodeReport>();

export interface TakenDepthwise {
  /** Of all layers of the class. */
  readonly nodes: readonly NodeReport[];
  readonly undo: readonly (() => void)[];
}

export async function takeDepthwise(
  model: LayersModel,
  { layers }: LayersNamespace,
  options: RewriteOptions,
): Promise<TakenDepthwise> {
  const places = layersOf(model);
  const own = places.filter(({ layer }) => layer.getClassName() === STOCK);
  if (own.length === 0) return { nodes: [], undo: [] };
  const Stock = layers.depthwiseConv2d({ kernelSize: 1, name: 'msd' }).constructor;
  const isCnn = places.some(({ layer }) => isSpatial(layer.getClassName(), (name) => fieldOf(layer.getConfig())(name)));
  const nodes: NodeReport[] = [];
  const undo: (() => void)[] = [];
  for (const place of own) {
    const { layer, name } = place;
    let node = taken.get(layer);
    if (!node) {
      const plan = planOf(place, Stock, isCnn, options);
      if ('reason' in plan) {
        nodes.push({ name, op: STOCK, where: 'tfjs', reason: plan.reason });
        continue;
      }
      await prepareConvolutions();
      const { window, predictedGain } = plan;
      node = { name, op: STOCK, where: 'msd', msdOp: 'MsdDepthwiseConv2D', predictedGain };
      undo.push(takeOver(layer, window, node));
    }
    nodes.push(node);
  }
  return { nodes, undo };
}

function planOf(
  { layer, wrapper }: Place,
  Stock: unknown,
  isCnn: boolean,
  options: RewriteOptions,
): { readonly window: ConvolutionWindow; readonly predictedGain: number } | { readonly reason: string } {
  const [down, across, channels, multiplier] = (layer as DepthwiseLayer).depthwiseKernel?.shape ?? [];
  if (!isTransparent(wrapper)) return { reason: `inside of ${wrapper}` };
  if (layer.constructor !== Stock) return { reason: `a class of its own behind the name ${STOCK}` };
  if (Object.hasOwn(layer, 'call')) return { reason: 'its call has been replaced' };
  if (!channels) return { reason: 'not built yet' };
  if (multiplier !== 1) return { reason: `${multiplier} results of each channel` };
  const window = windowOf([down!, across!], 2, fieldOf(layer.getConfig()));
  if ('reason' in window) return window;
  const gain = depthwiseGain(window, channels);
  const size = Number.POSITIVE_INFINITY; // float weights cost nothing, however few they are
  const reason = whyUnwanted({ size, isTable: false, isConvolution: true, isCnn, gain }, options);
  return reason === undefined ? { window, predictedGain: roundedGain(gain) } : { reason };
}

function takeOver(layer: LayerInternals, window: ConvolutionWindow, node: NodeReport): () => void {
  const { depthwiseKernel } = layer as DepthwiseLayer;
  const plain = { ...window, dilations: [1, 1] as const }; // tfjs-layers leaves them out of this layer
  const { tf } = requireRegistration(STOCK);
  const putBack = replaceMembers(layer, {
    call: (inputs: Tensor | Tensor[]) =>
      tf.tidy(() =>
        withActivation(layer, (end) => depthwiseConv2d(onlyOne(inputs), depthwiseKernel!.read(), plain, end)),
      ),
  });
  taken.set(layer, node);
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
