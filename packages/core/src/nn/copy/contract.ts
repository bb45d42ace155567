/**
 * Strided copies: elements of inputs, in any order, into outputs.
 *
 *   part   output[to.offset + Σ i_d · to.strides[d]] = input[from.offset + Σ i_d · from.strides[d]]      for all 0 ≤ i_d < dims[d]
 *
 * Offsets and strides count elements; strides of inputs may be 0 or negative. Parts run in order; all elements of an output are
 * written by some part. layouts.ts makes them of Transpose, Slice, Concat, Split, Expand, Tile and Pad; a Reshape copies nothing.
 */
import { byteSize, type DType, elementCount, type TensorType } from '../../ops/op.ts';

export interface Place {
  /** Number of the input or output. */
  readonly operand: number;
  readonly offset: number;
  readonly strides: readonly number[];
}

/** Every element is this number, in the outputs' type. */
export interface Fill {
  readonly value: number;
}

export interface CopyPart {
  readonly dims: readonly number[];
  readonly from: Place | Fill;
  readonly to: Place;
}

/** All inputs and outputs have one type. */
export interface Copy {
  /** Dimensions of each output. */
  readonly outputs: readonly (readonly number[])[];
  readonly parts: readonly CopyPart[];
}

export const isFill = (from: Place | Fill): from is Fill => 'value' in from;

/** @throws {@link RangeError} if a part reads or writes outside of its operand */
export function checkCopy({ outputs, parts }: Copy, inputs: readonly (TensorType | undefined)[]): TensorType[] {
  const [first, ...others] = inputs;
  if (!first) throw new RangeError('copy: input 0 expected a tensor, got nothing.');
  for (const [i, input] of others.entries())
    if (input?.dtype !== first.dtype)
      throw new RangeError(
        `copy: input ${i + 1} expected ${first.dtype} like input 0, got ${input?.dtype ?? 'nothing'}.`,
      );
  if (outputs.length === 0) throw new RangeError('copy: outputs expected at least one, got none.');
  for (const [o, dims] of outputs.entries()) checkDims(`copy: output ${o}`, dims);
  for (const [i, { dims, from, to }] of parts.entries()) {
    checkDims(`copy: part ${i}`, dims);
    if (!isFill(from))
      checkPlace(
        `part ${i}: input`,
        dims,
        from,
        (inputs as readonly TensorType[]).map((input) => input.dims),
      );
    checkPlace(`part ${i}: output`, dims, to, outputs);
  }
  return outputs.map((dims) => ({ dtype: first.dtype, dims }));
}

/** @throws {@link RangeError} unless they are whole numbers */
export function checkDims(where: string, dims: readonly number[]): void {
  if (!dims.every((dim) => Number.isInteger(dim) && dim >= 0))
    throw new RangeError(`${where} expected dimensions of whole numbers, got [${dims}].`);
}

function checkPlace(
  where: string,
  dims: readonly number[],
  place: Place,
  shapes: readonly (readonly number[])[],
): void {
  const { operand, offset, strides } = place;
  const shape = shapes[operand];
  if (!shape) throw new RangeError(`copy: ${where} expected one of ${shapes.length}, got ${operand}.`);
  if (strides.length !== dims.length)
    throw new RangeError(`copy: ${where} ${operand} expected ${dims.length} strides, got ${strides.length}.`);
  if (elementCount(dims) === 0) return;
  let [least, most] = [offset, offset];
  for (const [d, stride] of strides.entries())
    if (stride < 0) least += stride * (dims[d] - 1);
    else most += stride * (dims[d] - 1);
  const count = elementCount(shape);
  if (!(least >= 0 && most < count))
    throw new RangeError(
      `copy: ${where} ${operand} [${shape}] expected elements 0..${count - 1}, got ${least}..${most}.`,
    );
}

/** A fill's bytes, repeated to four. */
export const fillBits = ({ value }: Fill, dtype: DType): number => {
  if (byteSize(dtype) === 1) return value ? 0x01010101 : 0;
  return dtype === 'f32' ? new Int32Array(Float32Array.of(value).buffer)[0] : value | 0;
};
