/**
 * Inputs as a run was given them. A run that does not read them at once keeps copies, because its caller may overwrite,
 * transfer or dispose of them as soon as `run` has returned.
 */
import { createOrtTensor, type OrtModule, type OrtTensor } from '../ort.ts';
import { type Hold, holdKept, keptOf, readKept } from './kv/lazy.ts';
import { type Value, valueOfTensor } from './value.ts';

/** What a run is given, until it has ended. */
export interface Given {
  readonly values: readonly Value[];
  /** The run is over. */
  release(): void;
}

/**
 * @param isLate will the input be read later? Others are taken as they are
 */
export function snapshot(ort: OrtModule, tensors: readonly OrtTensor[], isLate: (index: number) => boolean): Given {
  const holds: Hold[] = [];
  const values = tensors.map((tensor, i) => {
    if (!isLate(i)) return valueOfTensor(tensor);
    if (!keptOf(tensor)) return valueOfTensor(copyOfTensor(ort, tensor));
    // Nothing in a cache changes while somebody holds its state.
    holds.push(holdKept(tensor));
    return { ...valueOfTensor(tensor), tensor: undefined };
  });
  return {
    values,
    release: () => {
      for (const hold of holds.splice(0)) hold.release();
    },
  };
}

/** A tensor with elements of its own; one that does not lie on the CPU as it is. */
export function copyOfTensor(ort: OrtModule, tensor: OrtTensor): OrtTensor {
  const { type, dims, location } = tensor;
  if (location !== 'cpu') return tensor;
  const kept = keptOf(tensor);
  const data = kept ? readKept(kept) : (tensor.data as Float32Array | readonly string[]).slice();
  return createOrtTensor(ort, type, data, [...dims]);
}
