/** Convolutions and what lies between them. */
import { INT32 } from '../../data-types.ts';
import type { Operator, Pattern } from '../operator.ts';
import { matchConv } from './conv.ts';
import { convIntegerChain } from './integer.ts';
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

const LIMITS = 'one group, one or two spatial dimensions, constant weights';

export const convOperators: readonly Operator[] = [
  { name: 'Conv', limits: LIMITS, attributes: ATTRIBUTES, infer: infer(), match: matchConv },
  {
    name: 'ConvInteger',
    limits: `${LIMITS} of 8 bits; X of DynamicQuantizeLinear, Cast and Mul by both scales behind it: the product is one of floats`,
    attributes: ATTRIBUTES,
    infer: infer(INT32),
  },
];

export const convPatterns: Readonly<Record<string, Pattern>> = { ConvInteger: convIntegerChain };
