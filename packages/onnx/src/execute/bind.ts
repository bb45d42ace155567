/**
 * Checks what a caller hands to `run`: once, at the edge, against what the model declares.
 */
import { jsDataType } from '../data-types.ts';
import type { OrtMetadata, OrtTensor } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';

/** A declared input, ready for checking. */
export interface InputSpec {
  readonly name: string;
  readonly type: string;
  /** Sizes; −1 = any. Absent = any rank. */
  readonly dims: readonly number[] | undefined;
}

/** What the model says about an input. */
export function inputSpec({ name, type }: ValueInfo): InputSpec {
  const dims = type.dims?.map((dim) => (typeof dim === 'number' ? dim : -1));
  return { name, type: jsDataType(type.elemType) ?? '', dims };
}

/** A value's metadata as `InferenceSession` shows it. */
export function metadataOf({ name, type }: ValueInfo): OrtMetadata {
  // An unnamed dynamic dimension is 2³² − 1 in ONNX Runtime.
  const shape = (type.dims ?? []).map((dim) => dim ?? 4294967295);
  return { name, isTensor: true, type: jsDataType(type.elemType) ?? 'float32', shape };
}

/** Locations that say something else. */
const WHERE: Readonly<Record<string, string>> = {
  none: 'one that was disposed of',
  undefined: 'an object that is none: make one with new Tensor(…)',
};

/**
 * Checks one feed.
 *
 * @throws `TypeError` for a missing feed or a wrong element type, `RangeError` for a wrong shape.
 */
export function checkFeed(spec: InputSpec, tensor: OrtTensor | undefined): OrtTensor {
  if (tensor === undefined || tensor === null) {
    throw new TypeError(`run: input '${spec.name}', expected a tensor, got none.`);
  }
  if (tensor.location !== 'cpu') {
    const got = WHERE[tensor.location] ?? `one on ${tensor.location}`;
    throw new TypeError(`run: input '${spec.name}', expected a tensor on the CPU, got ${got}.`);
  }
  if (tensor.type !== spec.type) {
    throw new TypeError(`run: input '${spec.name}', expected ${spec.type}, got ${tensor.type}.`);
  }
  const { dims } = spec;
  if (dims) {
    let fits = dims.length === tensor.dims.length;
    for (let i = 0; fits && i < dims.length; i++) fits = dims[i]! < 0 || dims[i] === tensor.dims[i];
    if (!fits) {
      const shape = dims.map((dim) => (dim < 0 ? '?' : dim)).join(', ');
      throw new RangeError(`run: input '${spec.name}', expected [${shape}], got [${tensor.dims.join(', ')}].`);
    }
  }
  return tensor;
}

/** Refuses feeds that the model has no input for; every input has its feed already. */
export function checkExtraFeeds(specs: readonly InputSpec[], feeds: Readonly<Record<string, unknown>>): void {
  const names = Object.keys(feeds);
  if (names.length === specs.length) return;
  const extra = names.find((name) => !specs.some((spec) => spec.name === name));
  if (extra !== undefined) {
    const known = specs.map((spec) => spec.name).join(', ');
    throw new RangeError(`run: feed '${extra}', expected inputs of the model (${known}), got an unknown name.`);
  }
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
