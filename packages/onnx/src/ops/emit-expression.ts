/**
 * Elementwise expressions as steps. Most of a decoder's become the end of a product (plan/fuse.ts), so an expression of floats is a step
 * that names no op: the one whose kernels compute it is fetched when a plan has such a step left.
 */
import type { Elementwise } from '@msd/core/nn';
import { sameNumbers } from '../dims.ts';
import { fetched } from './late.ts';
import { emitOp, type Lowering, type Slot } from './lowering.ts';

/** Functions whose result is no float, or whose operands are none. */
const NOT_FLOAT = /^(And|Cast|Constant[BI]|Equal|Greater|Is|Less|Not|Or|Where|Xor)/;

/** An expression with one result. */
export function emitExpression(to: Lowering, op: Elementwise, inputs: readonly Slot[], name: string): Slot {
  const dims = inputs.every(({ dtype }) => dtype === 'f32') && isOfFloats(op) ? repeatedDims(inputs) : undefined;
  if (!dims) return emitOp(to, fetched('elementwise'), op, inputs, [name])[0]!;
  const y = to.result(name, 'f32', dims);
  to.step({ kind: 'op', spec: 'elementwise', op, inputs, outputs: [y] });
  return y;
}

const isOfFloats = ({ nodes }: Elementwise): boolean => nodes.every(({ fn }) => !NOT_FLOAT.test(fn));

/** Dimensions that operands are repeated to; `undefined` if they do not fit, which the op says in full. */
function repeatedDims(inputs: readonly Slot[]): readonly number[] | undefined {
  const rank = Math.max(...inputs.map(({ dims }) => dims.length));
  const own = inputs.map(({ dims }) => [...new Array<number>(rank - dims.length).fill(1), ...dims]);
  const result = Array.from({ length: rank }, (_, i) => own.map((dims) => dims[i]!).find((dim) => dim !== 1) ?? 1);
  const fits = (dims: readonly number[]): boolean =>
    sameNumbers(
      dims.map((dim, i) => (dim === 1 ? result[i]! : dim)),
      result,
    );
  return own.every(fits) ? result : undefined;
}
