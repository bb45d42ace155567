/**
 * What stock tfjs lacks or gets wrong, and MSD's registration puts right: the Einsum of wasm, and products that broadcast in a
 * way which stock kernels take for another.
 */
import { getWrapped, type KernelConfig } from '../kernels/wrapped.ts';
import { requireRegistration } from '../state.ts';
import type { TensorInfo } from '../tf.ts';
import { broadcasting } from './broadcast.ts';
import { einsum } from './einsum.ts';

/** Kernels that stand in for a backend's own, or for one that it has not; `undefined` where there is nothing to mend. */
export function mended(kernelName: string, backendName: string): KernelConfig['kernelFunc'] | undefined {
  const stock = getWrapped(kernelName, backendName);
  if (kernelName === 'BatchMatMul') return stock && broadcasting(stock);
  if (kernelName !== 'Einsum' || stock || !getWrapped('BatchMatMul', backendName)) return undefined;
  return ({ inputs, attrs, backend }) => {
    const { backend_util } = requireRegistration(kernelName).tf;
    const operands = Object.values(inputs) as TensorInfo[];
    return einsum(backend_util, operands, (attrs as { equation: string }).equation, backendName, backend);
  };
}

export const MENDED: readonly string[] = ['BatchMatMul', 'Einsum'];
