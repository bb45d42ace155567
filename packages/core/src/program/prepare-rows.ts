/**
 * Prepares a matrix that is read some rows at a time: its file need not lie in memory as a whole, and what was just read is still in
 * the cache. JavaScript packs it; with their code, kernels do what they can.
 */
import type { ArenaHandle } from '../backends/arena.ts';
import type { PreparedWeights } from '../backends/backend.ts';
import type { WasmBackend } from '../backends/wasm/backend.ts';
import { PANEL } from '../formats/format.ts';
import { fileLayout, type PackedLayout, variantOf } from '../formats/layout.ts';
import { packInto } from '../formats/pack.ts';
import { layoutOf, type PackedShape } from '../formats/packed.ts';
import { validateShape, validateWeights } from '../formats/validate.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import type { packKernels } from './pack-kernels.ts';
import type { PackRecipe, packRecipes } from './pack-recipe.ts';

/** A matrix that is read some rows at a time, from a file for instance. */
export interface WeightRows extends Omit<PackedShape, 'version'> {
  /**
   * Rows [n, n + count) as a matrix of their own; what it returns is read before it is asked for the next ones.
   *
   * @param into where `data` may be put, which saves a copy: `count` rows
   */
  rows(n: number, count: number, into: Uint8Array): QuantizedWeights;
}

/** A matrix without its rows. */
export type WeightRowsShape = Omit<WeightRows, 'rows'>;

/** Bytes of rows that are read at a time: what stays in the cache of one core beside its panels. */
const SLAB_BYTES = 2 ** 18;

/** Kernels that pack rows (`packKernels`): several times as fast as JavaScript. Small models can do without their code. */
export type PackKernels = typeof packKernels;

/** Says how threads pack matrices that they read themselves (`packRecipes`). */
export type PackRecipes = typeof packRecipes;

/** A matrix with its place in memory, into which nothing has been packed yet. */
export interface ReservedRows {
  /** Calls can be bound to it; they may run once it is filled. Disposing of it frees the place. */
  readonly prepared: PreparedWeights;
  readonly handle: ArenaHandle;
  /**
   * Packs the rows, from the first one on.
   *
   * @param kernels of `packKernels`. Default: JavaScript does it, with the same bytes
   * @param range which of them. Default: all
   * @throws as `backend.prepare`, at the first rows that are wrong; the place stays the matrix's
   */
  fill(rows: WeightRows['rows'], kernels?: PackKernels, range?: RowRange): void;
  /**
   * How threads that share the memory may pack it instead, from unsigned codes. Matrices of one shape have the same recipe.
   *
   * @param recipes of `packRecipes`
   * @returns `undefined` if JavaScript has a part in it
   */
  recipe(recipes: PackRecipes): PackRecipe | undefined;
}

/** Rows [first, end), from a panel on. */
export interface RowRange {
  readonly first: number;
  readonly end: number;
}

/**
 * @param kernels see {@link ReservedRows.fill}
 * @returns as `backend.prepare`, with the same bytes
 * @throws as `backend.prepare`, at the first rows that are wrong; nothing of the matrix is left then
 */
export function prepareRows(backend: WasmBackend, source: WeightRows, kernels?: PackKernels): PreparedWeights {
  const { prepared, fill } = reserveRows(backend, source);
  try {
    fill(source.rows, kernels);
  } catch (error) {
    prepared.dispose();
    throw error;
  }
  return prepared;
}

/**
 * Reserves the place of a matrix before its rows are there, so that calls can be bound while a model is loaded.
 *
 * @throws {@link RangeError} for an impossible shape
 */
export function reserveRows(backend: WasmBackend, source: WeightRowsShape): ReservedRows {
  const { format, N, K, blockSize, storedZeroPoints, scale } = source;
  validateShape(source, 'prepareRows');
  const shape = { format, N, K, blockSize, storedZeroPoints, scale };
  const layout = layoutOf(shape);
  const handle = backend.alloc(layout.byteLength, `weights ${format} [${N},${K}]`);
  const prepared = backend.adopt(shape, handle, () => backend.free(handle));
  places.set(prepared, { shape, handle });
  return {
    prepared,
    handle,
    fill: (rows, kernels, range = { first: 0, end: N }) =>
      fillRows(backend, { shape, layout, handle, kernels }, rows, range),
    recipe: (recipes) => recipes(shape, layout, rowsAtATime(shape), backend.arena.shared, packInto),
  };
}

interface Filling extends Place {
  readonly layout: PackedLayout;
  readonly kernels: PackKernels | undefined;
}

function rowsAtATime(shape: PackedShape): number {
  const panels = Math.max(1, Math.floor(SLAB_BYTES / (PANEL * fileLayout(shape).rowBytes)));
  return PANEL * Math.min(panels, Math.ceil(shape.N / PANEL));
}

function fillRows(
  backend: WasmBackend,
  { shape, layout, handle, kernels }: Filling,
  rows: WeightRows['rows'],
  { first: begin, end }: RowRange,
): void {
  const { rowBytes } = fileLayout(shape);
  const most = rowsAtATime(shape);
  const packer = kernels?.(backend, shape, layout, { rows: most, to: handle });
  const staging = new Uint8Array(packer ? 0 : most * rowBytes);
  try {
    for (let first = begin; first < end; first += most) {
      const count = Math.min(most, end - first);
      const into = packer?.into(count * rowBytes) ?? staging.subarray(0, count * rowBytes);
      const slab = rows(first, count, into);
      checkRows(slab, { ...shape, N: count }, first, !packer?.scales);
      const codes = packer?.codes?.(slab);
      const scales = packer?.scales?.(slab);
      const zeros = packer?.zeros?.(slab);
      packInto(slab, layout, backend.arena.memory.buffer, handle.ptr, { first, codes, scales, zeros });
      if (packer?.sawBadScale()) validateWeights(slab, 'prepareRows');
    }
  } finally {
    packer?.dispose();
  }
}

interface Place {
  readonly shape: PackedShape;
  readonly handle: ArenaHandle;
}

/** Where the bytes of matrices lie that are prepared here. */
const places = /* @__PURE__ */ new WeakMap<PreparedWeights, Place>();

/**
 * The same packed bytes as a matrix of another format: what a codebook's high parts leave has the codes and scales of the high parts.
 * They stay the first one's, which has to live as long.
 *
 * @param prepared by {@link prepareRows}
 * @throws {@link TypeError} for a matrix that something else has prepared, {@link RangeError} for a format that lies otherwise
 */
export function preparedAs(backend: WasmBackend, prepared: PreparedWeights, format: FormatId): PreparedWeights {
  const { shape, handle } = placeOf(prepared, 'preparedAs');
  return backend.adopt({ ...shape, format }, handle);
}

/** @throws {@link TypeError} for a matrix that something else has prepared */
export function placeOf(prepared: PreparedWeights, where: string): Place {
  const place = places.get(prepared);
  if (!place) throw new TypeError(`${where}: matrix expected one of prepareRows, got another one.`);
  return place;
}

function checkRows(rows: QuantizedWeights, wanted: WeightRowsShape, first: number, whole: boolean): void {
  const { format, N, K } = rows;
  const got: WeightRowsShape = { format, N, K, ...variantOf(rows) };
  for (const name of CHECKED)
    if (got[name] !== wanted[name])
      throw new RangeError(
        `prepareRows: rows from ${first} on expected ${name} ${String(wanted[name])}, got ${String(got[name])}.`,
      );
  validateWeights(rows, 'prepareRows', whole);
}

const CHECKED = ['format', 'N', 'K', 'blockSize', 'storedZeroPoints', 'scale'] as const;
