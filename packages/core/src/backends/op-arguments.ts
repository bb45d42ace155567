/** Operands of an op, checked before a device binds them: the same checks for every device. */
import { byteLength, type TensorType } from '../ops/op.ts';
import type { OperandKind } from './arguments.ts';
import type { OpWork } from './device.ts';

/**
 * @returns types of the outputs
 * @throws {@link TypeError} for what is no operand of this device; {@link RangeError} for one that is missing, too small or in the
 * way of another
 */
export function checkOpOperands<H extends { readonly byteLength: number }>(
  work: OpWork,
  operands: readonly (H | undefined)[],
  kind: OperandKind<H>,
): readonly TensorType[] {
  const { spec, op, inputs } = work;
  const outputs = spec.infer(op, inputs);
  const types = [...inputs, ...outputs];
  if (operands.length !== types.length)
    throw new RangeError(
      `${spec.name}: expected ${inputs.length} inputs and ${outputs.length} outputs, got ${operands.length} operands.`,
    );
  types.forEach((type, i) => {
    checkOperand(`${spec.name}: ${nameOf(work, i)}`, type, operands[i], kind);
  });
  for (const [o, type] of outputs.entries())
    for (const [i, other] of types.entries())
      if (other && i !== inputs.length + o) checkApart(work, o, i, [type, other], operands as readonly H[], kind);
  return outputs;
}

const nameOf = ({ inputs }: OpWork, i: number): string =>
  i < inputs.length ? `input ${i}` : `output ${i - inputs.length}`;

function checkOperand<H extends { readonly byteLength: number }>(
  name: string,
  type: TensorType | undefined,
  operand: H | undefined,
  kind: OperandKind<H>,
): void {
  if (!type) {
    if (operand !== undefined) throw new RangeError(`${name} expected undefined, as in the types, got ${kind.name}.`);
    return;
  }
  if (typeof operand !== 'object' || operand === null || !kind.is(operand))
    throw new TypeError(`${name} expected ${kind.name}, got ${String(operand)}.`);
  const needed = byteLength(type);
  if (operand.byteLength < needed)
    throw new RangeError(
      `${name} expected ${needed} bytes of ${type.dtype} [${type.dims}], got ${operand.byteLength}.`,
    );
}

/** An output lies apart from every other operand, or just where an input lies that it may replace. */
function checkApart<H extends { readonly byteLength: number }>(
  work: OpWork,
  output: number,
  other: number,
  [type, otherType]: readonly [TensorType, TensorType],
  operands: readonly H[],
  { place }: OperandKind<H>,
): void {
  const { spec, op, inputs } = work;
  const [its, own] = [place(operands[inputs.length + output]), place(operands[other])];
  const [bytes, otherBytes] = [byteLength(type), byteLength(otherType)];
  if (
    bytes === 0 ||
    otherBytes === 0 ||
    its.buffer !== own.buffer ||
    its.begin >= own.begin + otherBytes ||
    own.begin >= its.begin + bytes ||
    (own.begin === its.begin && other < inputs.length && isSame(type, otherType) && spec.inPlace?.(op, output, other))
  )
    return;
  throw new RangeError(
    `${spec.name}: output ${output} expected memory of its own, got some of ${nameOf(work, other)}'s. Give it other bytes.`,
  );
}

const isSame = (a: TensorType, b: TensorType): boolean =>
  a.dtype === b.dtype && a.dims.length === b.dims.length && a.dims.every((dim, d) => dim === b.dims[d]);
