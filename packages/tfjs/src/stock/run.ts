/** Kernels of tfjs, run by a kernel of MSD's; what they leave in between is given back. */
import { UnsupportedError } from '@msd/core';
import { getWrapped } from '../kernels/wrapped.ts';
import type { DataId, TensorInfo } from '../tf.ts';

/** Runs a kernel of the backend that the caller runs on. */
export type RunStock = (kernelName: string, inputs: Readonly<Record<string, TensorInfo>>, attrs?: object) => TensorInfo;

/**
 * @param compute its result stays, as a tensor of its own; all else that it ran is given back, also if it throws
 * @throws {@link UnsupportedError} if the backend lacks a kernel
 */
export function withStock(backendName: string, backend: unknown, compute: (run: RunStock) => TensorInfo): TensorInfo {
  const { disposeData } = backend as { disposeData(id: DataId): boolean };
  const made: TensorInfo[] = [];
  const run: RunStock = (kernelName, inputs, attrs = {}) => {
    const kernel = getWrapped(kernelName, backendName);
    if (!kernel) throw new UnsupportedError(`${kernelName}: tfjs has no such kernel on ${backendName}.`);
    const result = kernel.kernelFunc({ inputs, attrs: attrs as never, backend: backend as object }) as TensorInfo;
    made.push(result);
    return result;
  };
  let kept = -1;
  try {
    const result = compute(run);
    kept = made.findIndex(({ dataId }) => dataId === result.dataId);
    if (kept >= 0) return result;
    kept = made.length;
    return run('Identity', { x: result }); // an operand as it is
  } finally {
    made.forEach(({ dataId }, i) => {
      if (i !== kept) disposeData.call(backend, dataId);
    });
  }
}
