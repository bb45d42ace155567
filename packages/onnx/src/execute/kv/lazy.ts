/**
 * Tensors of `past` and `present` whose elements lie in a cache. They are tensors of the caller's own class. Fed back as they are, they
 * cost nothing; whoever reads `.data` gets an array of floats, and is then taken at its word: the array may be written to, so the
 * tensor is that array from then on.
 */
import { SessionStateError } from '../../errors.ts';
import { createOrtTensor, type OrtModule, type OrtTensor } from '../../ort.ts';
import type { KvKeeper, KvState } from './keeper.ts';

/** Which part of a state a tensor is: keys or values [batch, heads, positions, size], or both [2, …]. */
export type Half = 'keys' | 'values' | 'both';

/** A tensor's elements in a cache. */
export interface Kept {
  readonly keeper: KvKeeper;
  readonly state: KvState;
  readonly half: Half;
  readonly dims: readonly number[];
}

const KEPT = Symbol('msd.kept');
const EMPTY = new Float32Array(0);

interface LazyTensor extends OrtTensor {
  [KEPT]?: { readonly kept: Kept; readonly holder: object } | undefined;
}

/** What a tensor is in a cache, unless it has become an array. */
export function keptOf(tensor: OrtTensor | undefined): Kept | undefined {
  return (tensor as LazyTensor | undefined)?.[KEPT]?.kept;
}

/** @param holder what all tensors of a run refer to: as long as it lives, its states do */
export function lazyTensor(ort: OrtModule, kept: Kept, holder: object): OrtTensor {
  const { keeper, state, dims } = kept;
  const tensor = createOrtTensor(ort, 'float32', EMPTY, [0]) as LazyTensor;
  let data: Float32Array | undefined;
  const release = (): void => {
    tensor[KEPT] = undefined;
    keeper.release(state);
  };
  state.holders++;
  Object.defineProperty(tensor, KEPT, { value: { kept, holder }, writable: true });
  // The class keeps what `data` gives there, structuredClone reads it, and `dispose` empties it.
  Object.defineProperty(tensor, 'cpuData', {
    enumerable: true,
    configurable: true,
    get(): Float32Array | undefined {
      if (!tensor[KEPT]) return data;
      data = readKept(kept);
      release();
      return data;
    },
    set(value: Float32Array | undefined) {
      if (tensor[KEPT]) release();
      data = value;
    },
  });
  return Object.assign(tensor, { dims, size: dims.reduce((product, dim) => product * dim, 1) });
}

/** Whether the module's tensors can be made so. If not, results are arrays from the start, and every run copies them in. */
export function canBeLazy(ort: OrtModule): boolean {
  const tensor = createOrtTensor(ort, 'float32', new Float32Array(1), [1]);
  if (!Object.hasOwn(tensor, 'cpuData')) return false;
  const other = new Float32Array(1);
  let emptied = false;
  Object.defineProperty(tensor, 'cpuData', { get: () => other, set: () => void (emptied = true) });
  const isRead = tensor.data === other;
  tensor.dispose?.();
  return isRead && emptied;
}

/** The elements: what is beyond the keys of a sequence is 0. */
export function readKept({ state, half, dims }: Kept): Float32Array {
  if (!state.store)
    throw new SessionStateError(
      'tensor: data of keys and values, expected them to be read before release() of their session, got a read after it.',
    );
  const { cache } = state.store;
  const { batch, kvHeads, headSize, valueSize } = cache.shape;
  const count = Math.max(0, ...state.lengths);
  const rows = dims.at(-2)!;
  const parts: [() => Float32Array, number][] = [];
  if (half !== 'values') parts.push([() => cache.keys(count), headSize]);
  if (half !== 'keys') parts.push([() => cache.values(count), valueSize]);
  if (parts.length === 1 && rows === count && state.lengths.every((length) => length === count)) return parts[0]![0]();
  const out = new Float32Array(dims.reduce((product, dim) => product * dim, 1));
  let at = 0;
  for (const [read, size] of parts) {
    const stored = read();
    for (let head = 0; head < batch * kvHeads; head++, at += rows * size) {
      const length = Math.min(rows, state.lengths[Math.floor(head / kvHeads)]!);
      const from = head * count * size;
      out.set(stored.subarray(from, from + length * size), at);
    }
  }
  return out;
}
