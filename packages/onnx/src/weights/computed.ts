/**
 * Constants that are computed from others: nothing is, before somebody asks for a stretch of it, and nothing stays. Rows of a table
 * behind a DequantizeLinear are read from the file and made floats one by one, like any table's.
 */
import { dataTypeBits } from '../data-types.ts';
import { type ByteSource, bytesSource, checkRange } from '../read/source.ts';
import { type TensorRef, type TensorType, tensorByteLength, tensorBytes } from '../read/tensor.ts';

/**
 * A tensor whose elements follow from those at the same places of others.
 *
 * @param of tensors that it is computed from
 * @param compute writes elements [begin, begin + count), of whole bytes, in `raw_data` form
 */
export function computedTensor(
  { name, elemType, dims }: TensorType,
  of: readonly TensorRef[],
  compute: (begin: number, count: number, out: Uint8Array) => void,
): TensorRef {
  const width = dataTypeBits(elemType)! / 8;
  return tensorOver({ name, elemType, dims }, of, (offset, into) => {
    const begin = Math.floor(offset / width);
    const end = Math.ceil((offset + into.length) / width);
    const isWhole = begin * width === offset && (end - begin) * width === into.length && into.byteOffset % width === 0;
    if (isWhole) compute(begin, end - begin, into);
    else {
      const bytes = new Uint8Array((end - begin) * width);
      compute(begin, end - begin, bytes);
      into.set(bytes.subarray(offset - begin * width, offset - begin * width + into.length));
    }
  });
}

/** A tensor that can only be made as a whole: it is made again for whoever asks when the last one is gone. */
export function wholeTensor(type: TensorType, of: readonly TensorRef[], make: () => Uint8Array): TensorRef {
  let made: WeakRef<Uint8Array> | undefined;
  return tensorOver(type, of, (offset, into) => {
    let bytes = made?.deref();
    if (!bytes) made = new WeakRef((bytes = make()));
    into.set(bytes.subarray(offset, offset + into.length));
  });
}

/** A tensor of bytes in memory. */
export function tensorOfBytes(type: TensorType, bytes: Uint8Array): TensorRef {
  const range = { source: bytesSource(bytes, `constant '${type.name}'`), offset: 0, length: bytes.length };
  return { ...type, storage: { kind: 'raw', range }, proto: range };
}

/** The same elements under other dims. */
export function reshapedTensor(tensor: TensorRef, name: string, dims: readonly number[]): TensorRef {
  if (tensor.storage.kind !== 'typed') return { ...tensor, dims };
  // What lies in repeated fields has its dims beside it.
  const type = { name, elemType: tensor.elemType, dims };
  return wholeTensor(type, [tensor], () => tensorBytes(tensor));
}

function tensorOver(
  type: TensorType,
  of: readonly TensorRef[],
  fill: (offset: number, into: Uint8Array) => void,
): TensorRef {
  const byteLength = tensorByteLength(type);
  const name = `constant '${type.name}'`;
  const source: ByteSource = {
    name,
    byteLength,
    of: of.flatMap((tensor) => sourcesOf(tensor)),
    read(offset, length, given) {
      checkRange(name, byteLength, offset, length);
      const into = given && given.length >= length ? given.subarray(0, length) : new Uint8Array(length);
      fill(offset, into);
      return into;
    },
    close() {},
  };
  const range = { source, offset: 0, length: byteLength };
  return { ...type, storage: { kind: 'raw', range }, proto: range };
}

/** What has to stay open while a tensor is read. */
function sourcesOf({ storage, proto }: TensorRef): readonly ByteSource[] {
  const source =
    storage.kind === 'external'
      ? storage.files.sources.get(storage.location)
      : (storage.kind === 'raw' ? storage.range : proto).source;
  return source ? [source, ...(source.of ?? [])] : [];
}
