/**
 * Convolutions: windows of the image as rows, times the weights as a matrix [channels out, taps · channels in]. Of several groups each has
 * channels, rows and a matrix of its own.
 */
import {
  concat,
  copyOnWasm as copy,
  type Elementwise,
  elementwiseOnWasm as elementwise,
  matMulOnWasm as matMul,
  slice,
} from '@msd/core/nn';
import { countOf } from '../../dims.ts';
import type { GraphNode } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { TensorRef } from '../../read/tensor.ts';
import { weightsOf } from '../../weights/constant.ts';
import type { Matrix } from '../../weights/matrix.ts';
import { reordered, someRows } from '../../weights/reordered.ts';
import { atLoad } from '../at-load.ts';
import { emitOp, type Lowering, part, type Resource, type Slot } from '../lowering.ts';
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
  readonly groups: number;
  /** Quantized, or floats of the file: [K, channels out of a group] for each group. */
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
  const { nodes, x, windows, groups, weights, bias = '', y, before, behind, inOrt } = conv;
  const isQuantized = 'matrix' in weights;
  const { N, K } = isQuantized ? weights.matrix : weights.floats;
  const outs = N / groups;
  const own = K / countOf(windows.kernel);
  const channels = own * groups;
  const each = [...new Array<number>(groups).keys()];
  const matrices = isQuantized ? each.map((g) => someRows(weights.matrix, g * outs, outs)) : [];
  const resources = isQuantized
    ? matrices.map((matrix): Resource => ({ kind: 'matrix', key: matrix.key, matrix }))
    : [weights.floats.resource];
  return {
    op: isQuantized ? 'product' : 'float product',
    place: 'device',
    nodes,
    inputs: biasInputs(x, bias),
    outputs: [y],
    resources: [...resources, ...biasResources(matcher, x, bias)],
    product: { N: outs, K, quantized: isQuantized, inOrt, gathers: !isPointwise(windows) },
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
      const isAdded = isQuantized && groups === 1; // by the product
      const products = each.map((g) => {
        const weighed = isQuantized
          ? quantizedRows(to, matrices[g]!.key, isAdded ? added : undefined)
          : floatRows(to, part(to.slot(resources[0]!.key), g * K * outs, [K, outs]));
        return multiplyWindows(to, windows, at, channelsOf(to, rows, g * own, own), outs, weighed);
      });
      const all = joined(to, products);
      toChannels(to, through(to, behind, added && !isAdded ? sumOf(to, all, added) : all), y);
    },
  };
}

/** Some of x's channels. @param x f32 [batch, …, channels] */
function channelsOf(to: Lowering, x: Slot, first: number, count: number): Slot {
  if (count === x.dims.at(-1)) return x;
  return emitOp(to, copy, slice(x.dims, { starts: [first], ends: [first + count], axes: [-1] }), [x], [])[0]!;
}

/** Channels of all groups side by side. */
function joined(to: Lowering, parts: readonly Slot[]): Slot {
  if (parts.length === 1) return parts[0]!;
  const op = concat(
    parts.map(({ dims }) => dims),
    -1,
  );
  return emitOp(to, copy, op, parts, [])[0]!;
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
  const { N, K, windows, groups, order } = shape;
  const file = ofTheFile(matcher, w, shape);
  const matrix = file ?? atLoad(view, matcher, w, () => ({ N, K, isTransposed: false, order, inBlocks: true }));
  if (typeof matrix === 'string') return matrix;
  const weights = matrix ? { matrix } : { floats: { N, K, resource: floatWeights(matcher, w, shape) } };
  const inOrt = file && productInOrt(matcher, x, y) === 'codes' ? 'codes' : 'floats';
  return convolution(view, matcher, { nodes: [node], x, windows, groups, weights, bias, y, inOrt });
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
  readonly groups: number;
  /** Which k of the file each k of a row is. */
  readonly order: Int32Array | undefined;
}

/** Each takes steps of its own. */
const MOST_GROUPS = 64;

/** What weights [N, channels of a group, …] are as a matrix, and where its windows lie. */
export function shapeOf(view: NodeView, { dims }: TensorRef): WeightShape | string {
  const [N = 0, channels = 0, ...kernel] = dims;
  const windows = windowsOf(view, kernel);
  if (typeof windows === 'string') return windows;
  const groups = view.int('group', 1);
  if (!(groups >= 1 && groups <= MOST_GROUPS) || N % groups !== 0) return `${groups} groups`;
  const K = channels * countOf(kernel);
  if (!(N > 0 && K > 0)) return `W has shape [${dims.join(', ')}]`;
  return { N, K, windows, groups, order: tapOrder(channels, countOf(kernel)) };
}

/** Float weights [N, K] as [K, outs] for each group, one after the other, K in the order of rows. */
function floatWeights(matcher: Matcher, name: string, { N, K, groups, order }: WeightShape): Resource {
  const outs = N / groups;
  const of = (values: Float32Array): Float32Array => {
    const out = new Float32Array(values.length);
    let at = 0;
    for (let first = 0; first < N; first += outs)
      for (let k = 0; k < K; k++) {
        const from = order ? order[k]! : k;
        for (let n = first; n < first + outs; n++) out[at++] = values[n * K + from]!;
      }
    return out;
  };
  const resource = matcher.values(name);
  if (resource.kind !== 'values') return resource;
  const dims = groups === 1 ? [K, N] : [groups, K, outs];
  return { ...resource, key: `${name} as [${dims.join(', ')}]`, arranged: { dims, of } };
}
