/**
 * Checks the arguments of `run` against the model's declarations, once.
 */
import { jsDataType } from '../data-types.ts';
import type { Info } from '../ir/info.ts';
import type { OrtMetadata, OrtTensor } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import { ARRAYS } from './arrays.ts';
import { keptOf } from './kv/lazy.ts';

/** A declared input, ready for checking. */
export interface InputSpec {
  readonly name: string;
  readonly type: string;
  /** Sizes; −1 = any. Absent = any rank. */
  readonly dims: readonly number[] | undefined;
  /** The same for messages: sizes that are open by their names, if they have any. */
  readonly shape: readonly unknown[] | undefined;
}

/** The declaration of an input. */
export function inputSpec({ name, type }: ValueInfo): InputSpec {
  const dims = type.dims?.map((dim) => (typeof dim === 'number' ? dim : -1));
  return { name, type: jsDataType(type.elemType) ?? '', dims, shape: type.dims };
}

/**
 * An output, completed by type and sizes that follow from the nodes if the file leaves them out. Our own symbols are
 * not shown.
 */
export function completed({ name, type }: ValueInfo, info: Info | undefined): ValueInfo {
  const found = info?.dims?.map((dim) =>
    typeof dim === 'number' ? dim : dim.replace(/^\?(\?.*)|^\?.*/, '$1') || null,
  );
  const agrees = found !== undefined && found.length === type.dims?.length;
  const dims = agrees
    ? type.dims!.map((dim, i) => (typeof found[i] === 'number' ? found[i] : (dim ?? found[i]!)))
    : found;
  return {
    name,
    type: { ...type, elemType: type.elemType || (info?.elemType ?? 0), dims: agrees ? dims : (type.dims ?? dims) },
  };
}

/** A value's metadata as `InferenceSession` shows it. */
export function metadataOf({ name, type }: ValueInfo): OrtMetadata {
  // An unnamed dynamic dimension is 2³² − 1 in ONNX Runtime.
  const shape = (type.dims ?? []).map((dim) => dim ?? 4294967295);
  return { name, isTensor: true, type: jsDataType(type.elemType) ?? 'float32', shape };
}

/** The input as a session of ONNX Runtime describes it; `undefined` if it is not a tensor. */
export function specOfMetadata({ name, isTensor, type, shape }: OrtMetadata): InputSpec | undefined {
  if (!isTensor || type === undefined) return undefined;
  // Neither a scalar nor an unknown rank has sizes; an unnamed dynamic one is 2³² − 1.
  const dims = shape?.map((dim) => (typeof dim === 'number' && dim < 2 ** 31 ? dim : -1));
  return { name, type, dims: dims?.length ? dims : undefined, shape };
}

/**
 * A feed by its name. Properties that every object inherits do not count: `constructor` may be the name of an input.
 */
export function feedOf(feeds: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(feeds, name) || !(name in Object.prototype) ? feeds[name] : undefined;
}

/** Locations that say something else. */
const WHERE: Readonly<Record<string, string>> = {
  none: 'one that was disposed of',
  undefined: 'an object that is none: make one with new Tensor(…)',
};

/**
 * Checks one feed.
 *
 * @returns the feed; if its elements come from another realm (an iframe), in an array of this one; one element as the scalar that is declared
 * @throws `TypeError` for a missing feed or a wrong element type, `RangeError` for a wrong shape.
 */
export function checkFeed(spec: InputSpec, given: unknown): OrtTensor {
  const tensor = checkKind(spec.name, given);
  if (tensor.type !== spec.type) {
    // The most frequent mistake: token ids as plain numbers.
    const hint =
      spec.type === 'int64' ? " Make it with new Tensor('int64', BigInt64Array.from(numbers, BigInt), dims)." : '';
    throw new TypeError(`run: input '${spec.name}', expected ${spec.type}, got ${String(tensor.type)}.${hint}`);
  }
  const { dims } = spec;
  // ONNX Runtime takes any shape where a scalar is declared, and many apps feed `new Tensor('int64', [16000n])`: a list of one.
  if (dims?.length === 0 && tensor.dims.length > 0 && tensor.dims.every((dim) => dim === 1)) {
    const { type, data } = checkData(spec.name, tensor);
    return { type, dims: [], data, location: 'cpu' };
  }
  if (dims) {
    let fits = dims.length === tensor.dims.length;
    for (let i = 0; fits && i < dims.length; i++) fits = dims[i]! < 0 || dims[i] === tensor.dims[i];
    if (!fits) {
      const shape = dims.map((dim, i) => (dim < 0 ? nameOf(spec.shape?.[i]) : dim)).join(', ');
      throw new RangeError(`run: input '${spec.name}', expected [${shape}], got [${tensor.dims.join(', ')}].`);
    }
  }
  // Reading elements that lie in a cache would copy them.
  return keptOf(tensor) ? tensor : checkData(spec.name, tensor);
}

const nameOf = (size: unknown): unknown => (typeof size === 'string' && size) || '?';

function checkKind(name: string, given: unknown): OrtTensor {
  const where = `run: input '${name}', expected a tensor`;
  if (given === undefined || given === null) throw new TypeError(`${where}, got none.`);
  if (typeof given !== 'object' || Array.isArray(given) || ArrayBuffer.isView(given)) {
    throw new TypeError(`${where}, got ${kindOf(given)}: make one with new Tensor(type, data, dims).`);
  }
  const tensor = given as OrtTensor;
  if (tensor.location !== 'cpu') {
    throw new TypeError(`${where} on the CPU, got ${WHERE[tensor.location] ?? `one on ${tensor.location}`}.`);
  }
  if (!Array.isArray(tensor.dims)) throw new TypeError(`${where} with dims, got ${kindOf(tensor.dims)} as dims.`);
  return tensor;
}

function kindOf(given: unknown): string {
  if (Array.isArray(given)) return 'an array';
  if (ArrayBuffer.isView(given)) return `a ${Object.prototype.toString.call(given).slice(8, -1)}`;
  return given === null ? 'null' : `a ${typeof given}`;
}

/** Elements have to be as many as the dims say: an array that was transferred has none. */
function checkData(name: string, tensor: OrtTensor): OrtTensor {
  const { type, dims, data } = tensor;
  let count = 1;
  for (let i = 0; i < dims.length; i++) count *= dims[i]!;
  const expected = type === 'int4' || type === 'uint4' ? Math.ceil(count / 2) : count;
  const length = (data as { readonly length?: number } | undefined)?.length;
  if (length !== expected) {
    const hint = length === 0 ? ' Was its array transferred?' : '';
    throw new RangeError(
      `run: input '${name}', expected ${expected} elements for [${dims.join(', ')}], got ${String(length)}.${hint}`,
    );
  }
  const types = ARRAYS[type];
  if (!types) return tensor;
  for (let i = 0; i < types.length; i++) if (data instanceof types[i]!) return tensor;
  const Same = types.find(({ name }) => Object.prototype.toString.call(data) === `[object ${name}]`);
  if (!Same)
    throw new TypeError(`run: input '${name}', expected elements in a ${types[0]!.name}, got ${kindOf(data)}.`);
  const view = data as ArrayBufferView;
  return { type, dims, data: new Same(view.buffer, view.byteOffset, expected), location: 'cpu' };
}

/** Refuses feeds that the model has no input for; every input has its feed already. */
export function checkExtraFeeds(inputs: ReadonlySet<string>, feeds: Readonly<Record<string, unknown>>): void {
  for (const name in feeds)
    if (!inputs.has(name) && Object.hasOwn(feeds, name))
      throw new RangeError(
        `run: feed '${name}', expected inputs of the model (${[...inputs].join(', ')}), got an unknown name.`,
      );
}

/**
 * A pre-allocated output has to fit what is written to it.
 *
 * @throws `RangeError` when type or shape differ.
 */
export function checkTarget(where: string, target: OrtTensor, type: string, dims: readonly number[]): void {
  if (target.type !== type || target.dims.length !== dims.length || target.dims.some((dim, i) => dim !== dims[i])) {
    throw new RangeError(
      `run: ${where}: pre-allocated output, expected ${type} [${dims.join(', ')}], got ${target.type} [${target.dims.join(', ')}].`,
    );
  }
}

/** Copies a result of ONNX Runtime into a pre-allocated output: on the CPU it never writes these itself. */
export function fillTarget(name: string, target: OrtTensor, result: OrtTensor): OrtTensor {
  checkTarget(`output '${name}'`, target, result.type, result.dims);
  if (ArrayBuffer.isView(target.data)) (target.data as Uint8Array).set(result.data as Uint8Array);
  return target;
}
