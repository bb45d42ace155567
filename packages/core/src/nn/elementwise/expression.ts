/** Expressions over the table of functions: every value is an input or a function of earlier values. */
import type { DType } from '../../ops/op.ts';
import type { Form } from './forms.ts';
import { type FunctionId, functionOf, isFunctionId } from './functions.ts';
import type { MoreLanes } from './lanes.ts';

export interface ElementwiseNode {
  readonly fn: FunctionId;
  /** Numbers of values: the inputs first, then the nodes in order. */
  readonly args: readonly number[];
  /** Further numbers of the function: alpha, beta, a constant's value. Rounded to its type. */
  readonly values?: readonly number[];
}

/** `{ nodes: [{ fn: 'Silu', args: [0] }, { fn: 'Mul', args: [2, 1] }], outputs: [3] }` is silu(a) · b. */
export interface Elementwise {
  readonly nodes: readonly ElementwiseNode[];
  /** Numbers of values. */
  readonly outputs: readonly number[];
}

/** An expression whose types are known. */
export interface TypedExpression {
  readonly op: Elementwise;
  readonly forms: readonly Form[];
  /** Numbers beside the arguments of each node, as kernels hold them. */
  readonly values: readonly (readonly number[])[];
  /** Of all values. */
  readonly types: readonly DType[];
}

/** @throws {@link RangeError} for anything that the table doesn't allow */
export function typedExpression(op: Elementwise, inputs: readonly DType[]): TypedExpression {
  const types = [...inputs];
  const forms = op.nodes.map((node, i) => {
    const found = formOf(node, i, types);
    types.push(found.result);
    return found;
  });
  if (op.outputs.length === 0) throw new RangeError('elementwise: outputs expected at least one value, got none.');
  for (const output of op.outputs) checkValue('outputs', output, types.length);
  const values = op.nodes.map(({ values = [] }, i) =>
    values.map((value) => (forms[i].result === 'i32' ? value | 0 : Math.fround(value))),
  );
  return { op, forms, values, types };
}

function formOf({ fn, args, values = [] }: ElementwiseNode, i: number, types: readonly DType[]): Form {
  const where = `node ${i}`;
  if (!isFunctionId(fn)) throw new RangeError(`elementwise: ${where} expected a function of the table, got ${fn}.`);
  for (const arg of args) checkValue(`${where} (${fn})`, arg, types.length);
  const { forms, values: names = [] } = functionOf(fn);
  const given = args.map((arg) => types[arg]);
  const form = forms.find(({ args: own }) => own.length === given.length && own.every((type, a) => type === given[a]));
  if (!form) {
    const known = forms.map((one) => `(${one.args.join(', ')})`).join(' or ');
    throw new RangeError(`elementwise: ${where} expected ${fn} of ${known}, got (${given.join(', ')}).`);
  }
  if (values.length !== names.length)
    throw new RangeError(
      `elementwise: ${where} expected ${names.length} values for ${fn} (${names.join(', ')}), got ${values.length}.`,
    );
  return form;
}

function checkValue(where: string, value: number, known: number): void {
  if (!Number.isInteger(value) || value < 0 || value >= known)
    throw new RangeError(`elementwise: ${where} expected values 0..${known - 1}, got ${value}.`);
}

/**
 * The f32 contract, on any kind of lanes.
 *
 * @param given values of nodes that are not computed
 */
export function evaluate<V>(
  f: MoreLanes<V>,
  { op, forms, values }: TypedExpression,
  inputs: readonly V[],
  given?: ReadonlyMap<number, V>,
): V[] {
  const all = [...inputs];
  for (const [i, { args }] of op.nodes.entries()) {
    const operands = args.map((arg) => all[arg]);
    all.push(given?.get(i) ?? forms[i].contract(f, operands, values[i]));
  }
  return op.outputs.map((output) => all[output]);
}

/**
 * `Silu0-Mul2.1`: the same for the same expression, and only for it.
 *
 * @param open nodes whose values do not matter
 */
export function expressionText({ op, forms, values, types }: TypedExpression, open: readonly number[] = []): string {
  const nodes = op.nodes.map(({ fn, args }, i) => {
    const beside = open.includes(i) ? [] : values[i].map((value) => `v${textOf(value, forms[i].result)}`);
    return `${fn}${args.join('.')}${beside.join('')}`;
  });
  const isLastAlone = op.outputs.length === 1 && op.outputs[0] === types.length - 1;
  return `${nodes.join('-')}${isLastAlone ? '' : `_to${op.outputs.join('.')}`}`;
}

/** Nine digits tell any two f32 apart. */
const textOf = (value: number, type: DType): string =>
  Object.is(value, -0) ? '-0' : `${type === 'f32' ? Number(value.toPrecision(9)) : value}`;
