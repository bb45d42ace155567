/** Convolutions of one group: windows of the image as rows, times the weights as a matrix [channels out, taps · channels in]. */
import { type Elementwise, elementwise, matMul } from '@msd/core/nn';
import { countOf } from '../../dims.ts';
import type { GraphNode } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { TensorRef } from '../../read/tensor.ts';
import { weightsOf } from '../../weights/constant.ts';
import type { Matrix } from '../../weights/matrix.ts';
import { reordered } from '../../weights/reordered.ts';
import { atLoad } from '../at-load.ts';
import { emitOp, type Lowering, type Resource, type Slot } from '../lowering.ts';
import type { NodeView } from '../operator.ts';
import { productInOrt } from '../quantize.ts';
import { type Bias, biasInputs, biasResources, biasSlot, through } from './ends.ts';
import { multiplyWindows, tapOrder, toChannels, toPositions } from './positions.ts';
import { depthwise, isDepthwise } from './slide.ts';
import { isPointwise, placed, type Windows, windowsOf } from './windows.ts';

/** A convolution's operands, whichever nodes spell it. */
export interface Convolution {
  /** In topological order, the one that makes `y` last. */
  readonly nodes: readonly GraphNode[];
  /** f32 [batch, channels, …] */
  readonly x: string;
  readonly windows: Windows;
  /** Quantized, or floats [K, N] of the file. */
  readonly weights: { readonly matrix: Matrix } | { readonly floats: Floats };
  /** f32 [channels out], by its name or as a constant of the match alone; '' = none. */
  readonly bias?: Bias | undefined;
  readonly y: string;
  /** What x goes through before it is multiplied, and what is multiplied before it is y. Zeros stay zeros before. */
  readonly before?: Elementwise | undefined;
  readonly behind?: Elementwise | undefined;
  readonly inOrt?: NonNullable<Match['product']>['inOrt'];
}

interface Floats {
  readonly N: number;
  readonly K: number;
  readonly resource: Resource;
}

export function convolution(view: NodeView, matcher: Matcher, conv: Convolution): Match {
  const { nodes, x, windows, weights, bias = '', y, before, behind, inOrt } = conv;
  const isQuantized = 'matrix' in weights;
  const { N, K } = isQuantized ? weights.matrix : weights.floats;
  const channels = K / countOf(windows.kernel);
  const resource: Resource = isQuantized
    ? { kind: 'matrix', key: weights.matrix.key, matrix: weights.matrix }
    : weights.floats.resource;
  return {
    op: isQuantized ? 'product' : 'float product',
    place: 'device',
    nodes,
    inputs: biasInputs(x, bias),
    outputs: [y],
    resources: [resource, ...biasResources(matcher, x, bias)],
    product: { N, K, quantized: isQuantized, inOrt, gathers: !isPointwise(windows) },
    lower(to) {
      const { dims } = to.info(x);
      if (dims.length !== windows.kernel.length + 2 || dims[1] !== channels)
        view.fail(
          'X',
          `[batch, ${channels}, …] of ${windows.kernel.length} spatial dimensions`,
          `[${dims.join(', ')}]`,
        );
      const at = placed(view, windows, dims.slice(2));
      const rows = toPositions(to, through(to, before, to.slot(x)));
      const added = biasSlot(to, bias);
      const multiply = isQuantized ? quantizedRows(to, resource.key, added) : floatRows(to, to.slot(resource.key));
      const products = multiplyWindows(to, windows, at, rows, N, multiply);
      toChannels(to, through(to, behind, !isQuantized && added ? sumOf(to, products, added) : products), y);
    },
  };
}

const quantizedRows =
  (to: Lowering, matrix: string, bias: Slot | undefined) =>
  (x: Slot, y: Slot): void =>
    to.step({ kind: 'product', x, matrix, bias, y });

const floatRows =
  (to: Lowering, weights: Slot) =>
  (x: Slot, y: Slot): void =>
    to.step({ kind: 'op', spec: matMul, op: {}, inputs: [x, weights], outputs: [y] });

function sumOf(to: Lowering, x: Slot, bias: Slot): Slot {
  return emitOp(to, elementwise, { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] }, [x, bias], [])[0]!;
}

/** Conv with weights of the file, quantized while they are loaded or not. */
export function matchConv(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', w = '', bias = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const refused =
    matcher.notFloat('X', x) ?? matcher.notFloat('W', w) ?? (bias === '' ? undefined : matcher.notFloat('B', bias));
  if (refused !== undefined) return refused;
  const tensor = matcher.tensor(w);
  if (!tensor) return 'W is not constant';
  if (isDepthwise(view, tensor)) return depthwise(view, matcher, { nodes: [node], x, w, bias, y });
  const shape = shapeOf(view, tensor);
  if (typeof shape === 'string') return shape;
  const { N, K, windows, order } = shape;
  const file = ofTheFile(matcher, w, shape);
  const matrix = file ?? atLoad(view, matcher, w, () => ({ N, K, isTransposed: false, order, inBlocks: true }));
  if (typeof matrix === 'string') return matrix;
  const weights = matrix ? { matrix } : { floats: { N, K, resource: floatWeights(matcher, w, N, K, order) } };
  const inOrt = file && productInOrt(matcher, x, y) === 'codes' ? 'codes' : 'floats';
  return convolution(view, matcher, { nodes: [node], x, windows, weights, bias, y, inOrt });
}

/**
 * The integers that a DequantizeLinear makes the weights of. In blocks along K, whose k cannot change places, they become floats, unless
 * the file has all channels of a tap side by side, as rows do.
 */
function ofTheFile(matcher: Matcher, name: string, { N, K, order, windows }: WeightShape): Matrix | undefined {
  const taps = windows.kernel.map((_, d) => d + 2);
  const inOrder = order && weightsOf(matcher, name, true, [N, K], [0, ...taps, 1]);
  if (inOrder?.kind === 'matrix') return inOrder.matrix;
  const found = weightsOf(matcher, name, true, [N, K]);
  if (found?.kind !== 'matrix') return undefined;
  const { matrix } = found;
  if (order && !(matrix.format === 'int8' && matrix.blockSize === null)) return undefined;
  return reordered(matrix, order);
}

interface WeightShape {
  readonly N: number;
  readonly K: number;
  readonly windows: Windows;
  /** Which k of the file each k of a row is. */
  readonly order: Int32Array | undefined;
}

/** What weights [N, channels, …] are as a matrix, and where its windows lie. */
export function shapeOf(view: NodeView, { dims }: TensorRef): WeightShape | string {
  const [N = 0, channels = 0, ...kernel] = dims;
  const windows = windowsOf(view, kernel);
  if (typeof windows === 'string') return windows;
  const group = view.int('group', 1);
  if (group !== 1) return `${group} groups`;
  const K = channels * countOf(kernel);
  if (!(N > 0 && K > 0)) return `W has shape [${dims.join(', ')}]`;
  return { N, K, windows, order: tapOrder(channels, countOf(kernel)) };
}

/** Float weights [N, K] as [K, N], K in the order of rows. */
function floatWeights(matcher: Matcher, name: string, N: number, K: number, order: Int32Array | undefined): Resource {
  const of = (values: Float32Array): Float32Array => {
    const out = new Float32Array(values.length);
    for (let k = 0; k < K; k++) {
      const from = order ? order[k]! : k;
      for (let n = 0; n < N; n++) out[k * N + n] = values[n * K + from]!;
    }
    return out;
  };
  const resource = matcher.values(name);
  if (resource.kind !== 'values') return resource;
  return { ...resource, key: `${name} as [${K}, ${N}]`, arranged: { dims: [K, N], of } };
}
