/** Norms of queries and keys inside of attention: GroupQueryAttention as it is exported for GPUs (Qwen3, Gemma 3). */
import { normOnWasm as norm } from '@msd/core/nn';
import { countOf } from '../../dims.ts';
import { emitOp, type Lowering, part, type Slot } from '../lowering.ts';
import type { NodeView } from '../operator.ts';

/** [batch, rows, heads · size], and the name of a weight [size], one for all heads. */
type Normed = readonly [x: Slot, weight: string];

/** Each head divided by its root mean square, times the weight. @returns queries and keys, with the dims that they had */
export function headNorms(to: Lowering, view: NodeView, size: number, ...operands: readonly [Normed, Normed]): Slot[] {
  const op = { kind: 'rms', axes: 1, epsilon: view.float('qk_norm_epsilon', 1e-6) } as const;
  return operands.map(([x, weight]) => {
    const scale = to.slot(weight);
    if (scale.dims.length !== 1 || scale.dims[0] !== size)
      view.fail('the weight of a norm', `[${size}]`, `[${scale.dims.join(', ')}]`);
    const heads = part(x, 0, [countOf(x.dims) / size, size]);
    const [y] = emitOp(to, norm, op, [heads, scale], []) as [Slot];
    return part(y, 0, x.dims);
  });
}
