/**
 * The WASM SIMD backend: decompose -> gemm (recombining in registers) over one arena, synchronous. Threads share the panels of a
 * large enough product; the caller is one of them.
 *
 * Rows are worked off in slices of at most 256, results for typed arrays in column ranges that stay in the cache: scratch
 * is bounded whatever M and N are, and the bits do not depend on either cut.
 */
import type { ActivationId } from '../activations/contract.ts';
import { type Plan, type PlanOptions, resolvePlan } from '../decompose/contract.ts';
import { K_BLOCK, K_STEP, PANEL } from '../formats/format.ts';
import { bitsOf, type FloatType, type HalfArray } from '../formats/half.ts';
import { packInto } from '../formats/pack.ts';
import { layoutOf, type PackedShape, packedShape, validatePacked } from '../formats/packed.ts';
import { validateWeights } from '../formats/validate.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import { gemmId, SCRATCH_BYTES } from '../gemm/gemm.wasm.ts';
import type { GemmShape } from '../gemm/registry.ts';
import { cutElements, cutPanels, cutRows, gemmShapeFor } from '../plan/choose.ts';
import { Arena, type ArenaHandle, type ArenaOptions } from './arena.ts';
import { checkActivations, checkMany, checkProduct, typeOf } from './arguments.ts';
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
} from './backend.ts';
import type { CarrierChoice } from './features.ts';
import { callGemm, describeGemm, moveGemm, rowBytes } from './gemm-call.ts';
import type { Kernel } from './kernels.ts';
import { type CarrierReport, type Route, Routes } from './routes.ts';
import { Scratch, type ScratchSizes } from './scratch.ts';
import { Job, type PanelCut, type RowCut, uncut } from './threads/job.ts';
import { Team, type ThreadReport } from './threads/team.ts';
import { bestTime } from './timing.ts';
import { WasmWeights } from './wasm-weights.ts';

/** Rows per slice: activations of a slice stay in L2. */
const SLICE_ROWS = 256;
/** Result bytes that are computed before they are copied, or before their end is applied. */
const COPY_BYTES = 2 ** 19;

export interface WasmOptions extends ArenaOptions {
  /**
   * What multiplies: 'i16' (SIMD128), 'i8' (relaxed SIMD, where the weights fit it), or 'auto' (default): the faster one, found by
   * probing and timing on first use. The bits are the same.
   */
  readonly carrier?: CarrierChoice | undefined;
}

/** One kernel of a search, fastest first in {@link WasmBackend.autotune}'s answer. */
export interface TunedKernel {
  readonly kernel: string;
  /** Shortest milliseconds of one multiplication, without decompose. */
  readonly milliseconds: number;
}

export class WasmBackend implements Backend {
  readonly device = 'wasm';
  readonly arena: Arena;
  readonly #routes: Routes;
  readonly #matrices = new Set<WasmWeights>();
  readonly #scratch: Scratch;
  readonly #team: Team;

  /** Use {@link createBackend}. */
  constructor(options: WasmOptions = {}, team: Team = new Team(undefined, 1)) {
    const { carrier = 'auto' } = options;
    this.#team = team;
    this.arena = new Arena({ ...options, shared: team.count > 1 });
    this.#routes = new Routes(this.arena, carrier, team);
    this.arena.onMove(() => this.#routes.forget());
    this.#scratch = new Scratch(this.arena);
  }

  /** Threads that large matmuls run on, and what keeps them from being more. */
  get threads(): ThreadReport {
    const { report } = this.#team;
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
    const prepared = new WasmWeights(this, shape, layout, handle);
    this.#matrices.add(prepared);
    return prepared;
  }

  /**
   * A matrix whose packed bytes lie in the arena already, and stay their owner's: disposing of it frees nothing.
   *
   * @param handle exactly the packed bytes, 4-byte aligned; from `arena.alloc`, or `arena.at` on another owner's heap
   * @throws {@link RangeError} if the bytes cannot be this matrix, or lie elsewhere
   */
  adopt(shape: PackedShape, handle: ArenaHandle): PreparedWeights {
    const layout = validatePacked(shape, handle.byteLength, 'adopt');
    if (!this.arena.owns(handle)) throw new RangeError("adopt: the handle is not a buffer of this backend's arena.");
    return new WasmWeights(this, shape, layout, handle);
  }

  /** @internal by {@link PreparedWeights.dispose} */
  release(prepared: PreparedWeights, handle: ArenaHandle): void {
    if (this.#matrices.delete(prepared as WasmWeights)) this.arena.free(handle);
  }

  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Operand {
    const { M, plan, xType } = checkActivations(this, x, prepared, options);
    checkProduct(prepared, M, options);
    const product = this.#product(prepared, M, options);
    this.#run(x, xType, M, plan, [product]);
    return product.result;
  }

  matmulMany(
    x: Operand,
    prepared: readonly PreparedWeights[],
    options?: MatmulManyOptions & { readonly each?: readonly (ProductOptions & F32Result)[] | undefined },
  ): Float32Array[];
  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): Operand[];
  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options: MatmulManyOptions = {}): Operand[] {
    const each = checkMany(this, x, prepared, options);
    if (prepared.length === 0) return [];
    const { M, plan, xType } = checkActivations(this, x, prepared[0], options);
    const products = prepared.map((matrix, i) => this.#product(matrix, M, each[i]));
    this.#run(x, xType, M, plan, products);
    return products.map(({ result }) => result);
  }

  /** Finds out where a product's operands lie. Allocates nothing in the arena. */
  #product(prepared: PreparedWeights, M: number, options: ProductOptions): Product {
    const weights = this.#resident(prepared);
    const { N } = weights;
    const { activation, out } = options;
    const columns = PANEL * weights.layout.panels;
    const bias = this.#source('bias', options.bias, columns);
    const multiply = this.#source('multiply', options.multiply, (M - 1) * N + columns);
    const residual = this.#source('residual', options.residual, (M - 1) * N + columns);
    const outType = typeOf('out', out, options.outType);
    const into = out && this.#inArena('out', out);
    const address = (name: 'multiply' | 'residual') => options[name] && this.#inArena(name, options[name]);
    // Gemm adds up its K-blocks in y, which is f32: where `out` is not, or the end still has to read what it held, y lies in
    // scratch until it is copied.
    const inPlace =
      into !== undefined && outType === 'f32' && into !== address('multiply') && into !== address('residual');
    const result = out ?? new (outType === 'f32' ? Float32Array : Uint16Array)(M * N);
    return { weights, bias, activation, multiply, residual, hasEnd: hasEnd(options), into, inPlace, outType, result };
  }

  #run(x: Operand, xType: FloatType, M: number, plan: Plan, products: readonly Product[]): void {
    const { K, layout } = products[0].weights;
    const from = this.#inArena('x', x);
    const repeatable = from !== undefined && xType === 'f32' && M === 1 && isWhole(products);
    if (repeatable && this.#repeat(from, plan, products[0])) return;
    // Everything is allocated before the first pointer or view is taken.
    const rowsMax = Math.min(M, SLICE_ROWS);
    const largest = (bytes: (product: Product) => number) => products.reduce((max, p) => Math.max(max, bytes(p)), 0);
    const columnBytes = (product: Product) =>
      4 * PANEL * rowsMax * copyPanelsFor(rowsMax, product.weights.layout.panels);
    const at = this.#scratch.reserve({
      x: from === undefined || xType !== 'f32' ? 4 * rowsMax * K : 0,
      q: 2 * rowsMax * K_BLOCK * Math.ceil(K / K_BLOCK),
      sums: (4 * rowsMax * layout.paddedK) / K_STEP,
      scales: 4 * rowsMax * Math.ceil(K / (plan.activationBlock === 32 ? K_STEP : K_BLOCK)),
      panel: SCRATCH_BYTES * this.#threadCount,
      y: largest((product) => (product.inPlace ? 4 * PANEL * rowsMax : columnBytes(product))), // in place: the cut panel
      bias: largest(({ bias, weights }) => (bias.operand ? 4 * PANEL * weights.layout.panels : 0)),
      multiply: largest((product) => (product.multiply.operand ? columnBytes(product) : 0)),
      residual: largest((product) => (product.residual.operand ? columnBytes(product) : 0)),
    });
    for (let m = 0; m < M; m += SLICE_ROWS) {
      const rows = Math.min(SLICE_ROWS, M - m);
      const xAt = this.#activations(x, xType, from, at.x, m * K, rows * K);
      const fewest = products.reduce(
        (min, { weights }) => Math.min(min, weights.layout.panels),
        Number.POSITIVE_INFINITY,
      );
      const cut = cutRows(rows, layout.paddedK, fewest, this.#threadCount, this.#team.chunkMacs);
      let decomposed: Kernel | undefined; // carriers take different integers
      for (const product of products) {
        const { decompose } = this.#route(product.weights, gemmShapeFor(rows), plan);
        if (decompose !== decomposed) this.#decompose(product.weights, plan, xAt, at, cut);
        decomposed = decompose;
        this.#rows(product, plan, at, m, cut, repeatable);
      }
      if (repeatable) this.#remember(plan, products[0], decomposed!);
    }
    this.arena.check();
  }

  /** Repeats the last call with this matrix, wherever x and its result lie. @returns false if that was another one */
  #repeat(x: number, plan: Plan, { weights, into, bias }: Product): boolean {
    const { repeat } = weights;
    if (repeat?.plan !== plan || repeat.hasBias !== bias.address > 0) return false;
    const { memory, scratch, threads } = repeat;
    if (memory !== this.arena.memory || threads !== this.#threadCount || scratch !== this.#scratch.addresses)
      return false;
    repeat.decompose(x, scratch.q, scratch.sums, scratch.scales, 4, 1, weights.K);
    this.#share(() => this.#route(weights, 'gemv', plan).gemm, moveGemm(repeat.gemm, bias.address, into!));
    this.arena.check();
    return true;
  }

  /** Keeps the call that has just been made: gemm was the last job. */
  #remember(plan: Plan, { weights, bias }: Product, decompose: Kernel): void {
    const gemm = (weights.repeat?.gemm ?? new Job()).copy(this.#team.job);
    weights.repeat = {
      hasBias: bias.address > 0,
      plan,
      memory: this.arena.memory,
      scratch: this.#scratch.addresses,
      threads: this.#threadCount,
      decompose,
      gemm,
    };
  }

  /** Address of f32 activations [begin, begin + count): where they lie, or in scratch. */
  #activations(
    x: Operand,
    type: FloatType,
    from: number | undefined,
    scratch: number,
    begin: number,
    count: number,
  ): number {
    if (type === 'f32')
      return from === undefined
        ? this.#stage(scratch, (x as Float32Array).subarray(begin, begin + count))
        : from + 4 * begin;
    const widen = this.#routes.widen(type);
    const staged = scratch + 2 * count; // the half that is written last
    if (from === undefined)
      new Uint16Array(this.arena.memory.buffer, staged, count).set(
        bitsOf(x as HalfArray).subarray(begin, begin + count),
      );
    widen(from === undefined ? staged : from + 2 * begin, scratch, count);
    return scratch;
  }

  /** Decomposes rows. Where gemm takes them in chunks, each chunk has its K-blocks and their scales for itself. */
  #decompose(weights: WasmWeights, plan: Plan, x: number, at: ScratchSizes, cut: RowCut): void {
    const { K } = weights;
    const { total: rows } = cut;
    const route = () => this.#route(weights, gemmShapeFor(rows), plan);
    const isCut = cut.size < rows;
    const chunks = isCut ? cut : cutElements(rows, K, this.#threadCount, this.#team.chunkMacs);
    if (chunks.size === rows) {
      route().decompose(x, at.q, at.sums, at.scales, 4 * rows, rows, K);
      return;
    }
    const { q, qBlock, sums, scales } = rowBytes(K, weights.layout.paddedK, plan, route().options);
    const job = this.#job(chunks, ALL);
    job
      .at(x, 4 * K)
      .at(at.q, isCut ? q : qBlock)
      .at(at.sums, sums);
    if (isCut) job.at(at.scales, scales).rows(4);
    else job.at(at.scales, 4).at(4 * rows);
    job.rows().at(K);
    this.#share(() => route().decompose, job);
  }

  /** The one job of this backend, to be described. */
  #job(rows: RowCut, panels: PanelCut): Job {
    return this.#team.job.start(rows, panels);
  }

  /** Works a kernel call off, on all threads if it is cut. @param restart for chunks that cannot be repeated one by one */
  #share(kernel: () => Kernel, job: Job, restart?: () => void): void {
    if (job.chunks === 1) kernel()(...job.argumentsOf(0));
    else this.#team.run(kernel, job, () => this.arena.move(), restart);
  }

  /**
   * Rows [m, m + cut.total) of a product, whose activations are decomposed.
   * @param keep describes the call to the job even if one thread does all of it
   */
  #rows(product: Product, plan: Plan, at: ScratchSizes, m: number, cut: RowCut, keep: boolean): void {
    const { weights, into } = product;
    const { N, layout } = weights;
    const { total: rows } = cut;
    const w = weights.handle.ptr;
    const threads = this.#threadCount;
    const { chunkMacs } = this.#team;
    const { operand, address } = product.bias;
    const bias = operand ? this.#stage(at.bias, this.#values(operand)) : address;
    const shape = gemmShapeFor(rows);
    const { options } = this.#route(weights, shape, plan);
    const { streams = 1 } = options;
    const rowChunks = Math.ceil(rows / cut.size);
    const columns = (first: number, count: number, y: number, yStride: number) => {
      const offset = 4 * PANEL * first;
      const gemm = () => this.#route(weights, shape, plan).gemm;
      const panels = cutPanels(rows, layout.paddedK, count, threads, chunkMacs, rowChunks, streams);
      const call = { at, w, layout, first, bias: bias && bias + offset, y, yStride };
      if (panels || rowChunks > 1 || keep) {
        const perRow = rowBytes(weights.K, layout.paddedK, plan, options);
        this.#share(gemm, describeGemm(this.#job(cut, panels ?? uncut(count)), perRow, call));
      } else callGemm(gemm(), rows, count, call);
      if (!product.hasEnd) return;
      const end = () => this.#routes.end(product.activation);
      const range = { m, rows, N, column: PANEL * first, width: PANEL * count };
      const multiply = this.#columnsOf(product.multiply, at.multiply, range);
      const residual = this.#columnsOf(product.residual, at.residual, range);
      const [multiplyStride, residualStride] = [product.multiply, product.residual].map((of) => strideOf(of, range));
      const job = this.#job(WHOLE, cutPanels(rows, END_MACS, count, threads, chunkMacs) ?? uncut(count));
      job.at(y, 0, 4 * PANEL).at(yStride);
      job.at(multiply, 0, multiply && 4 * PANEL).at(multiplyStride);
      job.at(residual, 0, residual && 4 * PANEL).at(residualStride);
      job.at(rows).panels(PANEL / 4);
      this.#share(end, job, () => columns(first, count, y, yStride)); // it works in place
    };
    // Whole panels go straight into an `out` that lies in the arena; all else is computed in ranges and copied. With an end
    // they go in ranges, too: it finds them in the cache.
    const direct = product.inPlace ? Math.floor(N / PANEL) : 0;
    const step = copyPanelsFor(rows, layout.panels);
    // One thread takes ranges, too: every K-block adds to y, which then stays in L2. One row is one call, to be repeated.
    const perCall = product.hasEnd || (threads === 1 && rows > 1) ? step : direct;
    if (product.inPlace)
      for (let first = 0; first < direct; first += perCall)
        columns(first, Math.min(perCall, direct - first), into! + 4 * (m * N + PANEL * first), 4 * N);
    for (let first = direct; first < layout.panels; first += step) {
      const count = Math.min(step, layout.panels - first);
      columns(first, count, at.y, 4 * PANEL * count);
      this.#deliver(product, at.y, { m, rows, N, column: PANEL * first, width: PANEL * count });
    }
  }

  /** Copies finished columns from scratch to `out`, in its type. */
  #deliver({ outType, into, result }: Product, y: number, { m, rows, N, column, width }: Range): void {
    const at = m * N + column;
    if (outType === 'f32') {
      const to = into === undefined ? (result as Float32Array) : this.#floats(into, (m + rows) * N);
      copyColumns(this.#floats(y, rows * width), width, to, at, N, rows);
      return;
    }
    const narrow = this.#routes.narrow(outType);
    const valid = Math.min(width, N - column);
    if (into !== undefined) narrow(y, 4 * width, into + 2 * at, 2 * N, rows, valid);
    else {
      narrow(y, 4 * width, y, 2 * width, rows, valid);
      const bits = new Uint16Array(this.arena.memory.buffer, y, rows * width);
      copyColumns(bits, width, bitsOf(result as HalfArray), at, N, rows);
    }
  }

  /** Address of a range of an [M,N] operand: where it lies, or a copy in scratch; 0 for none. */
  #columnsOf({ operand, address }: Source, scratch: number, { m, rows, N, column, width }: Range): number {
    if (!operand) return address && address + 4 * (m * N + column);
    const values = this.#values(operand);
    const to = this.#floats(scratch, rows * width);
    const valid = Math.min(width, N - column);
    for (let row = 0; row < rows; row++) {
      const begin = (m + row) * N + column;
      to.set(values.subarray(begin, begin + valid), row * width);
    }
    return scratch;
  }

  /** Emits, compiles and warms the kernels that `matmul` takes for this matrix at M rows, so that the first call is fast. */
  warmUp(prepared: PreparedWeights, M: number, options: MatmulOptions = {}): void {
    this.#route(this.#resident(prepared), shapeOf(M), resolvePlan(options, 'warmUp'));
    if (hasEnd(options)) this.#routes.end(options.activation);
    const { xType = 'f32', out } = options;
    const outType = typeOf('out', out, options.outType);
    if (xType !== 'f32') this.#routes.widen(xType);
    if (outType !== 'f32') this.#routes.narrow(outType);
  }

  /** Id of the gemm kernel that `matmul` takes for this matrix at M rows. */
  kernelFor(prepared: PreparedWeights, M: number, options: PlanOptions = {}): string {
    return gemmId(this.#route(this.#resident(prepared), shapeOf(M), resolvePlan(options, 'kernelFor')).options);
  }

  /** What the engine offers, and what was measured where there was a choice. */
  get carriers(): CarrierReport {
    return this.#routes.report;
  }

  /**
   * Times every tile of every carrier on this very matrix at M rows, and lets `matmul` take the fastest one from now on, for this
   * matrix and all M of the same shape class (1, up to 7, more). Takes about a second; bits don't change.
   *
   * @returns what was measured, fastest first
   */
  autotune(prepared: PreparedWeights, M: number, options: PlanOptions = {}): TunedKernel[] {
    const plan = resolvePlan(options, 'autotune');
    const weights = this.#resident(prepared);
    const shape = shapeOf(M);
    const rows = Math.min(M, SLICE_ROWS);
    // One multiplication leaves operands of the right size in scratch; what they hold does not matter.
    this.matmul(new Float32Array(rows * weights.K), weights, { ...options, M: rows });
    const routes = this.#routes.candidates(weights.kernelFormat, weights.variant, shape, plan);
    const { layout, handle } = weights;
    const at = this.#scratch.addresses;
    const { panels } = layout;
    const count = copyPanelsFor(rows, panels);
    const call = { at, w: handle.ptr, layout, bias: 0, y: at.y, yStride: 4 * PANEL * count };
    const times = bestTime(
      routes.map(({ gemm }) => () => {
        for (let first = 0; first + count <= panels; first += count) callGemm(gemm, rows, count, { ...call, first });
      }),
    );
    const ranked = routes
      .map((route, i) => ({ route, milliseconds: times[i] }))
      .sort((a, b) => a.milliseconds - b.milliseconds);
    this.#routesOf(weights, plan)[shape] = ranked[0].route;
    weights.repeat = undefined;
    return ranked.map(({ route, milliseconds }) => ({ kernel: gemmId(route.options), milliseconds }));
  }

  /** @internal Where the last call of `matmul` worked: benchmarks run bare kernels on it. */
  get scratchAddresses(): ScratchSizes {
    return this.#scratch.addresses;
  }

  memory(): MemoryReport {
    const packedBytes = [...this.#matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const scratch = this.#scratch.sizes;
    const scratchBytes = Object.values(scratch).reduce((a, b) => a + b, 0);
    return { packedBytes, scratch, scratchBytes, wasmBytes: this.arena.byteLength };
  }

  dispose(): void {
    for (const matrix of this.#matrices) matrix.dispose();
    this.#scratch.dispose();
    this.#team.release();
  }

  #resident(prepared: PreparedWeights): WasmWeights & { handle: ArenaHandle } {
    if (!(prepared instanceof WasmWeights) || prepared.backend !== this)
      throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
    if (!prepared.handle) throw new RangeError('matmul: the weights have been disposed of.');
    return prepared as WasmWeights & { handle: ArenaHandle };
  }

  /** Address of an operand that lies in the arena, be it as a handle or as a view of its memory. */
  #inArena(name: string, operand: Operand): number | undefined {
    if (!('arena' in operand)) return operand.buffer === this.arena.memory.buffer ? operand.byteOffset : undefined;
    if (!this.arena.owns(operand))
      throw new RangeError(`matmul: ${name} is not a live buffer of this backend's arena.`);
    return operand.ptr;
  }

  /** @param length values that kernels read, up to the end of the last panel */
  #source(name: string, operand: Float32Array | ArenaHandle | undefined, length: number): Source {
    const address = operand && this.#whole(this.#inArena(name, operand), 4 * length);
    return { address: address ?? 0, operand: address === undefined ? operand : undefined };
  }

  /** The address, if kernels may read that many bytes from it: another owner's heap may end behind the operand. */
  #whole(address: number | undefined, byteLength: number): number | undefined {
    return address !== undefined && address + byteLength <= this.arena.byteLength ? address : undefined;
  }

  #values(operand: Float32Array | ArenaHandle): Float32Array {
    return operand instanceof Float32Array ? operand : this.arena.float32(operand);
  }

  #floats(address: number, length: number): Float32Array {
    return new Float32Array(this.arena.memory.buffer, address, length);
  }

  #stage(address: number, values: Float32Array): number {
    this.#floats(address, values.length).set(values);
    return address;
  }

  #routesOf(weights: WasmWeights, plan: Plan): Partial<Record<GemmShape, Route>> {
    if (weights.routesOn !== this.arena.memory) this.#renewRoutes(weights);
    let routes = weights.routes.get(plan);
    if (!routes) weights.routes.set(plan, (routes = {}));
    return routes;
  }

  get #threadCount(): number {
    return this.arena.shared ? this.#team.count : 1;
  }

  /** The arena has moved since this matrix was multiplied with; to make kernels may move it again. */
  #renewRoutes(weights: WasmWeights): void {
    while (weights.routesOn !== this.arena.memory) {
      weights.routesOn = this.arena.memory;
      for (const [plan, byShape] of weights.routes)
        for (const [shape, route] of Object.entries(byShape) as [GemmShape, Route][])
          byShape[shape] = this.#routes.renew(route, shape, plan);
    }
  }

  #route(weights: WasmWeights, shape: GemmShape, plan: Plan): Route {
    const routes = this.#routesOf(weights, plan);
    return (routes[shape] ??= this.#routes.find(weights.kernelFormat, weights.variant, shape, plan));
  }
}

/** What is not cut. */
const WHOLE: RowCut = { total: 1, size: 1 };
const ALL = uncut(1);
/** A result of the fused end takes the time of so many multiplications. */
const END_MACS = 64;

const shapeOf = (M: number): GemmShape => gemmShapeFor(Math.min(M, SLICE_ROWS));

/** An operand that kernels read at `address`, or that has to be copied to scratch first; 0 and none if absent. */
interface Source {
  readonly address: number;
  readonly operand: Float32Array | ArenaHandle | undefined;
}

const hasEnd = ({ activation, multiply, residual }: ProductOptions): boolean =>
  activation !== undefined || multiply !== undefined || residual !== undefined;

/** One matrix of a call. */
interface Product {
  readonly weights: WasmWeights & { readonly handle: ArenaHandle };
  readonly bias: Source;
  readonly activation: ActivationId | undefined;
  readonly multiply: Source;
  readonly residual: Source;
  readonly hasEnd: boolean;
  /** Address of an `out` in the arena. */
  readonly into: number | undefined;
  /** Kernels write `out` themselves. */
  readonly inPlace: boolean;
  readonly outType: FloatType;
  readonly result: Operand;
}

/** Rows [m, m + rows) and columns [column, column + width) of an [M,N] matrix; the last panel may reach past N. */
interface Range {
  readonly m: number;
  readonly rows: number;
  readonly N: number;
  readonly column: number;
  readonly width: number;
}

/** One matrix, whose results are all written by gemm: whole panels, no end, no operand to be copied first. */
const isWhole = ([{ weights, inPlace, hasEnd, bias }, ...others]: readonly Product[]): boolean =>
  others.length === 0 && inPlace && !hasEnd && !bias.operand && weights.N % PANEL === 0;

const strideOf = ({ operand }: Source, { N, width }: Range): number => 4 * (operand ? width : N);

/** Panels whose results for `rows` rows are computed before they are copied to a typed array. */
const copyPanelsFor = (rows: number, panels: number): number =>
  Math.min(panels, Math.max(1, Math.floor(COPY_BYTES / (4 * PANEL * Math.max(1, rows)))));

/** `rows` rows of `stride` elements, cut at the end of the row, into a matrix of N columns at `offset`. */
function copyColumns<A extends Float32Array | Uint16Array>(
  from: A,
  stride: number,
  to: A,
  offset: number,
  N: number,
  rows: number,
): void {
  const width = Math.min(stride, N - (offset % N));
  if (stride === N) to.set(from, offset);
  else for (let row = 0; row < rows; row++) to.set(from.subarray(row * stride, row * stride + width), offset + row * N);
}
