/** Operands of an op, checked before a device binds them: the same checks for every device. */
import { byteLength, mayReplace, type TensorType } from '../ops/op.ts';
import type { OperandKind } from './arguments.ts';
import type { OpWork } from './device.ts';

/**
 * @returns types of the outputs
 * @throws {@link TypeError} for something that is not an operand of this device; {@link RangeError} for one that is
 * missing, too small or overlaps another
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
  const places = operands.map((operand) => operand && kind.place(operand));
  checkPlaces(
    work,
    outputs,
    types.map((type) => (type ? byteLength(type) : 0)),
    places.map((place) => place?.begin ?? 0),
    places.map((place) => place?.buffer),
  );
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

/**
 * Checks that an output lies apart from every other operand, or exactly where an input lies that it may replace.
 *
 * @param begins first byte of each operand, and how many it has; 0 bytes: it is absent, or empty
 * @param buffers the buffer of each one; by default all lie in one
 * @returns does an output lie where an input does?
 * @throws {@link RangeError} if it may not
 */
export function checkPlaces(
  work: OpWork,
  outputs: readonly TensorType[],
  byteLengths: readonly number[],
  begins: readonly number[],
  buffers?: readonly unknown[],
): boolean {
  const { spec, inputs } = work;
  let isInPlace = false;
  for (let output = inputs.length; output < begins.length; output++)
    for (let other = 0; other < output; other++) {
      const [its, own] = [begins[output], begins[other]];
      const [bytes, otherBytes] = [byteLengths[output], byteLengths[other]];
      if (bytes === 0 || otherBytes === 0 || its >= own + otherBytes || own >= its + bytes) continue;
      if (buffers && buffers[output] !== buffers[other]) continue;
      const o = output - inputs.length;
      if (its !== own || other >= inputs.length || !mayReplace(work, outputs, o, other))
        throw new RangeError(
          `${spec.name}: output ${o} expected memory of its own, got some of ${nameOf(work, other)}'s. Give it other bytes.`,
        );
      isInPlace = true;
    }
  return isInPlace;
}
