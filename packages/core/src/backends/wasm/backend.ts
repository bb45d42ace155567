/**
 * The WASM SIMD device: matrices and values in one arena, calls that are bound once and run many times, synchronously. Threads
 * share the work of a large enough call; the calling thread is one of them. `matmul` and `matmulMany` bind for their caller.
 */
import { type DecompositionOptions, resolveDecomposition } from '../../decompose/contract.ts';
import type { FloatType } from '../../formats/half.ts';
import { packInto } from '../../formats/pack.ts';
import { layoutOf, type PackedShape, packedShape, validatePacked } from '../../formats/packed.ts';
import { validateWeights } from '../../formats/validate.ts';
import type { QuantizedWeights } from '../../formats/weights.ts';
import { gemmId } from '../../gemm/options.ts';
import { gemmShapeFor } from '../../plan/choose.ts';
import { SLICE_ROWS } from '../../plan/ranges.ts';
import { oneThread, type Team, type ThreadReport, type ThreadTask } from '../../threads/team.ts';
import type { CarrierChoice } from '../../wasm/features.ts';
import type { Arena, ArenaHandle, ArenaOptions } from '../arena.ts';
import { checkActivations, checkMany, checkProduct, typeOf } from '../arguments.ts';
import type {
  Backend,
  BitsResult,
  F32Result,
  MatmulManyOptions,
  MatmulOptions,
  MemoryReport,
  Operand,
  PreparedWeights,
  ProductOptions,
} from '../backend.ts';
import type { Call, Changes, Device, OpWork, PageDevice, Work } from '../device.ts';
import { autotune, type TunedKernel } from './autotune.ts';
import { bindWork, WasmCall } from './bind.ts';
import { BoundCalls, type PlacedProduct } from './calls.ts';
import { ownMatrix, WasmMatrix } from './matrix.ts';
import { isShared } from './op-call.ts';
import { type Place, placeOf, wholePlaceOf } from './operands.ts';
import { bytesRead } from './product.ts';
import { ProductCall } from './product-call.ts';
import type { CarrierReport } from './routes.ts';
import { Runtime } from './runtime.ts';

export interface WasmOptions extends ArenaOptions {
  /**
   * What multiplies: 'i16' (SIMD128), 'i8' (relaxed SIMD, where the weights fit it), or 'auto' (default): the faster one, found by
   * probing and timing on first use. The bits are the same.
   */
  readonly carrier?: CarrierChoice | undefined;
}

export class WasmBackend implements Backend, Device<ArenaHandle, PreparedWeights> {
  readonly device = 'wasm';
  readonly arena: Arena;
  readonly #runtime: Runtime;
  readonly #calls: BoundCalls;
  readonly #matrices = new Set<WasmMatrix>();

  /** Use {@link createBackend}. */
  constructor(options: WasmOptions = {}, team: Team = oneThread(1)) {
    const { carrier = 'auto' } = options;
    this.#runtime = new Runtime(options, carrier, team);
    this.arena = this.#runtime.arena;
    this.#calls = new BoundCalls(this.#runtime);
  }

  /** Wakes sleeping threads when you know that work comes soon: waking takes about 50 µs, and they sleep again if none comes. */
  wake(): void {
    if (this.arena.shared) this.#runtime.team.wake();
  }

  /**
   * Gives the threads something else to do, in Node. Until they have done it, this thread multiplies alone.
   *
   * @returns how many have it; those of pages end it at once, and have done nothing
   */
  lend(task: ThreadTask): number {
    return this.#runtime.team.lend(task);
  }

  /** How many threads large matmuls run on, and why not more. */
  get threads(): ThreadReport {
    const { report } = this.#runtime.team;
    if (this.arena.shared || report.count === 1) return report;
    return {
      ...report,
      count: 1,
      warnings: [...report.warnings, 'threads: one, the engine has no shared memory left.'],
    };
  }

  prepare(weights: QuantizedWeights): PreparedWeights {
    validateWeights(weights);
    const shape = packedShape(weights);
    const layout = layoutOf(shape);
    const handle = this.arena.alloc(layout.byteLength, `weights ${weights.format} [${weights.N},${weights.K}]`);
    packInto(weights, layout, this.arena.memory.buffer, handle.ptr);
    return this.adopt(shape, handle, () => this.arena.free(handle));
  }

  /**
   * A matrix whose packed bytes are in the arena already. They keep their owner: disposing of the matrix frees nothing.
   *
   * @param handle exactly the packed bytes, 4-byte aligned; from `arena.alloc`, or `arena.at` on another owner's heap
   * @param release frees the bytes; if it is given, the backend owns them, counts them, and frees them when it is disposed of
   * @throws {@link RangeError} if the bytes cannot be this matrix, or lie elsewhere
   */
  adopt(shape: PackedShape, handle: ArenaHandle, release?: () => void): PreparedWeights {
    validatePacked(shape, handle.byteLength, 'adopt');
    if (!this.arena.owns(handle)) throw new RangeError("adopt: the handle is not a buffer of this backend's arena.");
    const prepared = new WasmMatrix(this, shape, handle, () => {
      if (this.#matrices.delete(prepared)) release?.();
    });
    if (release) this.#matrices.add(prepared);
    return prepared;
  }

  alloc(byteLength: number, label?: string): ArenaHandle {
    return this.arena.alloc(byteLength, label);
  }

  free(handle: ArenaHandle): void {
    this.arena.free(handle);
  }

  part(handle: ArenaHandle, begin: number, byteLength: number): ArenaHandle {
    return this.arena.part(handle, begin, byteLength);
  }

  write(handle: ArenaHandle, data: ArrayBufferView): void {
    this.arena.write(handle, data);
  }

  read(handle: ArenaHandle, into: ArrayBufferView): void {
    this.arena.read(handle, into);
  }

  get pages(): PageDevice<ArenaHandle> {
    return this.#runtime.pages;
  }

  /** Kernels are emitted, compiled and warmed here; a matrix that is disposed of later makes `run` fail. */
  bind(work: Work<PreparedWeights>, operands: readonly (ArenaHandle | undefined)[]): Call<ArenaHandle> {
    return bindWork(this, this.#runtime, work, operands);
  }

  ahead(call: Call<ArenaHandle>, changes?: Changes<ArenaHandle>): void {
    this.#own(call, changes).ahead();
  }

  run(call: Call<ArenaHandle>, changes?: Changes<ArenaHandle>): void {
    this.#own(call, changes).run();
    this.arena.check();
  }

  #own(call: Call<ArenaHandle>, changes: Changes<ArenaHandle> | undefined): WasmCall {
    if (!(call instanceof WasmCall) || call.backend !== this)
      throw new RangeError('run: the call was bound by another backend. Bind it with this one.');
    if (changes?.operands) call.change(changes.operands);
    return call;
  }

  isShared(work: OpWork): boolean {
    return isShared(this.#runtime, work);
  }

  /** Does nothing: calls are done when they return. */
  flush(): void {}

  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Operand {
    const { M, decomposition, xType } = checkActivations(this, x, prepared, options);
    checkProduct(prepared, M, options);
    const product = this.#place(prepared, M, options);
    this.#multiply(x, { decomposition, M, K: prepared.K, xType }, [product]);
    return product.result;
  }

  matmulMany(
    x: Operand,
    prepared: readonly PreparedWeights[],
    options?: MatmulManyOptions & { readonly each?: readonly (ProductOptions & F32Result)[] | undefined },
  ): Float32Array[];
  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): Operand[];
  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options: MatmulManyOptions = {}): Operand[] {
    if (prepared.length === 0) return [];
    const { M, decomposition, xType, products: each } = checkMany(this, x, prepared, options);
    const products = prepared.map((matrix, i) => this.#place(matrix, M, each[i]));
    this.#multiply(x, { decomposition, M, K: prepared[0].K, xType }, products);
    return products.map(({ result }) => result);
  }

  #multiply(x: Operand, activations: ProductCall['activations'], products: readonly PlacedProduct[]): void {
    const call = this.#calls.find(activations, placeOf(this.arena, 'x', x), products);
    call.run();
    call.release();
    this.arena.check();
  }

  /** Finds out where a product's operands lie. Allocates nothing in the arena. */
  #place(prepared: PreparedWeights, M: number, options: ProductOptions): PlacedProduct & { result: Operand } {
    const { arena } = this;
    const matrix = ownMatrix(this, prepared);
    const read = bytesRead(matrix, M);
    const place = (name: 'bias' | 'multiply' | 'residual', bytes: number): Place => {
      const operand = options[name];
      return operand ? wholePlaceOf(arena, placeOf(arena, name, operand), operand, bytes) : 0;
    };
    const outType = typeOf('out', options.out, options.outType);
    const result = options.out ?? resultOf(M * matrix.N, outType);
    return {
      matrix,
      activation: options.activation,
      outType,
      bias: place('bias', read.bias),
      multiply: place('multiply', read.block),
      residual: place('residual', read.block),
      out: placeOf(arena, 'out', result),
      result,
    };
  }

  /**
   * Emits, compiles and warms the kernels that `matmul` uses for this matrix at M rows, so that the first call is fast.
   */
  warmUp(prepared: PreparedWeights, M: number, options: MatmulOptions = {}): void {
    const matrix = ownMatrix(this, prepared);
    const decomposition = resolveDecomposition(options, 'warmUp');
    const { xType = 'f32', activation, multiply = 0, residual = 0 } = options;
    const outType = typeOf('out', options.out, options.outType);
    const x = { decomposition, M: Math.min(M, SLICE_ROWS), K: matrix.K, xType };
    const call = new ProductCall(this.#runtime, x, [{ matrix, activation, outType }]);
    const [product] = call.products;
    product.multiply.set(multiply);
    product.residual.set(residual);
    product.out.set(options.out ?? resultOf(0, outType));
    call.prepare();
  }

  /** Id of the gemm kernel that `matmul` uses for this matrix at M rows. */
  kernelFor(prepared: PreparedWeights, M: number, options: DecompositionOptions = {}): string {
    const decomposition = resolveDecomposition(options, 'kernelFor');
    const shape = gemmShapeFor(Math.min(M, SLICE_ROWS));
    return gemmId(ownMatrix(this, prepared).kernel(this.#runtime.routes, shape, decomposition));
  }

  /** What the JavaScript engine supports, and what was measured if there was a choice. */
  get carriers(): CarrierReport {
    return this.#runtime.routes.report;
  }

  /**
   * Times every tile of every carrier on this matrix with M rows. From then on `matmul` uses the fastest one for this
   * matrix and all M of the same shape class (1, 2 to 7, 8 and more). Takes about a second; the bits don't change.
   *
   * @returns what was measured, fastest first
   */
  autotune(prepared: PreparedWeights, M: number, options: DecompositionOptions = {}): TunedKernel[] {
    const decomposition = resolveDecomposition(options, 'autotune');
    return autotune(this.#runtime, ownMatrix(this, prepared), Math.min(M, SLICE_ROWS), decomposition);
  }

  memory(): MemoryReport {
    const packedBytes = [...this.#matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const scratch = this.#runtime.scratch.sizes;
    const scratchBytes = Object.values(scratch).reduce((a, b) => a + b, 0);
    return { packedBytes, scratch, scratchBytes, wasmBytes: this.arena.byteLength };
  }

  dispose(): void {
    for (const matrix of this.#matrices) matrix.dispose();
    for (const cache of this.pages.caches) cache.dispose();
    this.#runtime.scratch.dispose();
    this.#runtime.team.release();
  }
}

const resultOf = (length: number, type: FloatType): Float32Array | Uint16Array =>
  type === 'f32' ? new Float32Array(length) : new Uint16Array(length);
