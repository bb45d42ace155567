/**
 * Tensors of `past` and `present` whose elements lie in a cache. They are tensors of the caller's own class. Fed back
 * as they are, they cost nothing. Whoever reads `.data` gets an array of floats, and may write to it, so the tensor is
 * that array from then on.
 */

import type { HalfArray } from '@msd/core';
import { FLOAT16, INT8, jsDataType } from '../../data-types.ts';
import { countOf } from '../../dims.ts';
import { SessionStateError } from '../../errors.ts';
import { halvesOf } from '../../half.ts';
import { createOrtTensor, type OrtModule, type OrtTensor, tensorClass } from '../../ort.ts';
import type { KvKeeper, KvState } from './keeper.ts';

/** Which part of a state a tensor is: keys or values [batch, heads, positions, size], or both [2, …]. */
export type Half = 'keys' | 'values' | 'both';

/** A tensor's elements in a cache. */
export interface Kept {
  readonly keeper: KvKeeper;
  readonly state: KvState;
  readonly half: Half;
  /** FLOAT32, FLOAT16, or INT8 with `scales`. */
  readonly elemType: number;
  readonly dims: readonly number[];
  /** Of a tensor of int8: its scale, or those of each channel of each head. */
  readonly scales?: Float32Array | undefined;
}

export type KeptData = Float32Array | HalfArray | Int8Array;

/** The key of a lazy tensor's elements, in whatever state they are. */
const SOURCE = Symbol('msd.source');

interface Source {
  /** `undefined`: the tensor is an array, or disposed of. */
  kept: Kept | undefined;
  /**
   * An object to which all tensors of a run in a cache refer: as long as one of them lives, so do the states of the
   * run.
   */
  holder: object | undefined;
  data: KeptData | undefined;
  /** For tensors that were asked for their kind: somebody wants the elements next. */
  isRead: boolean;
}

interface LazyTensor extends OrtTensor {
  readonly [SOURCE]?: Source | undefined;
}

/** What a tensor is in a cache, unless it has become an array. */
export function keptOf(tensor: OrtTensor | undefined): Kept | undefined {
  return (tensor as LazyTensor | undefined)?.[SOURCE]?.kept;
}

/** Keeps a state alive, even if the tensor that stands for it goes. */
export interface Hold {
  readonly holder: object | undefined;
  release(): void;
}

/** @param tensor whose elements lie in a cache */
export function holdKept(tensor: OrtTensor): Hold {
  const { kept, holder } = (tensor as Required<LazyTensor>)[SOURCE]!;
  const { keeper, state } = kept!;
  state.holders++;
  return { holder, release: () => keeper.release(state) };
}

/** Another tensor of the same keys and values, for who got this one as a result; `undefined` if it is an array. */
export function againOf(ort: OrtModule, tensor: OrtTensor): OrtTensor | undefined {
  const source = (tensor as LazyTensor)[SOURCE];
  return source?.kept && source.holder ? lazyTensor(ort, source.kept, source.holder) : undefined;
}

type LazyClass = new (kept: Kept, holder: object) => OrtTensor;

/** By module: each has its own class of tensors. */
const classes = new WeakMap<OrtModule, LazyClass>();

/** @param holder what all tensors of a run refer to: as long as it lives, its states do */
export function lazyTensor(ort: OrtModule, kept: Kept, holder: object): OrtTensor {
  let Lazy = classes.get(ort);
  if (!Lazy) {
    Lazy = lazyClass(ort);
    classes.set(ort, Lazy);
  }
  kept.state.holders++;
  return new Lazy(kept, holder);
}

function release(source: Source): void {
  const { kept } = source;
  source.kept = undefined;
  source.holder = undefined;
  kept?.keeper.release(kept.state);
}

/** Turns the tensor into an array, for good. */
function elementsOf(source: Source): KeptData | undefined {
  if (source.kept) {
    source.data = readKept(source.kept);
    release(source);
  }
  return source.data;
}

/**
 * The property in which the class keeps its array: `data` returns it, structuredClone reads it, `dispose` empties it.
 */
const ELEMENTS = {
  enumerable: true,
  configurable: true,
  get(this: Required<LazyTensor>): KeptData | undefined {
    return elementsOf(this[SOURCE]!);
  },
  set(this: Required<LazyTensor>, data: KeptData | undefined): void {
    const source = this[SOURCE]!;
    release(source);
    source.data = data;
  },
};

function lazyClass(ort: OrtModule): LazyClass {
  const Tensor = tensorClass(ort);
  const asked = askedFor.has(Tensor) ? dataOf(Tensor.prototype as object) : undefined;
  class Lazy extends Tensor {
    constructor(kept: Kept, holder: object) {
      super(jsDataType(kept.elemType)!, emptyOf(kept), [0]);
      const own = this as unknown as { dims: readonly number[]; size: number; [SOURCE]?: Source };
      own.dims = kept.dims;
      own.size = 1;
      for (const dim of kept.dims) own.size *= dim;
      own[SOURCE] = { kept, holder, data: undefined, isRead: false };
      if (asked) Object.defineProperty(this, 'isRead', BEFORE_ELEMENTS);
      Object.defineProperty(this, 'cpuData', asked ? KIND_OR_ELEMENTS : ELEMENTS);
    }
  }
  // While the class sets up a tensor: a property that it made could not become another one cheaply.
  Object.defineProperty(Lazy.prototype, 'cpuData', { configurable: true, get: () => undefined, set: () => {} });
  if (asked) Object.defineProperty(Lazy.prototype, 'data', asked);
  return Lazy;
}

/**
 * Transformers.js in Node asks every tensor before every run whether its array is a Float16Array, and then puts the bits in its place,
 * for native code reads nothing else:
 *
 *   if (tensor.cpuData instanceof Float16Array) tensor.cpuData = new Uint16Array(tensor.cpuData.buffer)
 *
 * Read for that, keys and values would leave their cache with every token. What `cpuData` gives then knows of what kind the array is,
 * of float16 the bits already, and becomes that array as soon as anything else is wanted of it. Whoever reads `data`, or all properties
 * of the tensor one after the other (structuredClone, spread), gets the array itself.
 */
const askedFor = new WeakSet<object>();

/** Tensors of the module's class are asked so. Said before the first of them is made. */
export function expectQuestions(ort: OrtModule): void {
  if ('Float16Array' in globalThis) askedFor.add(tensorClass(ort));
}

/** `data` of a class of tensors, which says that the elements are wanted; `undefined` if the class has no such accessor. */
function dataOf(prototype: object): PropertyDescriptor | undefined {
  let [at, get]: [object | null, (() => unknown) | undefined] = [prototype, undefined];
  for (; at && !get; at = Object.getPrototypeOf(at) as object | null)
    get = Object.getOwnPropertyDescriptor(at, 'data')?.get;
  return (
    get && {
      configurable: true,
      get(this: Required<LazyTensor>): unknown {
        this[SOURCE]!.isRead = true;
        return get.call(this);
      },
    }
  );
}

/** Stands before `cpuData` among the properties of a tensor: who reads all of them wants the elements. */
const BEFORE_ELEMENTS = {
  enumerable: true,
  get(this: Required<LazyTensor>): undefined {
    this[SOURCE]!.isRead = true;
  },
};

const KIND_OR_ELEMENTS = {
  ...ELEMENTS,
  get(this: Required<LazyTensor>): KeptData | undefined {
    const source = this[SOURCE]!;
    if (!source.kept || source.isRead) return elementsOf(source);
    return kindOf(source, source.kept);
  },
};

/** An array as far as its kind is concerned; the real one for everything else. */
function kindOf(source: Source, kept: Kept): KeptData {
  // Of float16 the bits, in the same buffer.
  const asked = (data: KeptData): KeptData =>
    kept.elemType === FLOAT16 ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;
  const empty = asked(typed(kept, new Float32Array(0)));
  const all = (): KeptData => asked(elementsOf(source) ?? empty);
  return new Proxy(empty, {
    get(_, key) {
      const data = all();
      const value: unknown = Reflect.get(data, key, data);
      return typeof value === 'function' && key !== 'constructor' ? value.bind(data) : value;
    },
    set: (_, key, value) => Reflect.set(all(), key, value),
    has: (_, key) => Reflect.has(all(), key),
    ownKeys: () => Reflect.ownKeys(all()),
    getOwnPropertyDescriptor: (_, key) => Reflect.getOwnPropertyDescriptor(all(), key),
  });
}

/** Can the module's tensors be lazy? If not, results are arrays from the start, and every run copies them in. */
export function canBeLazy(ort: OrtModule): boolean {
  const tensor = createOrtTensor(ort, 'float32', new Float32Array(1), [1]);
  if (!Object.hasOwn(tensor, 'cpuData')) return false;
  const other = new Float32Array(1);
  let emptied = false;
  Object.defineProperty(tensor, 'cpuData', { get: () => other, set: () => void (emptied = true) });
  const isRead = tensor.data === other;
  tensor.dispose?.();
  return isRead && emptied;
}

/** The elements. Positions beyond the keys of a sequence are 0. */
export function readKept(kept: Kept): KeptData {
  return typed(kept, readFloats(kept));
}

function typed({ elemType, scales, dims }: Kept, floats: Float32Array): KeptData {
  if (elemType === INT8) return codesOf(floats, scales!, dims);
  return elemType === FLOAT16 ? halvesOf(floats) : floats;
}

/** For constructors that want an array of the right kind and never show it: of each kind one. */
const EMPTY = new Map<number, KeptData>();

function emptyOf(kept: Kept): KeptData {
  let empty = EMPTY.get(kept.elemType);
  if (!empty) EMPTY.set(kept.elemType, (empty = typed(kept, new Float32Array(0))));
  return empty;
}

/** What was a multiple of its scale is one again: caches are finer than half of it. */
function codesOf(floats: Float32Array, scales: Float32Array, dims: readonly number[]): Int8Array {
  const scaleOf = scaleReader(scales, dims);
  return Int8Array.from(floats, (value, i) => Math.round(value / scaleOf(i)));
}

/** The scale of an element of keys or values [batch, heads, positions, size]: one for all, or one of each channel of each head. */
export function scaleReader(scales: Float32Array, dims: readonly number[]): (i: number) => number {
  const [heads, rows, size] = dims.slice(-3) as [number, number, number];
  const first = scales[0]!;
  return scales.length === 1
    ? () => first
    : (i) => scales[(Math.floor(i / (rows * size)) % heads) * size + (i % size)]!;
}

function readFloats({ state, half, dims }: Kept): Float32Array {
  if (!state.store)
    throw new SessionStateError(
      'tensor: data of keys and values, expected them to be read before release() of their session, got a read after it.',
    );
  const { cache } = state.store;
  const { batch, kvHeads, headSize, valueSize } = cache.shape;
  const count = Math.max(0, ...state.lengths);
  const rows = dims.at(-2)!;
  const parts: [() => Float32Array, number][] = [];
  if (half !== 'values') parts.push([() => cache.keys(count), headSize]);
  if (half !== 'keys') parts.push([() => cache.values(count), valueSize]);
  if (parts.length === 1 && rows === count && state.lengths.every((length) => length === count)) return parts[0]![0]();
  const out = new Float32Array(countOf(dims));
  let at = 0;
  for (const [read, size] of parts) {
    const stored = read();
    for (let head = 0; head < batch * kvHeads; head++, at += rows * size) {
      const length = Math.min(rows, state.lengths[Math.floor(head / kvHeads)]!);
      const from = head * count * size;
      out.set(stored.subarray(from, from + length * size), at);
    }
  }
  return out;
}
