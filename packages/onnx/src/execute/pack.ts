/**
 * Packs matrices one after the other. If a file is still arriving, each is packed as soon as it is there. Fetched bytes
 * are freed as soon as they are packed, so file and packed weights are never both in memory as a whole.
 */
import type { PreparedWeights, WasmBackend } from '@msd/core';
import { type PackKernels, preparedAs, type ReservedRows, reserveRows } from '@msd/core/program';
import { type Arriving, NotYet } from '../read/arriving.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { Watch } from './abort.ts';
import { isArriving } from './arriving-place.ts';
import type { ArrivingFile, ArrivingTensors } from './arriving-tensors.ts';
import type { PackThreads } from './pack-threads.ts';

/** A matrix by the name that claimed nodes know it by. */
export interface KeyedMatrix {
  readonly key: string;
  readonly matrix: Matrix;
}

/** A matrix with its place. */
interface Reserved extends Pick<ReservedRows, 'handle' | 'fill' | 'recipe'> {
  readonly matrix: Matrix;
}

/** Places of matrices, one behind the other. */
export interface ReservedMatrices {
  /** By key, in the order of the graph: calls can be bound to them, and run once all are packed. */
  readonly prepared: ReadonlyMap<string, PreparedWeights>;
  /** Those that bytes are packed into. */
  readonly places: readonly Reserved[];
}

/** Gives every matrix its place. */
export function reserveMatrices(backend: WasmBackend, matrices: readonly KeyedMatrix[]): ReservedMatrices {
  const prepared = new Map<string, PreparedWeights>();
  const places: Reserved[] = [];
  for (const { key, matrix } of matrices) {
    if (matrix.bytesOf !== undefined) continue;
    const { prepared: own, handle, fill, recipe } = reserveRows(backend, matrix);
    prepared.set(key, own);
    places.push({ matrix, handle, fill, recipe });
  }
  for (const { key, matrix } of matrices)
    if (matrix.bytesOf !== undefined)
      prepared.set(key, preparedAs(backend, prepared.get(matrix.bytesOf)!, matrix.format));
  return { prepared: new Map(matrices.map(({ key }) => [key, prepared.get(key)!])), places };
}

/** What it is done with. */
interface Packing {
  readonly watch: Watch;
  readonly threads: PackThreads | undefined;
  readonly kernels: PackKernels | undefined;
}

/**
 * @param onPacked told after each
 * @throws `Gone` of read/arriving.ts when a matrix needs bytes that an earlier attempt let go of
 */
export async function packMatrices(
  places: readonly Reserved[],
  arriving: ArrivingTensors,
  { watch, threads, kernels }: Packing,
  onPacked: (matrix: Matrix) => void,
): Promise<void> {
  const tracking = isArriving(arriving.tensors) ? (await import('./arriving-tensors.ts')).tracking : undefined;
  const files = tracking?.filesOf(arriving) ?? new Map<Arriving, ArrivingFile>();
  /** Those that wait, with what they wait for. */
  let waiting: { readonly place: Reserved; readonly for: NotYet | undefined }[];
  waiting = places.map((place) => ({ place, for: undefined }));
  const shared =
    tracking &&
    new tracking.Uses(
      files,
      places.map(({ matrix }) => matrix),
    );
  const turn = () => (watch.isDue ? watch.turn() : undefined);
  try {
    while (waiting.length > 0) {
      const still: typeof waiting = [];
      for (const each of waiting) {
        const { matrix, fill } = each.place;
        if (each.for && each.for.end > each.for.source.loaded) {
          still.push(each);
          continue;
        }
        if (await threads?.pack(each.place, turn)) {
          onPacked(matrix);
          continue;
        }
        for (const file of files.values()) file.begin();
        try {
          // Some rows at a time: a file's matrix never lies in memory as a whole, but packed.
          fill(matrix.open(), kernels);
        } catch (error) {
          if (!(error instanceof NotYet)) throw error;
          const { source, end } = error;
          still.push({ ...each, for: new NotYet(source, files.get(source)?.endOf(end) ?? end) });
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
}

/** Waits for what arrives next. */
async function firstOf(waits: readonly NotYet[]): Promise<void> {
  const nearest = new Map<Arriving, number>();
  for (const { source, end } of waits) nearest.set(source, Math.min(end, nearest.get(source) ?? end));
  await Promise.race([...nearest].map(([source, end]) => source.until(end)));
}
