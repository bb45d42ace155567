/** Tensors of files that are still arriving: where they lie. */
import type { Arriving, Stretch } from '../read/arriving.ts';
import type { ByteRange } from '../read/source.ts';
import { type TensorRef, tensorRange } from '../read/tensor.ts';

/** Waits for a tensor of a file that is arriving. */
export async function arrivedTensor(tensor: TensorRef): Promise<void> {
  const [source, stretch] = placeOf(tensor) ?? [];
  if (source && stretch) await source.until(stretch.offset + stretch.length);
}

/** The file that a tensor arrives in, and where in it. */
export function placeOf(tensor: TensorRef): readonly [Arriving, Stretch] | undefined {
  const place = stretchOf(tensor);
  return place?.source.arriving && [place.source.arriving, place];
}

/** Does one of these tensors lie in a file that is still arriving? Such bytes are freed when they are packed. */
export function isArriving(tensors: Iterable<TensorRef>): boolean {
  for (const tensor of tensors) if (placeOf(tensor)) return true;
  return false;
}

/** Where its elements lie, whatever they are. */
function stretchOf(tensor: TensorRef): ByteRange | undefined {
  const { storage, proto } = tensor;
  if (storage.kind === 'raw') return storage.range;
  if (storage.kind === 'typed') return proto;
  return storage.files.sources.get(storage.location)?.arriving ? tensorRange(tensor) : undefined;
}
