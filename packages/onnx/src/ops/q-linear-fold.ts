/**
 * Functions of codes that fold many into one: pools, means, softmax. Like those in q-linear.ts a code may differ from ONNX Runtime's by
 * one where the result lies between two; softmax, which it does with a table of integers, by one anywhere.
 */
import {
  type Elementwise,
  elementwiseOnWasm as elementwise,
  reduceOnWasm as reduce,
  softmaxOnWasm as softmax,
} from '@msd/core/nn';
import type { Match, Matcher } from '../passes/matcher.ts';
import { inferGlobal, inferPool } from './conv/index.ts';
import { toChannels } from './conv/positions.ts';
import { pooled, refusedPool } from './conv/slide.ts';
import { windowsOf } from './conv/windows.ts';
import { expressionOf, withoutZero } from './expression.ts';
import { emitOp, type Lowering, type Slot } from './lowering.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';
import { codingsOf } from './q-linear.ts';
import { codesOfSums } from './q-linear-product.ts';
import { addDequantize, type Coding, notCodes } from './quantize.ts';

/** What is done with numbers between codes. */
interface Fold {
  readonly op: string;
  /** What codes are to it: themselves less their zero point, unless it wants what they stand for. */
  readonly ofReal?: boolean;
  readonly run: (to: Lowering, x: Slot) => Slot;
}

/** X with scale and zero point, then those of Y. */
function matchFold(view: NodeView, matcher: Matcher, foldOf: () => Fold | string): Match | string {
  const { node } = view;
  const [x = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const codings = codingsOf(matcher, view, 1);
  if (typeof codings === 'string') return codings;
  const [from, into] = codings as [Coding, Coding];
  const refused = notCodes(matcher, 'X', x) ?? notCodes(matcher, 'Y', y);
  if (refused !== undefined) return refused;
  const fold = foldOf();
  if (typeof fold === 'string') return fold;
  const { op, ofReal = false, run } = fold;
  const before = ofReal ? realOf(from) : withoutZero(from.zeroPoint);
  const behind = codesOfSums(ofReal ? { scale: 1, zeroPoint: 0 } : from, into, matcher.info(y)!.elemType);
  return {
    op,
    place: 'device',
    nodes: [node],
    inputs: [x],
    outputs: [y],
    resources: matcher.constants([x]),
    lower(to) {
      const given = to.slot(x);
      const result = run(to, before ? emitOp(to, elementwise, before, [given], [])[0]! : given);
      emitOp(to, elementwise, behind, [result], [y]);
    },
  };
}

const realOf = (coding: Coding): Elementwise => expressionOf((to, x) => addDequantize(to, x, coding));

const isLast = (view: NodeView): boolean => view.int('channels_last', 0) !== 0;

const matchGlobal: Operator['match'] = (view, matcher) =>
  matchFold(view, matcher, () => {
    if (isLast(view)) return 'channels come last';
    return {
      op: 'reduce',
      run(to, x) {
        const axes = x.dims.flatMap((_, axis) => (axis < 2 ? [] : [axis]));
        return emitOp(to, reduce, { kind: 'mean', axes }, [x], [])[0]!;
      },
    };
  });

const matchAverage: Operator['match'] = (view, matcher) =>
  matchFold(view, matcher, () => {
    const windows = windowsOf(view);
    if (typeof windows === 'string') return windows;
    if (isLast(view)) return 'channels come last';
    return (
      refusedPool(view, windows) ?? {
        op: 'windows',
        run: (to, x) => toChannels(to, pooled(to, view, 'mean', windows, x), ''),
      }
    );
  });

/** Up to version 12 of Softmax over all dimensions from the axis on. */
const matchSoftmax: Operator['match'] = (view, matcher) =>
  matchFold(view, matcher, () => {
    const isOld = view.int('opset', 0) < 13;
    const axis = view.int('axis', isOld ? 1 : -1);
    const rank = matcher.info(view.node.inputs[0] ?? '')?.dims?.length ?? 0;
    if (!isOld && axis !== -1 && axis !== rank - 1) return 'not along the last axis';
    return {
      op: 'softmax',
      ofReal: true,
      run(to, x) {
        const axes = isOld ? x.dims.length - axisOf(view, axis, x.dims.length) : 1;
        return emitOp(to, softmax, { kind: 'softmax', axes }, [x], [])[0]!;
      },
    };
  });

export const qLinearFoldOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.QLinearAveragePool',
    attributes: [
      ...[
        'auto_pad',
        'ceil_mode',
        'channels_last',
        'count_include_pad',
        'dilations',
        'kernel_shape',
        'pads',
        'strides',
      ],
    ],
    infer: inferPool,
    match: matchAverage,
  },
  {
    name: 'com.microsoft.QLinearGlobalAveragePool',
    attributes: ['channels_last'],
    infer: inferGlobal,
    match: matchGlobal,
  },
  {
    name: 'com.microsoft.QLinearSoftmax',
    attributes: ['axis', 'opset'],
    infer: (_, [x]) => [x && { elemType: x.elemType, dims: x.dims }],
    match: matchSoftmax,
  },
];
