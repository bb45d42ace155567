/** Convolutions and what lies between them. */
import { INT32, INT64 } from '../../data-types.ts';
import type { Operator, Pattern } from '../operator.ts';
import { matchConv } from './conv.ts';
import { convIntegerChain } from './integer.ts';
import { matchQLinearConv } from './q-linear.ts';
import { matchBatchNorm, matchGlobal, matchPool, oddPads } from './slide.ts';
import { inferWindows, windowsOf } from './windows.ts';

const ATTRIBUTES = ['auto_pad', 'dilations', 'group', 'kernel_shape', 'pads', 'strides'] as const;

/** [batch, channels out, …] */
const infer =
  (elemType?: number): Operator['infer'] =>
  (view, [x, w], symbols) => {
    const kernel = w?.dims?.slice(2);
    const isKnown = kernel?.every((size) => typeof size === 'number');
    const windows = windowsOf(view, isKnown ? (kernel as readonly number[]) : view.ints('kernel_shape'));
    return [x && { elemType: elemType ?? x.elemType, dims: inferWindows(view, x, w?.dims?.[0], windows, symbols) }];
  };

const inferCodes: Operator['infer'] = (view, [x, , , w, , , , yZero], symbols) =>
  infer(yZero?.elemType ?? 0)(view, [x, w], symbols);

/** [batch, channels, …] */
export const inferPool: Operator['infer'] = (view, [x], symbols) => {
  const windows = windowsOf(view);
  const known = typeof windows === 'string' ? windows : (oddPads(windows) ?? windows);
  const info = x && { elemType: x.elemType, dims: inferWindows(view, x, x.dims?.[1], known, symbols) };
  return view.node.outputs.map((_, i) => (i === 0 ? info : info && { ...info, elemType: INT64 }));
};

/** [batch, channels, 1, …] */
export const inferGlobal: Operator['infer'] = (_, [x]) => [
  x && { elemType: x.elemType, dims: x.dims?.map((dim, i) => (i < 2 ? dim : 1)) },
];

const pool = (name: string, kind: 'mean' | 'max', attributes: readonly string[]): Operator => ({
  name,
  attributes: ['auto_pad', 'ceil_mode', 'dilations', 'kernel_shape', 'pads', 'strides', ...attributes],
  infer: inferPool,
  match: matchPool(kind),
});

export const convOperators: readonly Operator[] = [
  {
    name: 'Conv',
    attributes: ATTRIBUTES,
    infer: infer(),
    match: matchConv,
  },
  {
    name: 'ConvInteger',
    attributes: ATTRIBUTES,
    infer: infer(INT32),
  },
  {
    name: 'QLinearConv',
    attributes: ATTRIBUTES,
    infer: inferCodes,
    match: matchQLinearConv,
  },
  pool('AveragePool', 'mean', ['count_include_pad']),
  pool('MaxPool', 'max', ['storage_order']),
  { name: 'GlobalAveragePool', infer: inferGlobal, match: matchGlobal('mean') },
  { name: 'GlobalMaxPool', infer: inferGlobal, match: matchGlobal('max') },
  {
    name: 'BatchNormalization',
    attributes: ['epsilon', 'momentum', 'spatial', 'training_mode'],
    infer: (_, [x]) => [x && { elemType: x.elemType, dims: x.dims }],
    match: matchBatchNorm,
  },
];

export const convPatterns: Readonly<Record<string, Pattern>> = { ConvInteger: convIntegerChain };
