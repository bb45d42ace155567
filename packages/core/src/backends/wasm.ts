/**
 * The WASM SIMD backend: decompose -> gemm (recombining in registers) over one arena, one thread, synchronous.
 *
 * Rows are worked off in slices of at most 256, results for typed arrays in column ranges that stay in the cache: scratch
 * is bounded whatever M and N are, and the bits do not depend on either cut.
 */
import type { Components } from '../decompose/contract.ts';
import { decomposeId, decomposeKernel } from '../decompose/decompose.wasm.ts';
import { BackendUnavailableError } from '../errors.ts';
import { K_BLOCK, K_STEP, PANEL, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import { type PackedLayout, packedLayout, roundUp } from '../formats/layout.ts';
import { packWeights } from '../formats/pack.ts';
import { validateWeights } from '../formats/validate.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import { gemmId, gemmKernel, SCRATCH_BYTES } from '../gemm/gemm.wasm.ts';
import { type GemmShape, gemmOptions } from '../gemm/registry.ts';
import { gemmShapeFor } from '../plan/choose.ts';
import { Arena, type ArenaHandle, type ArenaOptions } from './arena.ts';
import { checkMatmul, type Operand } from './arguments.ts';
import {
  type Backend,
  type MatmulOptions,
  type MemoryReport,
  PACKED_VERSION,
  type PreparedWeights,
} from './backend.ts';
import { type Kernel, Kernels } from './kernels.ts';

/** Rows per slice: activations of a slice stay in L2. */
const SLICE_ROWS = 256;
/** Result bytes that are computed before they are copied to a typed array. */
const COPY_BYTES = 2 ** 19;

/** A matrix in the arena. */
export class WasmWeights implements PreparedWeights {
  readonly version = PACKED_VERSION;
  readonly backend: WasmBackend;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;
  readonly layout: PackedLayout;
  readonly kernelFormat: WeightFormat;
  readonly variant: WeightVariant;
  /** Where the panels lie; `undefined` once disposed. */
  handle: ArenaHandle | undefined;
  /** Resolved on first use, one per shape class. */
  readonly kernels: Partial<Record<GemmShape, Kernel>> = {};

  constructor(
    backend: WasmBackend,
    { format, N, K, blockSize }: QuantizedWeights,
    variant: WeightVariant,
    layout: PackedLayout,
    handle: ArenaHandle,
  ) {
    this.backend = backend;
    this.format = format;
    this.N = N;
    this.K = K;
    this.blockSize = blockSize;
    this.kernelFormat = formats[format];
    this.variant = variant;
    this.layout = layout;
    this.byteLength = layout.byteLength;
    this.handle = handle;
  }

  dispose(): void {
    if (this.handle) this.backend.release(this, this.handle);
    this.handle = undefined;
  }
}

/** Bytes that `prepare` will need for a matrix: for sizing memory before anything is loaded. */
export function packedByteLength(
  shape: Omit<QuantizedWeights, 'data' | 'scales' | 'zeroPoints'>,
  storedZeroPoints: boolean,
): number {
  const { format, N, K, blockSize } = shape;
  return packedLayout(formats[format], { blockSize, storedZeroPoints }, N, K).byteLength;
}

export class WasmBackend implements Backend {
  readonly device = 'wasm';
  readonly arena: Arena;
  readonly #kernels: Kernels;
  readonly #matrices = new Set<WasmWeights>();
  readonly #scratch = new Map<string, ArenaHandle>();

  /** Use {@link createBackend}. */
  constructor(options: ArenaOptions = {}) {
    this.arena = new Arena(options);
    this.#kernels = new Kernels(this.arena.memory);
  }

  prepare(weights: QuantizedWeights): PreparedWeights {
    validateWeights(weights);
    const variant = { blockSize: weights.blockSize, storedZeroPoints: weights.zeroPoints !== undefined };
    const layout = packedLayout(formats[weights.format], variant, weights.N, weights.K);
    const handle = this.arena.alloc(layout.byteLength, `weights ${weights.format} [${weights.N},${weights.K}]`);
    packWeights(weights, layout, this.arena.memory.buffer, handle.ptr);
    const prepared = new WasmWeights(this, weights, variant, layout, handle);
    this.#matrices.add(prepared);
    return prepared;
  }

  /** @internal by {@link PreparedWeights.dispose} */
  release(prepared: PreparedWeights, handle: ArenaHandle): void {
    if (this.#matrices.delete(prepared as WasmWeights)) this.arena.free(handle);
  }

  matmul(
    x: Float32Array,
    prepared: PreparedWeights,
    options?: MatmulOptions & { readonly out?: Float32Array | undefined },
  ): Float32Array;
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Operand {
    const { M, components } = checkMatmul(this, x, prepared, options);
    const weights = this.#resident(prepared);
    const { N, K, layout } = weights;
    const from = this.#inArena('x', x);
    const into = options.out && this.#inArena('out', options.out);
    const result = options.out ?? new Float32Array(M * N);

    // Everything is allocated before the first pointer or view is taken.
    const rowsMax = Math.min(M, SLICE_ROWS);
    const staged = from === undefined ? this.#buffer('x', 4 * rowsMax * K) : 0;
    const q = this.#buffer('q', 2 * rowsMax * layout.paddedK);
    const sums = this.#buffer('sums', (4 * rowsMax * layout.paddedK) / K_STEP);
    const scales = this.#buffer('scales', 4 * rowsMax * Math.ceil(K / K_BLOCK));
    const panel = this.#buffer('panel', SCRATCH_BYTES);
    const copyPanels =
      into === undefined ? Math.min(layout.panels, Math.max(1, Math.floor(COPY_BYTES / (4 * PANEL * rowsMax)))) : 1;
    const y = this.#buffer('y', 4 * PANEL * rowsMax * copyPanels);
    const bias = options.bias ? this.#stageBias(options.bias) : 0;
    const decompose = this.#decomposeKernel(components);
    const kernels = new Map<number, Kernel>();
    const { memory } = this.arena;
    const pointer = weights.handle.ptr;

    for (let m = 0; m < M; m += SLICE_ROWS) {
      const rows = Math.min(SLICE_ROWS, M - m);
      if (from === undefined)
        new Float32Array(memory.buffer, staged, rows * K).set((x as Float32Array).subarray(m * K, (m + rows) * K));
      const gemm = kernels.get(rows) ?? this.#gemmKernel(weights, gemmShapeFor(rows));
      kernels.set(rows, gemm);
      const columns = (first: number, count: number, at: number, stride: number) =>
        gemm(q, sums, scales, pointer, pointer + layout.panelBytes + 4 * PANEL * first, bias && bias + 4 * PANEL * first,
          at, stride, panel, rows, layout.paddedK, layout.panels, first, count); // biome-ignore format: operands in the order of the kernel's header

      decompose(from === undefined ? staged : from + 4 * m * K, q, sums, scales, rows, K);
      const whole = into === undefined ? 0 : Math.floor(N / PANEL); // panels that the kernel writes in place
      if (into !== undefined && whole > 0) columns(0, whole, into + 4 * m * N, 4 * N);
      for (let first = whole; first < layout.panels; first += copyPanels) {
        const count = Math.min(copyPanels, layout.panels - first);
        columns(first, count, y, 4 * PANEL * count);
        const target = into === undefined ? (result as Float32Array) : new Float32Array(memory.buffer, into, M * N);
        copyColumns(
          new Float32Array(memory.buffer, y, rows * PANEL * count),
          PANEL * count,
          target,
          m * N + PANEL * first,
          N,
          rows,
          Math.min(PANEL * count, N - PANEL * first),
        );
      }
    }
    this.arena.check();
    return result;
  }

  /** Emits, compiles and warms the kernels that `matmul` takes for this matrix at M rows, so that the first call is fast. */
  warmUp(prepared: PreparedWeights, M: number, components: Components = 2): void {
    this.#decomposeKernel(components);
    this.#gemmKernel(this.#resident(prepared), gemmShapeFor(Math.min(M, SLICE_ROWS)));
  }

  /** Id of the gemm kernel that `matmul` takes for this matrix at M rows. */
  kernelFor(prepared: PreparedWeights, M: number): string {
    const { kernelFormat, variant } = this.#resident(prepared);
    return gemmId(gemmOptions(gemmShapeFor(Math.min(M, SLICE_ROWS)), kernelFormat, variant));
  }

  /** @internal Address of a scratch buffer that a call of `matmul` left: benchmarks run bare kernels on it. */
  scratchAddress(name: string): number {
    return this.#scratch.get(name)?.ptr ?? 0;
  }

  memory(): MemoryReport {
    const packedBytes = [...this.#matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const scratch = Object.fromEntries([...this.#scratch].map(([name, { byteLength }]) => [name, byteLength]));
    const scratchBytes = Object.values(scratch).reduce((a, b) => a + b, 0);
    return { packedBytes, scratch, scratchBytes, wasmBytes: this.arena.byteLength };
  }

  dispose(): void {
    for (const matrix of this.#matrices) matrix.dispose();
    for (const handle of this.#scratch.values()) this.arena.free(handle);
    this.#scratch.clear();
  }

  #resident(prepared: PreparedWeights): WasmWeights & { handle: ArenaHandle } {
    if (!(prepared instanceof WasmWeights) || prepared.backend !== this)
      throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
    if (!prepared.handle) throw new RangeError('matmul: the weights have been disposed of.');
    return prepared as WasmWeights & { handle: ArenaHandle };
  }

  /** Address of an operand that lies in the arena, be it as a handle or as a view of its memory. */
  #inArena(name: string, operand: Operand): number | undefined {
    if (operand instanceof Float32Array)
      return operand.buffer === this.arena.memory.buffer ? operand.byteOffset : undefined;
    if (!this.arena.owns(operand))
      throw new RangeError(`matmul: ${name} is not a live buffer of this backend's arena.`);
    return operand.ptr;
  }

  /** Address of a named scratch buffer of at least that size; what it held is lost when it has to grow. */
  #buffer(name: string, byteLength: number): number {
    const known = this.#scratch.get(name);
    if (known && known.byteLength >= byteLength) return known.ptr;
    if (known) this.arena.free(known);
    this.#scratch.delete(name);
    const handle = this.arena.alloc(byteLength, `scratch ${name}`);
    this.#scratch.set(name, handle);
    return handle.ptr;
  }

  #stageBias(bias: Operand): number {
    const at = this.#inArena('bias', bias);
    if (at !== undefined) return at;
    const { length } = bias as Float32Array;
    const staged = this.#buffer('bias', 4 * roundUp(length, PANEL));
    new Float32Array(this.arena.memory.buffer, staged, length).set(bias as Float32Array);
    return staged;
  }

  #decomposeKernel(components: Components): Kernel {
    return this.#warmed(
      decomposeId(components),
      (module) => decomposeKernel(module, components),
      (kernel, at) => kernel(at, at + 8192, at + 16384, at + 20480, 8, K_BLOCK),
    );
  }

  #gemmKernel(weights: WasmWeights, shape: GemmShape): Kernel {
    const known = weights.kernels[shape];
    if (known) return known;
    const options = gemmOptions(shape, weights.kernelFormat, weights.variant);
    const M = shape === 'gemv' ? 1 : 8;
    const kernel = this.#warmed(
      gemmId(options),
      (module) => gemmKernel(module, options),
      (run, at) =>
        run(at, at + 4096, at + 8192, at + 24576, at + 12288, 0, at + 16384, 64, at + 49152, M, K_BLOCK, 2, 0, 2),
    );
    weights.kernels[shape] = kernel;
    return kernel;
  }

  /** Warms a kernel on 64 KiB of zeros, which are given back. */
  #warmed(id: string, emit: Parameters<Kernels['get']>[1], call: (kernel: Kernel, at: number) => void): Kernel {
    let zeros: ArenaHandle | undefined;
    const kernel = this.#kernels.get(id, emit, (run) => {
      if (!zeros) {
        zeros = this.arena.alloc(65536, 'warm-up');
        this.arena.bytes(zeros).fill(0);
      }
      call(run, zeros.ptr);
    });
    if (zeros) this.arena.free(zeros);
    return kernel;
  }
}

/** rows x width floats from a dense block into a matrix of N columns. */
function copyColumns(
  from: Float32Array,
  stride: number,
  to: Float32Array,
  offset: number,
  N: number,
  rows: number,
  width: number,
): void {
  if (stride === N && width === N) to.set(from, offset);
  else for (let row = 0; row < rows; row++) to.set(from.subarray(row * stride, row * stride + width), offset + row * N);
}

/** (i32 of a v128.const) -> drop: validates only where SIMD128 exists. */
const SIMD_PROBE = /* @__PURE__ */ Uint8Array.of(
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  5,
  1,
  96,
  0,
  1,
  123,
  3,
  2,
  1,
  0,
  10,
  10,
  1,
  8,
  0,
  65,
  0,
  253,
  15,
  253,
  98,
  11,
);

export function requireSimd(): void {
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(SIMD_PROBE))
    throw new BackendUnavailableError(
      "createBackend: this engine has no WebAssembly SIMD128. Use device 'reference', or a browser from 2021 or later.",
    );
}
