/**
 * What claimed regions need from the file. Matrices are packed one after the other and dropped, so a file passes
 * through three buffers of the size of its largest one. Small tensors are copied; of tables only the place is kept.
 * Everything has its place before anything is read, so that runs can be planned in the meantime.
 */

import {
  type ArenaHandle,
  BackendUnavailableError,
  type PreparedWeights,
  packedByteLength,
  type WasmBackend,
} from '@msd/core';
import { byteSize } from '@msd/core/program';
import { countOf } from '../dims.ts';
import { type Info, tensorElements } from '../ir/info.ts';
import type { ReadRows, Resource, Slot } from '../ops/lowering.ts';
import type { Match } from '../passes/matcher.ts';
import { dtypeOf, newSlot } from '../plan/draft.ts';
import type { ByteSource } from '../read/source.ts';
import { type TensorRef, tensorFloats, tensorRange } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';
import { arrivedTensor } from './arriving-place.ts';
import type { SessionRequest } from './options.ts';
import { type KeyedMatrix, packMatrices, reserveMatrices } from './pack.ts';
import { fetchRecipes, packingBackend, type StartedThreads, startPackThreads } from './pack-threads-early.ts';
import { openTable } from './table.ts';

type Kind<K extends Resource['kind']> = Extract<Resource, { kind: K }>;

/** Row counts whose kernels are made ready: one token, and a prompt. */
const WARM_ROWS = [1, 128] as const;

/** Everything that a model's claimed regions share, resident. */
export interface Residents {
  readonly backend: WasmBackend;
  /** Constants on the device, by key. */
  readonly values: ReadonlyMap<
    string,
    { readonly slot: Slot; readonly handle: ArenaHandle; readonly place: undefined }
  >;
  matrix(key: string): PreparedWeights;
  /** What they were made of, by key. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  table(key: string): ReadRows;
  /** Bytes that the matrices and constants take in the file. */
  readonly fileBytes: number;
  /** Reads and packs it all: nothing may run before. Later calls wait for the first one. */
  fill(): Promise<void>;
  /** What has to stay open then, for rows are read from it. */
  readonly sources: ReadonlySet<ByteSource>;
  /** Gives everything back, if there will be no session. */
  dispose(): Promise<void>;
}

/**
 * Makes room for what matches need.
 *
 * @throws `BackendUnavailableError` of @msd/core when the engine has no SIMD or no memory.
 */
export async function reserveResidents(
  matches: readonly Match[],
  { msd: options, watch, progress }: Pick<SessionRequest, 'msd' | 'watch' | 'progress'>,
  kvBytesPerToken: number,
  tensors: readonly TensorRef[],
  started: StartedThreads | undefined,
): Promise<Residents> {
  const { resources, matrices, constants, initialBytes, fileBytes } = needsOf(matches);
  const all = [...resources.values()];
  progress.expect({ packedBytes: initialBytes, kvBytesPerToken });
  progress.report('pack', 0, fileBytes);
  const isThreaded = initialBytes >= THREADED_BYTES && matrices.some(isInFile);
  const threads = isThreaded ? await (started ?? startPackThreads(options)) : undefined;
  const create = async () =>
    threads?.take(initialBytes) ?? packingBackend(options, initialBytes, threads?.hasEnded === false);
  const backend = await roomFor(initialBytes, create).catch(async (error: unknown) => {
    await threads?.end();
    throw error;
  });
  const dispose = async (): Promise<void> => {
    await threads?.end();
    backend.dispose();
  };
  try {
    const { prepared, places } = reserveMatrices(backend, matrices);
    const fetching = initialBytes < KERNEL_BYTES ? undefined : import('./packing.ts');
    fetching?.catch(() => {}); // whoever fills it is told
    if (threads) {
      const [{ packing }, { recipes }] = await Promise.all([fetching!, fetchRecipes()]);
      const how = { kernels: packing.packKernels, recipes: recipes.packRecipes };
      threads.begin({ places, ...how, rangeOf: tensorRange, lend: (task) => backend.lend(task) });
    }
    const placed = constants.map((each) => placeOf(backend, each));
    const tables = new Map<string, ReadRows>();
    const sources = new Set<ByteSource>();
    const hasTwins = all.some((each) => each.kind === 'table' && prepared.has(each.twin ?? ''));
    const twinning = hasTwins ? import('./twins.ts') : undefined;
    twinning?.catch(() => {});
    const fill = async (): Promise<void> => {
      let packed = 0;
      const kernels = (await fetching)?.packing.packKernels;
      const arriving = { tensors, kept: all.flatMap((each) => tensorsBeside(each, resources)) };
      await packMatrices(places, arriving, { watch, threads, kernels }, (matrix) => {
        packed += matrix.fileBytes;
        progress.report('pack', packed, fileBytes);
      }).finally(() => threads?.end());
      for (const tensor of arriving.kept) await arrivedTensor(tensor);
      for (const [i, each] of constants.entries()) writeConstant(backend, each, placed[i]!.handle);
      const keep = (source: ByteSource): void => void sources.add(source);
      const rowsOfTwin = (await twinning)?.twins.rowsOfTwin;
      for (const each of all) {
        if (each.kind !== 'table') continue;
        const twin = prepared.get(each.twin ?? '');
        tables.set(each.key, twin ? rowsOfTwin!(each.table, twin) : openTable(each.table, keep));
      }
    };
    for (const matrix of extremes(matrices))
      for (const M of WARM_ROWS) backend.warmUp(prepared.get(matrix)!, M, options);
    let filled: Promise<void> | undefined;
    return {
      backend,
      values: new Map(constants.map(({ key }, i) => [key, placed[i]!])),
      matrix: (key) => prepared.get(key)!,
      matrices: new Map(matrices.map(({ key, matrix }) => [key, matrix])),
      table: (key) => (indices, out) => tables.get(key)!(indices, out),
      fileBytes,
      fill: () => (filled ??= fill()),
      sources,
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Packed weights from which on kernels are worth their code: JavaScript takes some milliseconds for as many. */
const KERNEL_BYTES = 2 ** 22;
/** The same of threads that pack. */
const THREADED_BYTES = 2 ** 25;

/** Can threads read its rows from a file? */
const isInFile = ({ matrix: { stored } }: KeyedMatrix): boolean =>
  stored?.some((tensor) => tensorRange(tensor)?.source.descriptor !== undefined) ?? false;

/** What matches need, each once, and the bytes of it: on the device, before anything runs, and in the file. */
export function needsOf(matches: readonly Match[]) {
  const resources = new Map<string, Resource>();
  for (const match of matches)
    for (const resource of match.resources ?? []) resources.set(`${resource.kind} ${resource.key}`, resource);
  const all = [...resources.values()];
  const matrices = all.filter((each) => each.kind === 'matrix');
  const constants = all.filter((each) => each.kind === 'values');
  let initialBytes = 0;
  let fileBytes = 0;
  for (const { matrix } of matrices) {
    if (matrix.bytesOf === undefined)
      initialBytes += packedByteLength(matrix, matrix.storedZeroPoints, matrix.scale) + 64;
    fileBytes += matrix.fileBytes;
  }
  for (const { info } of constants) {
    const bytes = byteSize(dtypeOf(info.elemType)) * countOf(info.dims as number[]);
    initialBytes += bytes + 64;
    fileBytes += bytes;
  }
  return { resources, matrices, constants, initialBytes, fileBytes };
}

/** Tensors that a resource is made of, if it is no matrix. */
function tensorsBeside(resource: Resource, resources: ReadonlyMap<string, Resource>): TensorRef[] {
  if (resource.kind === 'matrix') return [];
  if (resource.kind === 'table' && resources.has(`matrix ${resource.twin}`)) return [];
  const { data, scales, zeroPoints } = resource.kind === 'table' ? resource.table : { data: resource.tensor };
  return [data, scales, zeroPoints].filter((tensor) => typeof tensor === 'object');
}

/** Allocates the memory to start with. If there is not enough, the error comes before anything is read. */
async function roomFor(bytes: number, create: () => Promise<WasmBackend>): Promise<WasmBackend> {
  const where = `create: memory, expected ${Math.ceil(bytes / 1e6)} MB for the model's packed weights`;
  const advice = 'Use a smaller model, or one with fewer bits.';
  if (bytes > MAX_BYTES) throw new BackendUnavailableError(`${where}, got 4 GiB, all that WebAssembly has. ${advice}`);
  try {
    return await create();
  } catch (cause) {
    if (!(cause instanceof BackendUnavailableError) || !/memory of/.test(cause.message)) throw cause;
    throw new BackendUnavailableError(`${where}, got none of it. Close other pages, or: ${advice}`, { cause });
  }
}

/** The most that a 32-bit memory can have. */
const MAX_BYTES = 2 ** 32 - 2 ** 16;

/**
 * Of all matrices that the same kernels serve, the one with most columns and the one with most rows: between them they need
 * every kernel, and the largest working buffers.
 */
function extremes(matrices: readonly Kind<'matrix'>[]): Set<string> {
  const largest = new Map<string, Kind<'matrix'>>();
  for (const each of matrices) {
    const { format, N, blockSize, scale, storedZeroPoints } = each.matrix;
    const kind = [format, blockSize, scale, storedZeroPoints, N % 16].join();
    for (const side of ['N', 'K'] as const) {
      const known = largest.get(`${kind} ${side}`);
      if (!known || known.matrix[side] < each.matrix[side]) largest.set(`${kind} ${side}`, each);
    }
  }
  return new Set([...largest.values()].map(({ key }) => key));
}

/** Where a constant will lie, as values of the device have it. */
function placeOf(device: WasmBackend, { key, info, transposed, arranged }: Kind<'values'>) {
  const dims = info.dims as readonly number[];
  const dtype = dtypeOf(info.elemType);
  const shape = arranged ? arranged.dims : transposed ? [...dims.slice(0, -2), dims.at(-1)!, dims.at(-2)!] : dims;
  const handle = device.alloc(byteSize(dtype) * countOf(dims), `constant ${key}`);
  return { slot: newSlot(dtype, shape), handle, place: undefined };
}

function writeConstant(
  device: WasmBackend,
  { info, tensor, transposed, arranged }: Kind<'values'>,
  handle: ArenaHandle,
): void {
  const isAsStored = !transposed && !arranged;
  // Read to where it lies, it is no array of JavaScript in between.
  const there = isAsStored && handle.byteLength > 0 ? device.arena.bytes(handle) : undefined;
  const values = elementsOf(info, tensor, there);
  const placed = transposed
    ? transpose(values as Float32Array, info.dims as readonly number[])
    : (arranged?.of(values as Float32Array) ?? values);
  const isThere = placed.buffer === there?.buffer && placed.byteOffset === there.byteOffset;
  if (values.byteLength > 0 && !isThere) device.write(handle, placed);
}

/** @param into where they may be put: see {@link tensorFloats} */
function elementsOf(info: Info, tensor: TensorRef | undefined, into?: Uint8Array): ArrayBufferView {
  const dtype = dtypeOf(info.elemType);
  if (dtype === 'f32' && tensor) return tensorFloats(tensor, into);
  // Of more elements than shape arithmetic looks at, nothing is known before: GPT-2's mask of all positions.
  const numbers = (info.data ?? tensorElements(tensor!)) as readonly number[];
  return (dtype === 'f32' ? Float32Array : dtype === 'bool' ? Uint8Array : Int32Array).from(numbers);
}

/** The last two of two or more dimensions exchanged. */
function transpose(values: Float32Array, dims: readonly number[]): Float32Array {
  const [rows, columns] = [dims.at(-2)!, dims.at(-1)!];
  const out = new Float32Array(values.length);
  for (let at = 0; at < values.length; at += rows * columns)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++) out[at + j * rows + i] = values[at + i * columns + j]!;
  return out;
}
