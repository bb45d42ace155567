/** What slides over each channel for itself: depthwise convolutions and pools. */

import {
  copyOnWasm as copy,
  pad as copyPad,
  type Elementwise,
  elementwiseOnWasm as elementwise,
  type ReduceKind,
  reduceOnWasm as reduce,
  type WindowsOp,
  windowSpan,
  windowsOnWasm as windowsSpec,
} from '@msd/core/nn';
import { FLOAT32 } from '../../data-types.ts';
import { countOf } from '../../dims.ts';
import type { GraphNode } from '../../ir/graph.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { TensorRef } from '../../read/tensor.ts';
import { emitOp, type Lowering, part, type Resource, type Slot } from '../lowering.ts';
import type { NodeView } from '../operator.ts';
import { CODE_RANGES, notCodes } from '../quantize.ts';
import { type Bias, biasInputs, biasResources, biasSlot, through } from './ends.ts';
import { toChannels, toPositions } from './positions.ts';
import { type Placed, placed, type Windows, windowsOf } from './windows.ts';

/** What ONNX Runtime gives for a window that holds nothing but pads. */
const LOWEST = -3.4028234663852886e38;

/** Two dimensions, the first of 1 where there is only one. */
const pairOf = (sizes: readonly number[]): [number, number] =>
  sizes.length === 1 ? [1, sizes[0]!] : [sizes[0]!, sizes[1]!];

const opOf = (
  kind: WindowsOp['kind'],
  { kernel, strides, dilations }: Windows,
  pads: WindowsOp['pads'],
): WindowsOp => ({
  kind,
  pads,
  kernel: pairOf(kernel),
  strides: pairOf(strides),
  dilations: pairOf(dilations),
});

interface Sliding {
  readonly kind: WindowsOp['kind'];
  readonly windows: Windows;
  readonly at: Placed;
  /** Of the elements around x. */
  readonly value: number;
  readonly weights?: readonly (Slot | undefined)[];
}

/** Slides over x, [batch, …, channels] like the result. */
function slide(to: Lowering, x: Slot, { kind, windows, at, value, weights = [] }: Sliding): Slot {
  const dims = imageDims(x.dims);
  const [before, after] = [at.before, behind(windows, at, x.dims.slice(1, -1))].map((own) => [0, ...pairWith0(own), 0]);
  const image = part(x, 0, dims);
  // Sums of products know edges themselves.
  const pads = kind === 'weighted' ? padsOf(before!, after!) : undefined;
  const isPadded = !pads && [...before!, ...after!].some((own) => own !== 0);
  const padded = isPadded
    ? emitOp(to, copy, copyPad(dims, { before: before!, after: after!, value }), [image], [])[0]!
    : image;
  const [y] = emitOp(to, windowsSpec, opOf(kind, windows, pads), [padded, ...weights], []);
  return part(y!, 0, [x.dims[0]!, ...at.out, x.dims.at(-1)!]);
}

/** What windows do not reach behind the image is no pad. */
const padsOf = (before: readonly number[], after: readonly number[]): [number, number, number, number] => [
  before[1]!,
  Math.max(0, after[1]!),
  before[2]!,
  Math.max(0, after[2]!),
];

/** [batch, height, width, channels] */
const imageDims = (dims: readonly number[]): number[] => [dims[0]!, ...pairOf(dims.slice(1, -1)), dims.at(-1)!];

const pairWith0 = (sizes: readonly number[]): number[] => (sizes.length === 1 ? [0, sizes[0]!] : [...sizes]);

/** Elements that are missing behind the image: fewer than the pads where the last window ends before them, more where it ends after. */
function behind(
  { kernel, strides, dilations }: Windows,
  { out, before }: Placed,
  spatial: readonly number[],
): number[] {
  return spatial.map(
    (size, d) => (out[d]! - 1) * strides[d]! + (kernel[d]! - 1) * dilations[d]! + 1 - before[d]! - size,
  );
}

/** A convolution with a group for each channel, and one result of each. */
export interface Depthwise {
  /** In topological order, the one that makes `y` last. */
  readonly nodes: readonly GraphNode[];
  /** f32 [batch, channels, …] */
  readonly x: string;
  /** [channels, 1, …] of the file. */
  readonly w: string;
  /** f32 [channels]; '' = none. */
  readonly bias: Bias;
  readonly y: string;
  /** What x goes through before windows are summed up, and their sums before they are y. Zeros stay zeros before. */
  readonly before?: Elementwise | undefined;
  readonly behind?: Elementwise | undefined;
  /** What its elements stand for, in their order. Default: themselves. Equal keys are equal functions. */
  readonly real?: { readonly key: string; of(values: Float32Array): Float32Array } | undefined;
}

export const isDepthwise = (view: NodeView, { dims }: TensorRef): boolean =>
  view.int('group', 1) > 1 && view.int('group', 1) === dims[0] && dims[1] === 1;

export function depthwise(view: NodeView, matcher: Matcher, conv: Depthwise): Match | string {
  const { nodes, x, w, bias, y, before, behind: after, real } = conv;
  const dims = matcher.tensor(w)!.dims;
  const [channels = 0, , ...kernel] = dims;
  const windows = windowsOf(view, kernel);
  if (typeof windows === 'string') return windows;
  const taps = countOf(kernel);
  const weights: Resource = {
    kind: 'values',
    key: `${w}${real ? ` ${real.key}` : ''} as [${taps}, ${channels}]`,
    info: matcher.info(w)!,
    tensor: matcher.tensor(w),
    transposed: false,
    arranged: {
      dims: [taps, channels],
      of: (values) => {
        const own = real ? real.of(values) : values;
        return Float32Array.from(own, (_, i) => own[(i % channels) * taps + Math.floor(i / channels)]!);
      },
    },
  };
  return {
    op: 'windows',
    place: 'device',
    nodes,
    inputs: biasInputs(x, bias),
    outputs: [y],
    resources: [weights, ...biasResources(matcher, x, bias)],
    product: { N: channels, K: taps, quantized: false },
    lower(to) {
      const given = to.info(x).dims;
      if (given.length !== kernel.length + 2 || given[1] !== channels)
        view.fail('X', `[batch, ${channels}, …] of ${kernel.length} spatial dimensions`, `[${given.join(', ')}]`);
      const at = placed(view, windows, given.slice(2));
      const image = toPositions(to, through(to, before, to.slot(x)));
      const own = [to.slot(weights.key), biasSlot(to, bias)];
      const sums = slide(to, image, { kind: 'weighted', windows, at, value: 0, weights: own });
      toChannels(to, through(to, after, sums), y);
    },
  };
}

/** MaxPool or AveragePool. */
export const matchPool =
  (kind: 'mean' | 'max') =>
  (view: NodeView, matcher: Matcher): Match | string => {
    const { node } = view;
    const [x = ''] = node.inputs;
    const [y = '', ...others] = node.outputs;
    const windows = windowsOf(view);
    if (typeof windows === 'string') return windows;
    if (others.some((name) => name !== '')) return 'indices are an output';
    if (view.int('storage_order', 0) !== 0) return 'storage_order is not 0';
    // The largest of codes is the code of the largest.
    const ends = kind === 'max' ? CODE_RANGES.get(matcher.info(x)?.elemType ?? 0) : undefined;
    const refused = ends ? notCodes(matcher, 'X', x) : matcher.notFloat('X', x);
    if (refused !== undefined) return refused;
    const bad = refusedPool(view, windows);
    if (bad !== undefined) return bad;
    return {
      op: 'windows',
      place: 'device',
      nodes: [node],
      inputs: [x],
      outputs: [y],
      resources: matcher.constants([x]),
      lower: (to) => void toChannels(to, pooled(to, view, kind, windows, to.slot(x), ends?.[0]), y),
    };
  };

/** @returns why a pool's pads are not known */
export function refusedPool(view: NodeView, windows: Windows): string | undefined {
  return windows.ceil && countsPads(view) ? 'ceil_mode and pads that count' : oddPads(windows);
}

/**
 * Of strides beyond a window, ONNX Runtime's pools have negative pads or none, from one version of the operator to the next; of dilated
 * windows, pads as if they were not.
 */
export function oddPads(windows: Windows): string | undefined {
  const { strides, dilations, pads } = windows;
  const isOdd = strides.some((stride, d) => stride > windowSpan(windows, d) || dilations[d]! > 1);
  return isOdd && typeof pads === 'string' ? 'auto_pad and wide strides or dilations' : undefined;
}

const countsPads = (view: NodeView): boolean => view.int('count_include_pad', 0) !== 0;

/**
 * A pool of x [batch, channels, …].
 *
 * @param least of what x can be: the largest of nothing
 * @returns f32 [batch, …, channels]
 */
export function pooled(
  to: Lowering,
  view: NodeView,
  kind: 'mean' | 'max',
  windows: Windows,
  x: Slot,
  least = LOWEST,
): Slot {
  const spatial = x.dims.slice(2);
  // What counts of such a window depends on the version where pads count.
  const at = placed(view, windows, spatial, kind === 'max' || !countsPads(view) ? [0, 1] : [0]);
  if (at.out.includes(0))
    return to.constant({ elemType: FLOAT32, dims: [x.dims[0]!, ...at.out, x.dims[1]!], data: [] });
  const all = slide(to, toPositions(to, x), { kind, windows, at, value: kind === 'max' ? least : 0 });
  return kind === 'max' || countsPads(view) ? all : withoutPads(to, windows, at, spatial, all);
}

/** Means of windows that lie partly outside, of what lies inside. */
function withoutPads(to: Lowering, windows: Windows, at: Placed, spatial: readonly number[], pooled: Slot): Slot {
  const { kernel, strides, dilations } = windows;
  const inside = at.out.map((out, d) =>
    Array.from({ length: out }, (_, i) => {
      const first = i * strides[d]! - at.before[d]!;
      const taps = Array.from({ length: kernel[d]! }, (_, t) => first + t * dilations[d]!);
      return taps.filter((place) => place >= 0 && place < spatial[d]!).length;
    }),
  );
  const taps = countOf(kernel);
  const factors = inside.reduce<number[]>((all, own) => all.flatMap((outer) => own.map((count) => outer * count)), [1]);
  if (factors.every((count) => count === taps)) return pooled;
  // A window that lies outside altogether gives 0, as in ONNX Runtime.
  const data = factors.map((count) => (count === 0 ? 0 : Math.fround(taps / count)));
  const factor = to.constant({ elemType: FLOAT32, dims: [...at.out, 1], data });
  return emitOp(to, elementwise, { nodes: [{ fn: 'Mul', args: [0, 1] }], outputs: [2] }, [pooled, factor], [])[0]!;
}

/** GlobalAveragePool, GlobalMaxPool: [batch, channels, …] -> [batch, channels, 1, …] */
export const matchGlobal =
  (kind: ReduceKind) =>
  ({ node }: NodeView, matcher: Matcher): Match | string => {
    const [x = ''] = node.inputs;
    return (
      matcher.notFloat('X', x) ?? {
        op: 'reduce',
        place: 'device',
        nodes: [node],
        inputs: [x],
        outputs: node.outputs,
        resources: matcher.constants([x]),
        lower(to) {
          const axes = to.info(x).dims.flatMap((_, axis) => (axis < 2 ? [] : [axis]));
          emitOp(to, reduce, { kind, axes }, [to.slot(x)], node.outputs);
        },
      }
    );
  };

/** x · scale / √(variance + ε) + (bias − mean · scale / √(variance + ε)), numbers of each channel. */
export function matchBatchNorm(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', ...numbers] = node.inputs;
  const [y = '', ...others] = node.outputs;
  if (others.some((name) => name !== '') || view.int('training_mode', 0) !== 0) return 'it is being trained';
  if (view.int('spatial', 1) !== 1) return 'spatial is not 1';
  for (const [i, name] of ['X', 'scale', 'B', 'mean', 'var'].entries()) {
    const refused = matcher.notFloat(name, node.inputs[i] ?? '');
    if (refused !== undefined) return refused;
  }
  const epsilon = view.float('epsilon', 1e-5);
  const inputs = [x, ...numbers];
  return {
    op: 'elementwise',
    place: 'device',
    nodes: [node],
    inputs,
    outputs: [y],
    resources: matcher.constants(inputs),
    lower(to) {
      const own = to.slot(x);
      const rank = own.dims.length;
      const perChannel = numbers.map((name) => {
        const slot = to.slot(name);
        return part(slot, 0, [countOf(slot.dims), ...new Array<number>(Math.max(0, rank - 2)).fill(1)]);
      });
      const [scale, bias, mean, variance] = perChannel as [Slot, Slot, Slot, Slot];
      const [factor, offset] = emitOp(to, elementwise, foldedNorm(epsilon), [scale, bias, mean, variance], []);
      const sum = {
        nodes: [
          { fn: 'Mul' as const, args: [0, 1] },
          { fn: 'Add' as const, args: [3, 2] },
        ],
        outputs: [4],
      };
      emitOp(to, elementwise, sum, [own, factor, offset], [y]);
    },
  };
}

/** Of scale, bias, mean and variance: what multiplies, and what is added. */
const foldedNorm = (epsilon: number) => ({
  nodes: [
    { fn: 'ConstantF32' as const, args: [], values: [epsilon] },
    { fn: 'Add' as const, args: [3, 4] },
    { fn: 'Sqrt' as const, args: [5] },
    { fn: 'Div' as const, args: [0, 6] },
    { fn: 'Mul' as const, args: [2, 7] },
    { fn: 'Sub' as const, args: [1, 8] },
  ],
  outputs: [7, 9],
});
