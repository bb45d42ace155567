/**
 * Prepares a matrix that is read some rows at a time: its file need not lie in memory as a whole, and what was just read is still in
 * the cache. A kernel moves the codes where it can, JavaScript does the rest.
 */
import type { ArenaHandle } from '../backends/arena.ts';
import type { PreparedWeights } from '../backends/backend.ts';
import type { WasmBackend } from '../backends/wasm/backend.ts';
import { PANEL, stepBytes } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { fileLayout, type PackedLayout, variantOf } from '../formats/layout.ts';
import { type PackCodes, packInto } from '../formats/pack.ts';
import { type PackedBits, packSpec, SET } from '../formats/pack.wasm.ts';
import { layoutOf, type PackedShape, packedRows } from '../formats/packed.ts';
import { validateShape, validateWeights } from '../formats/validate.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import { argsOf, argumentList } from '../kernel-spec.ts';
import { Module } from '../wasm/emitter.ts';

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
/** Weights from which on a kernel, which has to be made and tiered up, gains anything. */
const KERNEL_WEIGHTS = 2 ** 18;

/** A matrix with its place in memory, which nothing has been packed into. */
export interface ReservedRows {
  /** Calls can be bound to it; they may run once it is filled. Disposing of it gives the place back. */
  readonly prepared: PreparedWeights;
  readonly handle: ArenaHandle;
  /**
   * Packs the rows, from the first one on.
   *
   * @throws as `backend.prepare`, at the first rows that are wrong; the place stays the matrix's
   */
  fill(rows: WeightRows['rows']): void;
}

/**
 * @returns as `backend.prepare`, with the same bytes
 * @throws as `backend.prepare`, at the first rows that are wrong; nothing of the matrix is left then
 */
export function prepareRows(backend: WasmBackend, source: WeightRows): PreparedWeights {
  const { prepared, fill } = reserveRows(backend, source);
  try {
    fill(source.rows);
  } catch (error) {
    prepared.dispose();
    throw error;
  }
  return prepared;
}

/**
 * Gives a matrix its place before its rows are there: whoever loads a model can bind its calls in the meantime.
 *
 * @throws {@link RangeError} for a shape that no matrix has
 */
export function reserveRows(backend: WasmBackend, source: WeightRowsShape): ReservedRows {
  const { format, N, K, blockSize, storedZeroPoints, scale } = source;
  validateShape(source, 'prepareRows');
  const shape = { format, N, K, blockSize, storedZeroPoints, scale };
  const layout = layoutOf(shape);
  const handle = backend.alloc(layout.byteLength, `weights ${format} [${N},${K}]`);
  const prepared = backend.adopt(shape, handle, () => backend.free(handle));
  places.set(prepared, { shape, handle });
  return { prepared, handle, fill: (rows) => fillRows(backend, { shape, layout, handle }, rows) };
}

interface Filling extends Place {
  readonly layout: PackedLayout;
}

function fillRows(backend: WasmBackend, { shape, layout, handle }: Filling, rows: WeightRows['rows']): void {
  const { N } = shape;
  const { rowBytes } = fileLayout(shape);
  const panels = Math.max(1, Math.floor(SLAB_BYTES / (PANEL * rowBytes)));
  const most = PANEL * Math.min(panels, Math.ceil(N / PANEL));
  const staging = backend.alloc(most * rowBytes, 'rows to pack');
  try {
    const { memory } = backend.arena;
    const pack = hasKernel(shape, layout) ? packKernel(memory, formats[shape.format].bits as PackedBits) : undefined;
    for (let first = 0; first < N; first += most) {
      const count = Math.min(most, N - first);
      const into = backend.arena.bytes(backend.part(staging, 0, count * rowBytes));
      const slab = rows(first, count, into);
      checkRows(slab, { ...shape, N: count }, first);
      const codes = pack && kernelCodes(pack, backend.arena.bytes(staging), slab, layout, handle.ptr);
      packInto(slab, layout, memory.buffer, handle.ptr, { first, ...(codes && { codes }) });
    }
  } finally {
    backend.free(staging);
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

function placeOf(prepared: PreparedWeights, where: string): Place {
  const place = places.get(prepared);
  if (!place) throw new TypeError(`${where}: matrix expected one of prepareRows, got another one.`);
  return place;
}

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

function checkRows(rows: QuantizedWeights, wanted: WeightRowsShape, first: number): void {
  const { format, N, K } = rows;
  const got: WeightRowsShape = { format, N, K, ...variantOf(rows) };
  for (const name of CHECKED)
    if (got[name] !== wanted[name])
      throw new RangeError(
        `prepareRows: rows from ${first} on expected ${name} ${String(wanted[name])}, got ${String(got[name])}.`,
      );
  validateWeights(rows, 'prepareRows');
}

const CHECKED = ['format', 'N', 'K', 'blockSize', 'storedZeroPoints', 'scale'] as const;

/** Whole sets of k, none of them past the end of a row. */
function hasKernel(shape: WeightRowsShape, { paddedK, span }: PackedLayout): boolean {
  const { bits } = formats[shape.format];
  const isWhole = span % SET === 0 && fileLayout(shape).rowBytes * 8 >= paddedK * bits;
  return bits !== 2 && isWhole && shape.N * shape.K >= KERNEL_WEIGHTS;
}

type Pack = (...args: number[]) => void;

const made = /* @__PURE__ */ new WeakMap<WebAssembly.Memory, Map<PackedBits, Pack>>();
const compiled = /* @__PURE__ */ new Map<string, WebAssembly.Module>();

/** It tiers up with the first matrix: a call takes microseconds. */
function packKernel(memory: WebAssembly.Memory, bits: PackedBits): Pack {
  const kernels = made.get(memory) ?? new Map<PackedBits, Pack>();
  made.set(memory, kernels);
  const known = kernels.get(bits);
  if (known) return known;
  const id = packSpec.id(bits);
  const shared = !(memory.buffer instanceof ArrayBuffer);
  const key = `${id} ${shared}`;
  let module = compiled.get(key);
  if (!module) {
    const source = new Module();
    packSpec.emit(source, bits);
    compiled.set(key, (module = new WebAssembly.Module(source.toBytes({ shared }))));
  }
  const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[id] as Pack;
  kernels.set(bits, kernel);
  return kernel;
}

/**
 * Brings the rows to the kernel, and it to them.
 *
 * @param staging arena memory for as many rows as there ever are
 * @param to address of the matrix
 */
function kernelCodes(
  kernel: Pack,
  staging: Uint8Array,
  slab: QuantizedWeights,
  { span, headBytes }: PackedLayout,
  to: number,
): PackCodes {
  const { N, data } = slab;
  const { rowBytes } = fileLayout(slab);
  const panels = Math.ceil(N / PANEL);
  const isThere = data.buffer === staging.buffer && data.byteOffset === staging.byteOffset;
  if (!isThere) staging.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  // Rows past the last one repeat it: their scale is 0.
  for (let row = N; row < panels * PANEL; row++) staging.copyWithin(row * rowBytes, (N - 1) * rowBytes, N * rowBytes);
  const bits = formats[slab.format].bits as PackedBits;
  const spanBytes = (span / 4) * stepBytes({ bits });
  const flip = data instanceof Int8Array ? 0x80808080 | 0 : 0;
  const from = staging.byteOffset;
  const toBlock = headBytes + spanBytes;
  const given = { from, rowBytes, to, toPanel: 0, panels, blocks: 0, toBlock, sets: 0, flip };
  const args = argumentList<PackedBits, string, number>(packSpec, bits, given);
  // The same numbers for every call but for these, and the same list: a large model takes tens of thousands of calls.
  const place = (name: keyof typeof given): number => argsOf(packSpec, bits).indexOf(name);
  const [FROM, TO, TO_PANEL, BLOCKS, SETS] = [
    place('from'),
    place('to'),
    place('toPanel'),
    place('blocks'),
    place('sets'),
  ];
  const pack = (k: number, blocks: number, sets: number, at: number, panelBytes: number): void => {
    args[FROM] = from + (k * bits) / 8;
    args[TO] = to + at + headBytes;
    args[TO_PANEL] = panelBytes;
    args[BLOCKS] = blocks;
    args[SETS] = sets;
    kernel(...args);
  };
  return (k0, kEnd, at, panelBytes) => {
    const blocks = Math.floor((kEnd - k0) / span);
    const rest = k0 + blocks * span;
    if (blocks > 0) pack(k0, blocks, span / SET, at, panelBytes);
    if (rest < kEnd) pack(rest, 1, (kEnd - rest) / SET, at + blocks * toBlock, panelBytes);
  };
}
