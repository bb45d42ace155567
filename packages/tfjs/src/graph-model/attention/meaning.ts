/** What the steps between two products come to, for the shapes of a run: scale, softcap, bias, and how its dimensions are grouped. */
import type { Tensor, TfNamespace } from '../../tf.ts';
import type { AttentionAttrs } from './steps.ts';

export interface Meaning {
  readonly scale: number;
  readonly softcap: number | undefined;
  readonly bias: Tensor | undefined;
  /** Leading dimensions of the scores where the bias is added. */
  readonly lead: readonly number[];
}

/**
 * @param shape of the scores
 * @param inputs of the steps
 * @returns `undefined` if it is no attention with these shapes
 */
export function meaningOf(
  tf: TfNamespace,
  shape: readonly number[],
  inputs: readonly Tensor[],
  { before, after }: AttentionAttrs,
): Meaning | undefined {
  const [rows, keys] = shape.slice(-2);
  const rest = [...inputs];
  let [scale, softcap, isSquashed] = [1, 1, false];
  let bias: Tensor | undefined;
  let lead: readonly number[] | undefined;
  let [now, flattened] = [shape, shape];
  for (const step of [...before, ...after]) {
    if (step.kind === 'scale' && isSquashed) softcap *= step.by;
    else if (step.kind === 'scale') scale *= step.by;
    else if (step.kind === 'tanh') isSquashed = true;
    else if (step.kind === 'unflatten') now = flattened;
    else if (step.kind === 'flatten') {
      if (step.axis !== now.length - 1) return undefined;
      [now, flattened] = [[now.slice(0, -1).reduce((product, dim) => product * dim, 1), keys!], now];
    } else if (step.kind === 'reshape') {
      now = resolvedShape(rest.shift()!, now);
      if (now.at(-1) !== keys) return undefined;
    } else {
      const own = now.slice(0, -2);
      if (now.at(-2) !== rows || (lead && lead.join() !== own.join())) return undefined;
      lead = own;
      const input = rest.shift()!;
      const term = step.kind === 'add' ? input : filled(tf, input, step.value, step.where);
      bias = bias ? tf.add(bias, term) : term;
    }
  }
  if (now.join() !== shape.join() || !(softcap > 0) || (bias && bias.dtype !== 'float32')) return undefined;
  return isSquashed
    ? { scale: scale * softcap, softcap, bias, lead: lead ?? shape.slice(0, -2) }
    : { scale, softcap: undefined, bias, lead: lead ?? shape.slice(0, -2) };
}

/** Added instead of put in the place: the same after a softmax, for what is masked away. */
function filled(tf: TfNamespace, condition: Tensor, value: number, where: boolean): Tensor {
  const [masked, seen] = [tf.scalar(value), tf.scalar(0)];
  return where ? tf.where(condition, masked, seen) : tf.where(condition, seen, masked);
}

/** A Reshape's target with its −1 filled in. */
export function resolvedShape(tensor: Tensor, from: readonly number[]): number[] {
  const size = from.reduce((product, dim) => product * dim, 1);
  const shape = Array.from(tensor.dataSync<'int32'>());
  const at = shape.indexOf(-1);
  if (at >= 0) shape[at] = size / shape.reduce((product, dim, i) => (i === at ? product : product * dim), 1);
  return shape;
}
