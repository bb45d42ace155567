/**
 * QuantizeLinear and DequantizeLinear of activations: codes are whole numbers in f32 on the device, and they are those that
 * ONNX Runtime makes: x / scale rounded half to even, plus the zero point, clipped. Constants that are dequantized are
 * passes/constants.ts'.
 */
import { dataTypeName, FLOAT16, FLOAT32, INT8, INT16, INT32, isFloat, UINT8, UINT16 } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { type Expression, expressionMatch } from './expression.ts';
import { type NodeView, type Operator, operatorName } from './operator.ts';
import { channelsOf, matchChannels } from './quantize-channels.ts';

/** Least and most of each type of codes. */
export const CODE_RANGES: ReadonlyMap<number, readonly [least: number, most: number]> = /* @__PURE__ */ new Map([
  [UINT8, [0, 255]],
  [INT8, [-128, 127]],
  [UINT16, [0, 65535]],
  [INT16, [-32768, 32767]],
]);

/** Scale and zero point of a tensor's codes. */
export interface Coding {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** The constants that say what codes mean, or why MSD does not have them. Without a zero point it is 0. */
export function codingOf(matcher: Matcher, what: string, s: string, z: string): Coding | string {
  const scale = matcher.scalar(s);
  const zeroPoint = z === '' ? 0 : matcher.scalar(z);
  if (scale === undefined) return `the scale of ${what} is not one constant number`;
  if (zeroPoint === undefined) return `the zero point of ${what} is not one constant number`;
  return { scale, zeroPoint };
}

/** Codes as the numbers that they stand for. */
export function addDequantize(to: Expression, codes: number, { scale, zeroPoint }: Coding): number {
  return addDequantizeBy(to, codes, to.number(scale), zeroPoint === 0 ? undefined : to.number(zeroPoint));
}

/** The same where scale and zero point are values of the expression. */
export function addDequantizeBy(to: Expression, codes: number, scale: number, zeroPoint: number | undefined): number {
  return to.add('Mul', [zeroPoint === undefined ? codes : to.add('Sub', [codes, zeroPoint]), scale]);
}

/** The codes of numbers. */
export function addQuantize(to: Expression, x: number, { scale, zeroPoint }: Coding, elemType: number): number {
  const steps = to.add('Div', [x, to.number(scale)]);
  return addRounded(to, steps, zeroPoint, elemType);
}

/** Codes of numbers in units of their scale. */
export function addRounded(to: Expression, steps: number, zeroPoint: number, elemType: number): number {
  return addRoundedBy(to, steps, () => to.number(zeroPoint), elemType);
}

/** The same where the zero point is a value of the expression. */
export function addRoundedBy(to: Expression, steps: number, zeroPoint: () => number, elemType: number): number {
  const whole = to.add('Round', [steps]);
  // A zero point of 0 is added, too: codes have no −0.
  const codes = to.add('Add', [whole, zeroPoint()]);
  const ends = CODE_RANGES.get(elemType)!.map((end) => to.number(end));
  return to.add('Clip', [codes, ...ends]);
}

/** Why a value is no codes on the device. */
export function notCodes(matcher: Matcher, what: string, name: string): string | undefined {
  const elemType = matcher.info(name)?.elemType ?? 0;
  if (matcher.isKept(name)) return `${what} lies in a cache`;
  return CODE_RANGES.has(elemType)
    ? undefined
    : `${what} is ${elemType === 0 ? 'of unknown type' : dataTypeName(elemType)}`;
}

/**
 * What a product of these activations is in ONNX Runtime, which makes one step of DequantizeLinear, product and QuantizeLinear; without
 * the last one of a MatMul only.
 *
 * @param y what the product makes
 */
export function productInOrt(matcher: Matcher, x: string, y: string): 'integers' | 'codes' | undefined {
  const from = matcher.producer(x);
  if (!from || !DEQUANTIZE.has(operatorName(from)) || !isByte(matcher, from.inputs[0] ?? '')) return undefined;
  const next = matcher.soleConsumer(y);
  const last = next && ACTIVATIONS.has(next.opType) ? matcher.soleConsumer(next.outputs[0]!) : next;
  return last && QUANTIZE.has(operatorName(last)) ? 'codes' : 'integers';
}

const ACTIVATIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(['Relu', 'Clip']);

const isByte = (matcher: Matcher, name: string): boolean => {
  const elemType = matcher.info(name)?.elemType;
  return elemType === UINT8 || elemType === INT8;
};

/** Between two of them ONNX Runtime has the operator in between take codes and make them. */
const isBetween = (matcher: Matcher, codes: string): boolean => {
  const from = matcher.producer(codes);
  const next = matcher.graph.consumers.get(codes) ?? [];
  const isMade = from !== undefined && QUANTIZE.has(operatorName(from));
  return isMade && next.length > 0 && next.every((node) => DEQUANTIZE.has(operatorName(node)));
};

function quantizedType(view: NodeView, zeroPoint: Info | undefined): number {
  return zeroPoint?.elemType || view.int('output_dtype', 0) || UINT8;
}

const inferQuantize: Operator['infer'] = (view, [x, , z]) => [{ elemType: quantizedType(view, z), dims: x?.dims }];

const inferDequantize: Operator['infer'] = (view, [x, scale]) => {
  const own = scale && isFloat(scale.elemType) ? scale.elemType : FLOAT32;
  return [{ elemType: view.int('output_dtype', 0) || own, dims: x?.dims }];
};

function matchQuantize(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', s = '', z = ''] = node.inputs;
  const elemType = matcher.info(node.outputs[0]!)?.elemType ?? 0;
  const coding = channelsOf(view, matcher, 'y', x) ?? codingOf(matcher, 'y', s, z);
  if (typeof coding === 'string') return coding;
  if (!CODE_RANGES.has(elemType)) return `y is ${dataTypeName(elemType)}`;
  if (view.int('block_size', 0) !== 0) return 'it has blocks';
  if (![0, FLOAT32].includes(view.int('precision', 0))) return `precision is ${dataTypeName(view.int('precision', 0))}`;
  const refused = matcher.notFloat('x', x);
  if (refused !== undefined) return refused;
  if ('axis' in coding)
    return matchChannels(view, matcher, x, coding, (to, value, scale, zeroPoint) => {
      addRoundedBy(to, to.add('Div', [value, scale]), () => zeroPoint ?? to.number(0), elemType);
    });
  const match = expressionMatch(matcher, [node], [x], (to, [value]) => addQuantize(to, value!, coding, elemType));
  return { ...match, isFreeInOrt: isBetween(matcher, node.outputs[0]!) };
}

function matchDequantize(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', s = '', z = ''] = node.inputs;
  const coding = channelsOf(view, matcher, 'x', x) ?? codingOf(matcher, 'x', s, z);
  if (typeof coding === 'string') return coding;
  const output = matcher.info(node.outputs[0]!)?.elemType ?? 0;
  if (output !== FLOAT32 && output !== FLOAT16) return `y is ${dataTypeName(output)}`;
  if ('axis' in coding) return notCodes(matcher, 'x', x) ?? matchChannels(view, matcher, x, coding, addDequantizeBy);
  const source = matcher.relaxes ? sourceOf(matcher, x, coding) : undefined;
  if (source !== undefined) {
    const ends = endsOf(coding, matcher.info(x)?.elemType ?? 0);
    return expressionMatch(matcher, [node], [source], (to, [value]) => {
      const floats = to.add('CastToF32', [value!]);
      return ends ? to.add('Clip', [floats, ...ends.map((end) => to.number(end))]) : floats;
    });
  }
  const isSum = matcher.info(x)?.elemType === INT32;
  if (isSum && coding.zeroPoint !== 0) return 'int32 with a zero point';
  const refused = isSum ? undefined : notCodes(matcher, 'x', x);
  if (refused !== undefined) return refused;
  const match = expressionMatch(matcher, [node], [x], (to, [codes]) =>
    addDequantize(to, isSum ? to.add('CastToF32', [codes!]) : codes!, coding),
  );
  return { ...match, isFreeInOrt: isBetween(matcher, x) };
}

/** What codes are made of, if it is a QuantizeLinear that means the same by them: with the option `relax` nothing is rounded. */
function sourceOf(matcher: Matcher, codes: string, { scale, zeroPoint }: Coding): string | undefined {
  const node: GraphNode | undefined = matcher.producer(codes);
  if (!node || !QUANTIZE.has(operatorName(node))) return undefined;
  const [x = '', s = '', z = ''] = node.inputs;
  const made = codingOf(matcher, 'y', s, z);
  const isSame = typeof made === 'object' && made.scale === scale && made.zeroPoint === zeroPoint;
  return isSame && matcher.notFloat('x', x) === undefined ? x : undefined;
}

/**
 * Least and most of what codes stand for, where they have one sign only: tools drop a Relu or Clip in front of such codes, whose ends do
 * the same, so they stay when nothing is rounded.
 */
function endsOf({ scale, zeroPoint }: Coding, elemType: number): readonly number[] | undefined {
  const range = CODE_RANGES.get(elemType);
  return range?.includes(zeroPoint) ? range.map((end) => (end - zeroPoint) * scale).sort((a, b) => a - b) : undefined;
}

const QUANTIZE: ReadonlySet<string> = /* @__PURE__ */ new Set(['QuantizeLinear', 'com.microsoft.QuantizeLinear']);
const DEQUANTIZE: ReadonlySet<string> = /* @__PURE__ */ new Set(['DequantizeLinear', 'com.microsoft.DequantizeLinear']);

const quantize: Omit<Operator, 'name'> = {
  attributes: ['axis', 'saturate', 'output_dtype', 'block_size', 'precision'],
  infer: inferQuantize,
  match: matchQuantize,
};
const dequantize: Omit<Operator, 'name'> = {
  attributes: ['axis', 'output_dtype', 'block_size'],
  infer: inferDequantize,
  match: matchDequantize,
};

export const quantizeOperators: readonly Operator[] = [
  { name: 'QuantizeLinear', ...quantize },
  { name: 'DequantizeLinear', ...dequantize },
  { name: 'com.microsoft.QuantizeLinear', ...quantize },
  { name: 'com.microsoft.DequantizeLinear', ...dequantize },
];
