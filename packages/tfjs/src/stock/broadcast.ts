/**
 * Batched products in which an operand broadcasts after a dimension of its own, or both do: [2,1,M,K] x [1,3,K,N]. Stock kernels
 * take batch i modulo the batches that an operand has, which is another matrix then, or one beyond its end: wrong values, no
 * error. Here such an operand is repeated first.
 */
import type { KernelConfig } from '../kernels/wrapped.ts';
import type { TensorInfo } from '../tf.ts';
import { withStock } from './run.ts';

/** A BatchMatMul with operands that it indexes rightly. */
export function broadcasting(stock: KernelConfig): KernelConfig['kernelFunc'] {
  const { kernelName, backendName } = stock;
  return (params) => {
    const { a, b } = params.inputs as unknown as Readonly<Record<'a' | 'b', TensorInfo>>;
    const [aReps, bReps] = [repetitions(a.shape, b.shape), repetitions(b.shape, a.shape)];
    if (!aReps && !bReps) return stock.kernelFunc(params);
    return withStock(backendName, params.backend, (run) => {
      const repeated = (x: TensorInfo, reps: number[] | undefined) =>
        reps ? run('Tile', { x: { ...x, shape: padded(x.shape, reps.length) } }, { reps }) : x;
      // Through this function again: nothing is left to repeat then.
      return run(kernelName, { a: repeated(a, aReps), b: repeated(b, bReps) }, params.attrs);
    });
  };
}

/** Repetitions of every dimension, or undefined if the modulo finds the right matrices. */
function repetitions(shape: readonly number[], other: readonly number[]): number[] | undefined {
  const rank = Math.max(shape.length, other.length);
  const [own, against] = [padded(shape, rank), padded(other, rank)];
  if (own.includes(0) || against.includes(0)) return undefined;
  // Batches before its first dimension come round by themselves; those after it have to be there.
  const first = own.findIndex((dim) => dim !== 1);
  const reps = own.map((dim, i) => (dim === 1 && i > first && i < rank - 2 ? against[i]! : 1));
  return first >= 0 && reps.some((count) => count !== 1) ? reps : undefined;
}

const padded = (shape: readonly number[], rank: number): number[] => [
  ...Array<number>(rank - shape.length).fill(1),
  ...shape,
];
