/**
 * Matrices become what MSD multiplies with, one after the other. Of a file that is still arriving each is packed as soon as it is
 * there. The bytes of what was fetched go as soon as they are packed: file and packed weights never lie in memory both as a whole.
 */
import { type PreparedWeights, packedByteLength, type WasmBackend } from '@msd/core';
import { preparedAs, prepareRows } from '@msd/core/program';
import { type Arriving, NotYet } from '../read/arriving.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { Watch } from './abort.ts';
import { isArriving } from './arriving-place.ts';
import type { ArrivingFile, ArrivingTensors } from './arriving-tensors.ts';
import type { Touched } from './touch.ts';

/**
 * @param onPacked told after each
 * @throws `Gone` of read/arriving.ts when a matrix needs bytes that an earlier attempt let go of
 */
export async function packMatrices(
  backend: WasmBackend,
  matrices: readonly { readonly key: string; readonly matrix: Matrix }[],
  arriving: ArrivingTensors,
  { watch, touched }: { readonly watch: Watch; readonly touched: Touched | undefined },
  onPacked: (matrix: Matrix) => void,
): Promise<Map<string, PreparedWeights>> {
  const tracking = isArriving(arriving.tensors) ? (await import('./arriving-tensors.ts')).tracking : undefined;
  const files = tracking?.filesOf(arriving) ?? new Map<Arriving, ArrivingFile>();
  const packed = new Map<string, PreparedWeights>();
  /** Those that wait, with what they wait for. */
  let waiting: { readonly key: string; readonly matrix: Matrix; readonly for: NotYet | undefined }[];
  waiting = matrices.flatMap(({ key, matrix }) =>
    matrix.bytesOf === undefined ? [{ key, matrix, for: undefined }] : [],
  );
  const shared =
    tracking &&
    new tracking.Uses(
      files,
      waiting.map(({ matrix }) => matrix),
    );
  try {
    while (waiting.length > 0) {
      const still: typeof waiting = [];
      for (const each of waiting) {
        const { key, matrix } = each;
        if (each.for && each.for.end > each.for.source.loaded) {
          still.push(each);
          continue;
        }
        if (touched && each.for === undefined)
          await touched.room(packedByteLength(matrix, matrix.storedZeroPoints, matrix.scale));
        for (const file of files.values()) file.begin();
        try {
          // Some rows at a time: a file's matrix never lies in memory as a whole, but packed.
          packed.set(key, prepareRows(backend, { ...matrix, rows: matrix.open() }));
        } catch (error) {
          if (!(error instanceof NotYet)) throw error;
          const { source, end } = error;
          still.push({ key, matrix, for: new NotYet(source, files.get(source)?.endOf(end) ?? end) });
          continue;
        }
        for (const file of files.values()) file.end();
        shared?.done(matrix);
        onPacked(matrix);
        if (watch.isDue) await watch.turn();
      }
      if (still.length > 0) await firstOf(still.map((each) => each.for!));
      watch.check();
      waiting = still;
    }
  } finally {
    for (const file of files.values()) file.close();
  }
  for (const { key, matrix } of matrices)
    if (matrix.bytesOf !== undefined) packed.set(key, preparedAs(backend, packed.get(matrix.bytesOf)!, matrix.format));
  // Every row order gives the same weights; whoever asks for them goes by the order of the graph.
  return new Map(matrices.map(({ key }) => [key, packed.get(key)!]));
}

/** Waits for what arrives next. */
async function firstOf(waits: readonly NotYet[]): Promise<void> {
  const nearest = new Map<Arriving, number>();
  for (const { source, end } of waits) nearest.set(source, Math.min(end, nearest.get(source) ?? end));
  await Promise.race([...nearest].map(([source, end]) => source.until(end)));
}
