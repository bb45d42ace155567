/**
 * A table whose rows stay in the file: they are read when they are needed. A small table is copied; for a large one the
 * file stays open, or the bytes that were given stay in use, until the session ends.
 */
import { type ReadBytes, readFrom, rowReader } from '@msd/core/nn';
import { SessionStateError } from '../errors.ts';
import type { ReadRows, TableRef } from '../ops/lowering.ts';
import type { ByteSource } from '../read/source.ts';
import { type TensorRef, tensorBytes, tensorRange } from '../read/tensor.ts';

/** Tensors up to this size are copied. */
const SMALL_BYTES = 2 ** 20;

/** @param keep is told what has to stay open */
export function openTable(table: TableRef, keep: (source: ByteSource) => void): ReadRows {
  const { data, scales, zeroPoints } = table;
  return rowReader(table, {
    rows: reader(data, keep),
    scales: typeof scales === 'number' ? sameFor(scales) : scales && reader(scales, keep),
    zeroPoints: zeroPoints && reader(zeroPoints, keep),
  });
}

/** Every row has the same scale. */
function sameFor(scale: number): ReadBytes {
  const bytes = new Uint8Array(Float32Array.of(scale).buffer);
  return (_, into) => into.set(bytes);
}

function reader(tensor: TensorRef, keep: (source: ByteSource) => void): ReadBytes {
  const range = tensorRange(tensor);
  // If the table is only a small part of bytes that were fetched for this session, the rest is freed.
  const isCopied =
    !range || range.length <= SMALL_BYTES || (range.source.isOwn && 2 * range.length < range.source.byteLength);
  if (isCopied) return readFrom(new Uint8Array(tensorBytes(tensor)));
  const { source, offset: begin } = range;
  for (const each of [source, ...(source.of ?? [])]) keep(each);
  return (offset, into) => {
    const { bytes } = source;
    if (!bytes) {
      const read = source.read(begin + offset, into.length, into);
      if (read.buffer !== into.buffer) into.set(read); // bytes that were read ahead
    } else if (bytes.byteLength === source.byteLength)
      into.set(bytes.subarray(begin + offset, begin + offset + into.length));
    else
      throw new SessionStateError(
        `run: table '${tensor.name}': the bytes of the model, expected ${source.byteLength} as when it was created, got ${bytes.byteLength}. Were they transferred?`,
      );
  };
}
