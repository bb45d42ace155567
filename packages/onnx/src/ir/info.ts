/**
 * What is known about a value before it is computed: element type, sizes, and the elements of small tensors. A size
 * that only a run can know is a symbol; equal symbols are equal sizes. Shape arithmetic works on this, at load with
 * symbols, in a run with numbers.
 */

import { isCarried } from '../carried.ts';
import { BOOL, FLOAT16, FLOAT32, INT8, INT16, INT32, INT64, isFloat, UINT8, UINT16 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { NodeRecord } from '../read/node.ts';
import { elementCount, type TensorRef, tensorBytes, tensorFloats } from '../read/tensor.ts';
import type { ValueType } from '../read/types.ts';
import type { Constant } from './graph.ts';

/** A size, or the symbol of one that is not known yet. Symbols are at least 0. */
export type Size = number | string;

export interface Info {
  /** ONNX's number of the element type, 0 = unknown. */
  readonly elemType: number;
  /** `undefined` = unknown rank. */
  readonly dims: readonly Size[] | undefined;
  /** All elements, row-major, bools as 0 and 1. */
  readonly data?: readonly Size[] | undefined;
}

/** An info that a run has: nothing in it is open. */
export interface Concrete extends Info {
  readonly dims: readonly number[];
  readonly data?: readonly number[] | undefined;
}

/** Constants up to this many elements are known by value. */
export const MAX_KNOWN = 1024;
/** The same of floats that are weights. */
const FEW = 16;

/** Element types that plain JavaScript computes with. */
export const HOST_TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([FLOAT32, FLOAT16, INT32, INT64, BOOL]);

/** Element types of constants that are known by value: zero points are int8 and uint8. */
const KNOWN_TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([...HOST_TYPES, INT8, UINT8, INT16, UINT16]);

/** Makes symbols for sizes that nothing is known about. */
export interface Symbols {
  /** @param of what the size is made from, if anything: something that grows with every token makes something that does */
  fresh(of?: readonly Size[]): string;
  /** a + b. The same sums are the same symbol. */
  sum(a: Size, b: Size): Size;
  /** a − b, where a is a sum that b is in. */
  rest(a: Size, b: Size): Size | undefined;
  /** All of them, multiplied. The same products are the same symbol. */
  product(sizes: readonly Size[]): Size;
  /** What a size is a product of, symbols and at most one number; the size alone if of nothing. */
  factors(size: Size): readonly Size[];
}

/** A sum: symbols in order, and a number. */
interface Sum {
  readonly symbols: readonly string[];
  readonly number: number;
}

const symbolsAmong = (sizes: readonly Size[]): string[] => sizes.filter((size) => typeof size === 'string');

/** The numbers among sizes, multiplied. */
export const numberAmong = (sizes: readonly Size[]): number =>
  sizes.reduce((product: number, size) => (typeof size === 'number' ? product * size : product), 1);

/** Symbols that no file uses. */
export function newSymbols(): Symbols {
  let count = 0;
  const sums = new Map<string, Sum>();
  const names = new Map<string, string>();
  const products = new Map<string, readonly Size[]>();
  const factors = (size: Size): readonly Size[] => products.get(size as string) ?? [size];
  const sumOf = (size: Size): Sum =>
    typeof size === 'number' ? { symbols: [], number: size } : (sums.get(size) ?? { symbols: [size], number: 0 });
  const fresh = (of: readonly Size[] = []): string => `?${++count}${of.some(isGrowing) ? ' of past' : ''}`;
  const sizeOf = ({ symbols, number }: Sum): Size => {
    const [first] = symbols;
    if (first === undefined) return number;
    if (symbols.length === 1 && number === 0) return first;
    const key = JSON.stringify([symbols, number]);
    let name = names.get(key);
    if (name === undefined) {
      name = fresh(symbols);
      names.set(key, name);
      sums.set(name, { symbols, number });
    }
    return name;
  };
  return {
    fresh,
    factors,
    product(sizes) {
      const all = sizes.flatMap(factors);
      const open = symbolsAmong(all).sort();
      const number = numberAmong(all);
      if (open.length === 0 || number === 0) return number;
      if (open.length === 1 && number === 1) return open[0]!;
      const key = JSON.stringify(['product', open, number]);
      let name = names.get(key);
      if (name === undefined) {
        name = fresh(open);
        names.set(key, name);
        products.set(name, number === 1 ? open : [...open, number]);
      }
      return name;
    },
    sum(a, b) {
      const [left, right] = [sumOf(a), sumOf(b)];
      return sizeOf({
        symbols: [...left.symbols, ...right.symbols].sort(),
        number: left.number + right.number,
      });
    },
    rest(a, b) {
      const [left, right] = [sumOf(a), sumOf(b)];
      const symbols = [...left.symbols];
      for (const symbol of right.symbols) {
        const at = symbols.indexOf(symbol);
        if (at < 0) return undefined;
        symbols.splice(at, 1);
      }
      const number = left.number - right.number;
      return number < 0 ? undefined : sizeOf({ symbols, number });
    },
  };
}

/** Does a size grow with every token of a decoder? Exporters call such sizes past or total; an encoder's past does not. */
export function isGrowing(size: Size): boolean {
  return typeof size === 'string' && /past|total/i.test(size) && !/encoder/i.test(size);
}

/** What a declaration says. */
export function infoOfType(type: ValueType, symbols: Symbols): Info {
  if (type.kind !== 'tensor') return { elemType: 0, dims: undefined };
  // A file's own name may look like one of ours.
  const dims = type.dims?.map((dim) => (typeof dim === 'string' ? dim.replace(/^\?/, '??') : (dim ?? symbols.fresh())));
  return { elemType: type.elemType, dims };
}

/** A constant's type, and its elements if they are few. @param isWeight then of floats only if they are very few */
export function infoOfConstant(constant: Constant, isWeight = false): Info {
  if (constant.kind === 'sparse') return { elemType: 0, dims: undefined };
  if (constant.kind === 'node') return infoOfConstantNode(constant.node);
  const { tensor } = constant;
  const { elemType, dims } = tensor;
  const small = KNOWN_TYPES.has(elemType) && countOf(dims) <= (isWeight && isFloat(elemType) ? FEW : MAX_KNOWN);
  return small && isReadable(tensor) ? { elemType, dims, data: tensorElements(tensor) } : { elemType, dims };
}

/** Why what is known of a constant is not all true: it has int64 elements that no double is. */
export function roundingOf(constant: Constant, { elemType, data }: Info): string | undefined {
  if (elemType !== INT64 || constant.kind !== 'tensor' || !data || data.every(Number.isSafeInteger)) return undefined;
  const odd = int64In(constant.tensor).find((value) => !isNumber(value));
  return odd === undefined
    ? undefined
    : `a constant of int64 has ${odd}, which no double is: MSD computes with doubles`;
}

/** A copy: aligned. */
const int64In = (tensor: TensorRef): BigInt64Array =>
  new BigInt64Array(new Uint8Array(tensorBytes(tensor)).buffer, 0, elementCount(tensor));

/** External files are opened only for models that need them. */
function isReadable({ storage }: TensorRef): boolean {
  return storage.kind !== 'external' || storage.files.sources.has(storage.location);
}

/** `Constant` nodes that hold numbers instead of a tensor. */
function infoOfConstantNode({ attributes }: NodeRecord): Info {
  for (const [name, attribute] of attributes) {
    const isFloat = name.startsWith('value_float');
    const elemType = isFloat ? FLOAT32 : INT64;
    if (attribute.kind === 'float' || attribute.kind === 'int')
      return { elemType, dims: [], data: [isFloat ? Math.fround(attribute.value) : attribute.value] };
    if (attribute.kind === 'floats' || attribute.kind === 'ints')
      return { elemType, dims: [attribute.value.length], data: attribute.value };
  }
  return { elemType: 0, dims: undefined };
}

/** Elements of a tensor whose type is one that constants are known of, as numbers. */
export function tensorElements(tensor: TensorRef): number[] {
  if (isFloat(tensor.elemType) || isCarried(tensor.elemType)) return numbersOf(tensorFloats(tensor));
  if (tensor.elemType === INT64) return int64Numbers(int64In(tensor));
  const bytes = new Uint8Array(tensorBytes(tensor)).buffer; // a copy: aligned
  const count = elementCount(tensor);
  switch (tensor.elemType) {
    case INT32:
      return numbersOf(new Int32Array(bytes, 0, count));
    default:
      return Array.from(new Uint8Array(bytes, 0, count), (value) => (value ? 1 : 0));
  }
}

/** `Array.from` makes an object per element, and a decoder has tens of thousands in its norms and biases. */
function numbersOf(elements: Float32Array | Int32Array): number[] {
  const numbers = new Array<number>(elements.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = elements[i]!;
  return numbers;
}

/**
 * int64 as numbers: exact up to 2^53, and the largest one, which stands for "to the end" in many models, as 2^63.
 * Reads halves: a BigInt per element would be an allocation.
 */
export function int64Numbers(values: BigInt64Array): number[] {
  const halves = new Int32Array(values.buffer, values.byteOffset, 2 * values.length);
  const numbers = new Array<number>(values.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = 2 ** 32 * halves[2 * i + 1]! + (halves[2 * i]! >>> 0);
  return numbers;
}

/** So near the ends of int64 a number stands for them. */
const NEAR_END = 1024n;

/**
 * int64 as a number that is the same; at either end, which stands for "all there is", one that is near.
 *
 * @throws `RangeError` if there is none: beyond 2^53 doubles have gaps
 */
export function wideNumber(value: bigint): number {
  if (!isNumber(value))
    throw new RangeError(
      `run: int64 element, expected one that a double can hold, as MSD computes with doubles, got ${value}. Give such a model to onnxruntime-web's own provider.`,
    );
  return Number(value);
}

const isNumber = (value: bigint): boolean =>
  BigInt(Number(value)) === value || (value < 0n ? -value : value) >= 2n ** 63n - NEAR_END;

/**
 * The same of elements that a run is given or made.
 *
 * @throws as {@link wideNumber}
 */
export function int64Given(values: BigInt64Array): number[] {
  const numbers = int64Numbers(values);
  for (let i = 0; i < numbers.length; i++) if (!Number.isSafeInteger(numbers[i])) wideNumber(values[i]!);
  return numbers;
}

/**
 * Numbers as int64, clamped at both ends.
 *
 * @throws `RangeError` for NaN: a division of 0 by 0
 */
export function int64Elements(numbers: readonly number[]): BigInt64Array {
  const values = new BigInt64Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    const value = numbers[i]!;
    if (Number.isNaN(value))
      throw new RangeError('run: int64 element, expected a whole number, got NaN. Does the model divide by 0?');
    values[i] = value >= 2 ** 63 ? 2n ** 63n - 1n : value <= -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(value));
  }
  return values;
}

export function isKnown(values: readonly Size[] | undefined): values is readonly number[] {
  if (!values) return false;
  for (let i = 0; i < values.length; i++) if (typeof values[i] !== 'number') return false;
  return true;
}

/** The one element of a constant, if it has exactly one. */
export function scalarOf(info: Info | undefined): number | undefined {
  const value = info?.data?.length === 1 ? info.data[0] : undefined;
  return typeof value === 'number' ? value : undefined;
}
