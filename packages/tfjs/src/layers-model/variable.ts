/**
 * A weight of a layer as packed integers. The LayerVariable stays the object that it is, in the layer, in the lists of optimizers and in
 * regularizers; what changes is the tf.Variable in it. To everybody but MSD's layers and saved files it holds floats, as before.
 */
import { DisposedError, ModelFormatError, shown } from '../errors.ts';
import { dequantized } from '../fallback.ts';
import type { Packed } from '../pack.ts';
import { QuantizedTensor } from '../quantized-tensor.ts';
import type { NodeReport } from '../report.ts';
import { isOlder, upgrade } from '../saved.ts';
import { sizeOf } from '../shapes.ts';
import { int32Length, type QuantizedSpec } from '../spec.ts';
import { lastNamespace, requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { encode } from '../weights/encode.ts';
import type { WeightView } from '../weights/view.ts';
import type { LayerVariable } from './kinds.ts';
import { apart, together, weightShape } from './parts.ts';

/** A tf.Variable, with what of it is not in its types. */
export interface Variable extends Tensor {
  readonly name: string;
  trainable: boolean;
  assign(value: Tensor): void;
}

interface State {
  quantized: QuantizedTensor;
  /** What a file that is still to be read holds. */
  saved?: QuantizedSpec | undefined;
  /** What it holds if nothing is written before somebody asks. */
  initial?: (() => Tensor) | undefined;
  /** Made when somebody reads the floats. */
  floats?: Tensor | undefined;
  /** For `unpack`. */
  kept?: Float32Array | undefined;
  readonly stock: Variable;
  /** The layer's line in reports. */
  readonly node?: NodeReport | undefined;
}

const states = /* @__PURE__ */ new WeakMap<object, State>();

/** What a variable holds, if it is packed. */
export function packedOf(variable: object): QuantizedTensor | undefined {
  const state = states.get(variable);
  if (state?.initial) initialize(variable as LayerVariable, state);
  return state?.quantized;
}

/** @param initial float values, for as long as nothing else is written */
export function initializeLater(variable: LayerVariable, initial: () => Tensor): void {
  states.get(variable)!.initial = initial;
}

function initialize(variable: LayerVariable, state: State): void {
  const { tf } = requireRegistration(variable.originalName);
  const { initial } = state;
  if (initial && !isGone(variable)) tf.tidy(() => void write(variable, state, initial()));
}

export const nodeOf = (variable: object): NodeReport | undefined => states.get(variable)?.node;

/** tf.disposeVariables() takes the values from under a variable that says nothing of it. */
export const isGone = ({ val }: LayerVariable): boolean =>
  val.isDisposed || !lastNamespace('layers').engine().state.tensorInfo.has(val.dataId);

/** What MSD's layers run on. */
export function requirePacked(variable: LayerVariable): QuantizedTensor {
  checkAlive(variable);
  const packed = packedOf(variable);
  if (!packed) throw new TypeError(`${shown(variable.originalName)}: weights, expected packed ones, got floats.`);
  return packed;
}

let saving = 0;

/** While this runs, packed variables give their integers. */
export function whileSaving<T>(run: () => T): T {
  saving++;
  try {
    return run();
  } finally {
    saving--;
  }
}

export interface PackOptions {
  /** Of the floats. */
  readonly shape: readonly number[];
  /** What a file holds that will be written to the variable: of an older version perhaps. */
  readonly saved?: QuantizedSpec | undefined;
  /** The floats, for `unpack`. */
  readonly kept?: Float32Array | undefined;
  readonly node?: NodeReport | undefined;
}

/** The float weights of a variable are dropped, these take their place. */
export function packVariable(variable: LayerVariable, { spec, data }: Packed, options: PackOptions): void {
  const stock = variable.val;
  stock.dispose(); // its name is free now
  const state: State = { ...options, stock, quantized: replaceValue(variable, spec, integers(data)) };
  states.set(variable, state);
  Object.assign(variable, {
    shape: [...options.shape],
    read: () => read(variable, state),
    write: (values: Tensor) => write(variable, state, values),
    dispose: () => {
      state.floats?.dispose();
      asBefore(variable).dispose.call(variable);
    },
  } satisfies Partial<LayerVariable>);
}

/** The floats that were kept, in the very tf.Variable that held them. */
export function unpackVariable(variable: LayerVariable): void {
  const tf = lastNamespace('restore');
  const { stock, kept, floats } = states.get(variable)!;
  const { trainable } = variable;
  variable.val.dispose();
  floats?.dispose();
  const value = tf.tensor(kept!, stock.shape, 'float32');
  stock.assign(value);
  value.dispose();
  Object.assign(stock, { isDisposedInternal: false });
  tf.engine().state.registeredVariables[stock.name] = stock as never;
  variable.val = stock;
  for (const name of ['read', 'write', 'dispose'] as const) delete (variable as Partial<LayerVariable>)[name];
  variable.trainable = trainable;
  states.delete(variable);
}

/** The methods of its class. */
const asBefore = (variable: LayerVariable): LayerVariable => Object.getPrototypeOf(variable) as LayerVariable;

const integers = (data: Int32Array): Tensor => requireRegistration('packed weights').tf.tensor1d(data, 'int32');

function checkAlive(variable: LayerVariable): void {
  if (isGone(variable)) throw new DisposedError(`LayersVariable ${shown(variable.name)} is already disposed.`);
}

/** @param packed is disposed of */
function replaceValue(variable: LayerVariable, spec: QuantizedSpec, packed: Tensor): QuantizedTensor {
  const { tf } = requireRegistration('packed weights');
  const { name } = variable.val;
  variable.val.dispose();
  variable.val = tf.variable(packed as never, variable.trainable, name, 'int32') as unknown as Variable;
  packed.dispose();
  return new QuantizedTensor(variable.val, spec);
}

/** As stock: the same tensor each time, the variable's to dispose of. */
function read(variable: LayerVariable, state: State): Tensor {
  checkAlive(variable);
  initialize(variable, state);
  if (saving) return variable.val;
  const { tf } = requireRegistration(variable.originalName);
  const { shape } = variable;
  if (!state.floats || state.floats.isDisposed)
    state.floats = tf.keep(tf.tidy(() => tf.reshape(together(dequantized(tf, state.quantized)), shape)));
  return state.floats;
}

/** Integers of a file, or floats, which are quantized in the format of those before. */
function write(variable: LayerVariable, state: State, values: Tensor): LayerVariable {
  checkAlive(variable);
  const { tf } = requireRegistration(variable.originalName);
  const isFirst = state.initial !== undefined;
  state.initial = undefined;
  const expected = state.saved ?? state.quantized.spec;
  if (values.dtype === 'int32' && values.rank === 1 && values.size === int32Length(expected)) {
    checkShape(variable, expected);
    if (!isOlder(expected)) set(variable, state, expected, tf.clone(values));
    else {
      const { spec, data } = upgrade(expected, values.dataSync<'int32'>() as Int32Array<ArrayBuffer>);
      set(variable, state, spec, integers(data));
    }
    state.saved = undefined;
    return variable;
  }
  if (values.shape.join() !== variable.shape.join())
    throw new RangeError(
      `${shown(variable.originalName)}: Shape mismatch: ${JSON.stringify(variable.shape)} vs. ${JSON.stringify(values.shape)}`,
    );
  const next = tf.tidy(() => quantizedFrom(variable, state, values, isFirst) as never) as Packed | undefined;
  if (next) set(variable, state, next.spec, integers(next.data));
  return variable;
}

/**
 * What a file holds against what the layer was built for, by its config and its input.
 *
 * @throws {@link ModelFormatError} in tfjs's words
 */
function checkShape(variable: LayerVariable, spec: QuantizedSpec): void {
  const { originalName, shape } = variable;
  if (fits(variable, spec)) return;
  const given = [...shape.slice(2).map(() => 1), ...weightShape(spec)];
  throw new ModelFormatError(
    `${shown(originalName)}: Shape mismatch: ${JSON.stringify(shape)} vs. ${JSON.stringify(given)}, what the layer is built for and what the file holds.`,
  );
}

/** Filters are matrices: all but the last dimension are rows. */
const fits = ({ shape }: LayerVariable, spec: QuantizedSpec): boolean =>
  [sizeOf(shape.slice(0, -1)), shape.at(-1)!].join() === weightShape(spec).join();

/** @param packed is disposed of */
function set(variable: LayerVariable, state: State, spec: QuantizedSpec, packed: Tensor): void {
  state.floats?.dispose();
  state.floats = undefined;
  state.quantized = replaceValue(variable, spec, packed);
}

/** @returns `undefined` for the values that it has, which it has none of yet if `isFirst` */
function quantizedFrom(variable: LayerVariable, state: State, given: Tensor, isFirst: boolean): Packed | undefined {
  if (given === state.floats) return undefined;
  const tensor = variable.constraint ? variable.constraint.apply(given) : given;
  const values = tensor.dataSync<'float32'>() as Float32Array;
  const { spec } = state.quantized;
  // What was read and is written back stays exactly what it is.
  const isKnown = !isFirst && fits(variable, spec) && isEqual(values, read(variable, state).dataSync<'float32'>());
  const format =
    spec.kind === 'matrix'
      ? { ...spec, canLevel: spec.powers !== undefined }
      : { format: 'int8' as const, blockSize: undefined };
  const view = viewOf(variable, spec);
  const floats = { kind: 'float32', values } as const;
  const encoded = isKnown ? undefined : encode(view.kind === 'matrix' ? apart(floats, view) : floats, view, format);
  if (encoded && 'reason' in encoded)
    throw new RangeError(
      `${shown(variable.originalName)}: values, expected ones that packed weights can hold, but ${encoded.reason}. Call restore() of accelerate first.`,
    );
  if (state.kept) state.kept = values.slice();
  return encoded?.packed;
}

/** A matrix may be of another size than what a file is said to hold, until that is read. */
function viewOf({ shape }: LayerVariable, spec: QuantizedSpec): WeightView {
  const [rows, columns] = [sizeOf(shape.slice(0, -1)), shape.at(-1)!];
  if (spec.kind === 'table') return { kind: 'table', rows, columns };
  const { batchShape } = spec;
  return { kind: 'matrix', batchShape, K: rows, N: columns / (batchShape[0] ?? 1), transposed: false };
}

const isEqual = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
};
