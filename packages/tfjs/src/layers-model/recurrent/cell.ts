/**
 * One position of a cell on packed weights, spelt in tfjs's own operations: what runs on GPUs, while gradients are recorded, in
 * dropout, with activations of whole rows, and in stacks of cells.
 */
import { matMul } from '../../mat-mul.ts';
import { QuantizedTensor } from '../../quantized-tensor.ts';
import type { MatrixSpec } from '../../spec.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import { requirePacked } from '../variable.ts';
import type { CellInternals, RecurrentKind } from './kinds.ts';

/** Specs of both weights. */
export interface CellSpecs {
  readonly kernel: MatrixSpec;
  readonly recurrent: MatrixSpec;
}

/** @param inputs x, then the states, as `call` of a cell gets them. @returns the output, then the states */
export function stepCell(
  { id, gates, stockCell }: RecurrentKind,
  cell: CellInternals,
  inputs: Tensor[],
  kwargs: { training?: boolean | null } | undefined,
): Tensor[] {
  const { tf } = requireRegistration(stockCell);
  const states = id === 'lstm' ? 2 : 1;
  if (inputs.length !== states + 1)
    throw new RangeError(`${stockCell}: inputs, expected x and ${states} states, got ${inputs.length} tensors.`);
  const [x, before, c] = inputs as [Tensor, Tensor, Tensor];
  const training = kwargs?.training ?? false;
  const dropped = (of: Tensor, name: 'dropout' | 'recurrentDropout') => maskedBy(cell, of, name, training);
  const rows = dropped(x, 'dropout');
  const h = dropped(before, 'recurrentDropout');
  const act = (y: Tensor) => cell.activation?.apply(y) ?? y;
  const gate = (y: Tensor) => cell.recurrentActivation?.apply(y) ?? y;
  const ofX = matMul(rows, requirePacked(cell.kernel), { bias: cell.bias?.read() });
  const own = requirePacked(cell.recurrentKernel);
  if (id === 'gru') {
    const [xz, xr, xn] = tf.split(ofX, gates, -1) as [Tensor, Tensor, Tensor];
    const [hz, hr] = ownProducts(h, own, 0, 2) as [Tensor, Tensor];
    const [z, r] = [gate(tf.add(xz, hz)), gate(tf.add(xr, hr))];
    const [left] = ownProducts(tf.mul(r, h), own, 2, 1) as [Tensor];
    const n = act(tf.add(xn, left));
    const next = tf.add(tf.mul(z, h), tf.mul(tf.sub(1, z), n)) as Tensor;
    return [next, next];
  }
  const z = tf.add(ofX, matMul(h, own)) as Tensor;
  if (id === 'simple') {
    const y = act(z);
    return [y, y];
  }
  const [i, f, g, o] = tf.split(z, gates, -1) as [Tensor, Tensor, Tensor, Tensor];
  const nextC = tf.add(tf.mul(gate(f), c), tf.mul(gate(i), act(g))) as Tensor;
  const nextH = tf.mul(gate(o), act(nextC)) as Tensor;
  return [nextH, nextH, nextC];
}

/** Products of the same rows with some of the matrices. */
function ownProducts(h: Tensor, own: QuantizedTensor, first: number, count: number): Tensor[] {
  const { tf } = requireRegistration('GRUCell');
  const spec = own.spec as MatrixSpec;
  const size = own.packed.size / spec.batchShape[0]!;
  return Array.from({ length: count }, (_, i) => {
    const part = tf.slice(own.packed, [(first + i) * size], [size]);
    return matMul(h, new QuantizedTensor(part, { ...spec, batchShape: [] }));
  });
}

/** In training with dropout: one mask for all positions, until the layer is called again. */
function maskedBy(cell: CellInternals, x: Tensor, name: 'dropout' | 'recurrentDropout', training: boolean): Tensor {
  const { tf } = requireRegistration('dropout');
  const rate = cell[name];
  if (!training || !(rate > 0 && rate < 1)) return x;
  const drop = cell.dropoutFunc ?? ((ones: Tensor, share: number) => tf.dropout(ones, share));
  const mask = (cell[`${name}Mask`] ??= tf.keep(tf.clone(drop(tf.onesLike(x), rate))));
  return tf.mul(x, (Array.isArray(mask) ? mask[0] : mask)!);
}
