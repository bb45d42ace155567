/** Rows of a prepared matrix as floats. */
import type { PreparedWeights } from '../backends/backend.ts';
import { packedRows } from '../formats/packed-rows.ts';
import { placeOf } from './prepare-rows.ts';

/**
 * Reads rows of the real matrix back out of a prepared one: of a table that is also what a product is made with, one copy serves both.
 *
 * @param prepared by {@link prepareRows}
 * @returns writes row n, f32 [K], at `out[at…]`: `scale · (q − zeroPoint)`, rounded once
 * @throws {@link TypeError} for a matrix that something else has prepared
 */
export function preparedRows(prepared: PreparedWeights): (n: number, out: Float32Array, at?: number) => void {
  const { shape, handle } = placeOf(prepared, 'preparedRows');
  let buffer: ArrayBufferLike | undefined;
  let read: ReturnType<typeof packedRows>;
  return (n, out, at) => {
    // Memory that grows is another buffer.
    if (handle.arena.memory.buffer !== buffer) {
      buffer = handle.arena.memory.buffer;
      read = packedRows(shape, handle.arena.bytes(handle));
    }
    read(n, out, at);
  };
}
