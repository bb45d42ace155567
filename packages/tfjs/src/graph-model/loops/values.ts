/** What a loop computes at a position: expressions over rows of places. Widths are found out on the way. */
import type { ElementwiseNode, FunctionId } from '@msd/core/nn';
import type { Comparison } from '../../recurrent/program.ts';
import { refuse } from './loop.ts';

/** A place before it has a number. */
export interface Draft {
  readonly kind: 'sequence' | 'mask' | 'state' | 'vector' | 'local';
  width: number | undefined;
  /** As the graph around the loop names it; of a local one nothing. */
  readonly input?: string;
  /** Of a mask that is made of lengths. */
  readonly compare?: Comparison;
  /** Name of a constant that the sequence is multiplied with beforehand. */
  readonly weight?: { readonly constant: string; readonly node: string; readonly transposed: boolean };
}

export type Value = Row | Expression | Mask | { readonly kind: 'number'; readonly value: number } | Joined;

/** Numbers from `offset` on; without a width the whole place. */
export interface Row {
  readonly kind: 'row';
  readonly place: Draft;
  readonly offset: number;
  readonly width: number | undefined;
}

export interface Expression {
  readonly kind: 'expression';
  readonly fn: FunctionId;
  readonly args: readonly Value[];
  readonly values?: readonly number[] | undefined;
  readonly slices: Map<string, Value>;
}

/** Bools of each row, as wide as what they choose between. */
export interface Mask {
  readonly kind: 'mask';
  /** [positions, batch, 1], or [batch] where the position is compared with it. */
  readonly input: string;
  readonly compare?: Comparison;
}

/** Side by side; only products read it. */
export interface Joined {
  readonly kind: 'joined';
  readonly parts: readonly Value[];
}

export const whole = (place: Draft): Row => ({ kind: 'row', place, offset: 0, width: undefined });
export const number = (value: number): Value => ({ kind: 'number', value });
export const expression = (fn: FunctionId, args: readonly Value[], values?: readonly number[]): Value => {
  if (args.some(({ kind }) => kind === 'joined')) refuse('tensors side by side that no product reads');
  return { kind: 'expression', fn, args, values, slices: new Map() };
};

/** @param seen what has been looked at: expressions share their parts */
export function widthOf(value: Value, seen = new Set<Value>()): number | undefined {
  if (value.kind === 'row') return value.width ?? value.place.width;
  if (value.kind !== 'expression' || seen.has(value)) return undefined;
  seen.add(value);
  for (const arg of value.args) {
    const width = widthOf(arg, seen);
    if (width !== undefined) return width;
  }
  return undefined;
}

/** Every row in it is that wide. */
export function unify(value: Value, width: number, seen = new Set<Value>()): void {
  if (seen.has(value)) return;
  seen.add(value);
  if (value.kind === 'expression') for (const arg of value.args) unify(arg, width, seen);
  if (value.kind !== 'row') return;
  if (value.width === undefined) value.place.width ??= width;
  const own = value.width ?? value.place.width;
  if (own !== width) refuse(`rows of ${own} and of ${width} numbers in one expression`);
}

/** Columns [offset, offset + width). */
export function slice(value: Value, offset: number, width: number): Value {
  switch (value.kind) {
    case 'row':
      return { ...value, offset: value.offset + offset, width };
    case 'expression': {
      const key = `${offset},${width}`;
      const known = value.slices.get(key);
      if (known) return known;
      const args = value.args.map((arg) => slice(arg, offset, width));
      const made: Value = { ...value, args, slices: new Map() };
      value.slices.set(key, made);
      return made;
    }
    case 'joined':
      return refuse('parts of tensors that are side by side');
    default:
      return value;
  }
}

/** Expressions of one width as one: inputs first, then nodes. */
export class Rows {
  readonly inputs: Row[] = [];
  readonly nodes: ElementwiseNode[] = [];
  readonly #known = new Map<Value | string, number>();
  readonly #width: number;
  readonly #maskOf: (mask: Mask, width: number) => Row;
  readonly #inputs: number;

  /** @param inputs how many there will be; they are counted first */
  constructor(width: number, inputs: number, maskOf: (mask: Mask, width: number) => Row) {
    this.#width = width;
    this.#inputs = inputs;
    this.#maskOf = maskOf;
  }

  /** Number of the value. */
  add(value: Value): number {
    if (value.kind === 'mask') return this.#node(value, 'CastToBool', [this.add(this.#maskOf(value, this.#width))]);
    if (value.kind === 'number')
      return this.#node(`${Object.is(value.value, -0) ? '-0' : value.value}`, 'ConstantF32', [], [value.value]);
    if (value.kind === 'expression') {
      const { fn, args, values } = value;
      return this.#node(value, fn, args, values);
    }
    if (value.kind === 'joined') return refuse('tensors side by side that no product reads');
    const at = this.inputs.findIndex(({ place, offset }) => place === value.place && offset === value.offset);
    return at >= 0 ? at : this.inputs.push(value) - 1;
  }

  /** Number of an output: those of inputs are nodes too. */
  output(value: Value): number {
    const at = this.add(value);
    return at >= this.#inputs ? at : this.#node(`copy ${at}`, 'Add', [at, this.add({ kind: 'number', value: -0 })]);
  }

  #node(key: Value | string, fn: FunctionId, args: readonly (Value | number)[], values?: readonly number[]): number {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const numbers = args.map((arg) => (typeof arg === 'number' ? arg : this.add(arg)));
    this.nodes.push({ fn, args: numbers, ...(values && { values }) });
    const at = this.#inputs + this.nodes.length - 1;
    this.#known.set(key, at);
    return at;
  }
}
