/**
 * Products of one x with several matrices, bound: kernels, cuts, sizes and working buffers are decided once, and a run
 * only checks what has changed since. Rows are computed in slices, columns in ranges (plan/ranges.ts).
 */
import { PANEL } from '../../formats/format.ts';
import { floatBytes } from '../../formats/half.ts';
import type { GemmOptions } from '../../gemm/options.ts';
import { whole } from '../../plan/cut.ts';
import type { ArenaHandle } from '../arena.ts';
import { BoundKernel } from './bound-kernel.ts';
import { matrixChanges } from './matrix.ts';
import { type Changes, Operand } from './operands.ts';
import { Product, type ProductForm } from './product.ts';
import { gemmCall, PLACES } from './product-kernels.ts';
import {
  type Activations,
  type BoundRange,
  type BoundSlice,
  bindSlices,
  scratchSizes,
  yBuffers,
} from './product-slices.ts';
import type { Runtime } from './runtime.ts';
import { deliver, stage, stageBlock } from './staging.ts';

export class ProductCall {
  readonly activations: Activations;
  readonly #changes: Changes = { any: true };
  readonly x: Operand = new Operand(this.#changes);
  readonly products: readonly Product[];
  /** Bytes of x, then of bias, multiply, residual and out of each matrix. */
  readonly byteLengths: readonly number[];
  readonly #runtime: Runtime;
  #slices: readonly BoundSlice[] = [];
  /** What was true when it was bound: threads, where x is, what each product depends on. */
  readonly #bound: number[] = [];
  /** Counts at the time when operands and matrices were last checked. */
  #matrixChanges = -1;
  /** Of the scratch that kernels were placed in. */
  #scratchGeneration = -1;
  /** Bytes that it needs there. */
  #scratchSizes: Readonly<Record<string, number>> = {};
  /** All kernels in order, where nothing else is to be done between them; and by kernel where to go on if a part of it was lost. */
  #kernels: readonly BoundKernel[] | undefined;
  #restarts: readonly number[] = [];
  /** One slice, and no kernel serves two ranges: kernels stay placed until an operand moves. */
  #isFixed = false;
  /** Did the last run end with all of them placed, and has nothing moved since? */
  #isPlaced = false;
  /** Bytes from y of a range in scratch to y of the next one; 0: there is one place for all of them. */
  #yStep = 0;

  /** Operands are absent until they are set. */
  constructor(runtime: Runtime, activations: Activations, forms: readonly ProductForm[]) {
    this.#runtime = runtime;
    this.activations = activations;
    const { M, K, xType } = activations;
    this.products = forms.map((form) => new Product(form, M, this.#changes));
    this.byteLengths = [floatBytes(xType) * M * K, ...this.products.flatMap(({ byteLengths }) => byteLengths)];
  }

  /** Puts an operand elsewhere, numbered like {@link byteLengths}. */
  set(operand: number, handle: ArenaHandle): void {
    const { arena } = this.#runtime;
    if (operand === 0) this.x.set(handle.ptr);
    else this.products[(operand - 1) >> 2].set((operand - 1) & 3, handle, arena);
  }

  /** Ids of the kernels that it runs, in order, each once. */
  get kernels(): string[] {
    this.#settle();
    return [...new Set(this.#boundKernels().map(({ id }) => id))];
  }

  /** @throws {@link RangeError} if a matrix was disposed of */
  run(): void {
    this.#settle();
    const isPlaced = this.#isPlaced;
    this.#isPlaced = false;
    if (isPlaced && this.#kernels) {
      runInTurn(this.#kernels, this.#restarts);
      this.#isPlaced = true;
      return;
    }
    let m = 0;
    for (const slice of this.#slices) {
      this.#runSlice(slice, m, isPlaced);
      m += slice.rows;
    }
    this.#isPlaced = this.#isFixed;
  }

  /** Binds it and warms its kernels. */
  prepare(): void {
    this.#settle();
    for (const kernel of this.#boundKernels()) kernel.warmUp();
  }

  /** Drops the references to the caller's arrays. */
  release(): void {
    this.x.release();
    for (const { operands } of this.products) for (const operand of operands) operand.release();
  }

  /** Binds again if something has changed that kernels depend on, and finds out whether they are still placed. */
  #settle(): void {
    const { scratch, threads } = this.#runtime;
    const { products, x } = this;
    const bound = this.#bound;
    // Operands and matrices lie far apart in memory, and the weights of the previous product have evicted them from the
    // caches.
    const isKnown = !this.#changes.any && this.#matrixChanges === matrixChanges.count;
    if (isKnown && bound[0] === threads && this.#scratchGeneration === scratch.generation) return;
    let isBound = bound[0] === threads && bound[1] === x.mode;
    let isMoved = x.moved;
    x.moved = false;
    for (let i = 0; i < products.length; i++) {
      const product = products[i];
      product.matrix.address; // throws once it was disposed of
      isBound &&= bound[2 + i] === product.state;
      if (product.takeMoved()) isMoved = true;
    }
    if (!isBound) this.#bind();
    const isElsewhere = this.#scratchGeneration !== scratch.generation;
    if (isElsewhere) this.#placeInScratch();
    if (isMoved || !isBound || isElsewhere) this.#isPlaced = false;
    this.#changes.any = false;
    this.#matrixChanges = matrixChanges.count;
  }

  #boundKernels(): BoundKernel[] {
    return this.#slices
      .flatMap(({ widen, products }) => [
        widen,
        ...products.flatMap(({ decompose, ranges }) => [
          decompose,
          ...ranges.flatMap(({ gemm, sums, end, narrow }) => [gemm, gemm.next, ...sums, end, narrow]),
        ]),
      ])
      .filter((kernel) => kernel !== undefined);
  }

  #bind(): void {
    const runtime = this.#runtime;
    const { products, x, activations } = this;
    const { threads } = runtime;
    this.#slices = bindSlices(runtime, activations, products);
    const ranges = this.#slices.flatMap((slice) => slice.products.flatMap((product) => product.ranges));
    const isShared = !this.#slices[0]?.joint && new Set(ranges.map(({ gemm }) => gemm)).size < ranges.length;
    this.#isFixed = this.#slices.length === 1 && !isShared;
    const isStaged = [x, ...products.flatMap(({ operands }) => operands)].some(({ mode }) => mode === 2);
    this.#kernels = undefined;
    if (this.#isFixed && !isStaged) [this.#kernels, this.#restarts] = inTurn(this.#slices[0]);
    const sizes = scratchSizes(activations, x.mode === 2, products, this.#slices, threads);
    this.#yStep = yBuffers(products, threads) > 1 ? sizes.y / 2 : 0;
    this.#scratchSizes = sizes;
    this.#scratchGeneration = -1;
    this.#bound.splice(0, Number.POSITIVE_INFINITY, threads, x.mode, ...products.map(({ state }) => state));
  }

  #placeInScratch(): void {
    const { scratch } = this.#runtime;
    scratch.reserve(this.#scratchSizes);
    this.#scratchGeneration = scratch.generation;
    for (const { places, matrix } of this.products) {
      for (const name of ['q', 'sums', 'scales', 'widened'] as const) places[PLACES[name]] = scratch.at(name);
      places[PLACES.w] = matrix.address;
    }
  }

  #runSlice({ rows, widen, products, joint }: BoundSlice, m: number, isPlaced: boolean): void {
    this.#takeX(rows, m);
    if (!isPlaced) widen?.place(this.products[0].places);
    widen?.run(true);
    for (let i = 0; i < products.length; i++) {
      const product = this.products[i];
      const { decompose, ranges } = products[i];
      if (!isPlaced) decompose?.place(product.places);
      decompose?.run(true);
      const bias = this.#takeBias(product);
      let late: (() => void) | undefined;
      for (let r = 0; r < ranges.length; r++) {
        const staged = this.#runtime.scratch.at('y') + (r & 1) * this.#yStep;
        if (!isPlaced) this.#placeRange(product, ranges[r], m, bias, staged);
        if (!joint) late = this.#runRange(product, ranges[r], m, rows, staged, late);
      }
      late?.();
    }
    if (!joint) return;
    joint.run(true);
    for (const { ranges } of products) {
      const [{ end, narrow }] = ranges;
      while (end && !end.run(false)) joint.run(true); // it works in place: its input is computed again, and nobody else has an end
      narrow?.run(true);
    }
  }

  /** Finds out where rows of x are, or copies them to scratch. */
  #takeX(rows: number, m: number): void {
    const { arena, scratch } = this.#runtime;
    const { K, xType } = this.activations;
    const { staged, address } = this.x;
    const isFloat = xType === 'f32';
    const count = rows * K;
    const copy = staged || !isFloat ? scratch.at('x') : 0;
    const bits = staged ? copy + 2 * count : address + 2 * m * K; // widening reads a pattern before its place is written
    if (staged) stage(arena.memory, isFloat ? copy : bits, this.x.values(arena), m * K, count);
    const x = copy || address + 4 * m * K;
    for (const { places } of this.products) {
      places[PLACES.x] = x;
      places[PLACES.bits] = bits;
    }
  }

  /** Where the bias is, or where it was copied to; 0: there is none. */
  #takeBias({ bias, matrix }: Product): number {
    if (!bias.staged) return bias.address;
    const { arena, scratch } = this.#runtime;
    const at = scratch.at('bias');
    stage(arena.memory, at, bias.values(arena), 0, matrix.N);
    return at;
  }

  /** @param staged where y lies that is delivered or narrowed */
  #placeRange(product: Product, range: BoundRange, m: number, bias: number, staged: number): void {
    const { scratch } = this.#runtime;
    const { matrix, outType, multiply, residual, out, places } = product;
    const column = PANEL * range.first;
    const offset = m * matrix.N + column;
    const y = range.direct ? out.address + 4 * offset : staged;
    const addressOf = ({ mode, address }: Operand, name: string) =>
      mode === 2 ? scratch.at(name) : address && address + 4 * offset;
    places[PLACES.first] = range.first;
    places[PLACES.channelScales] = matrix.address + matrix.layout.panelBytes + 4 * column;
    places[PLACES.bias] = bias && bias + 4 * column;
    places[PLACES.y] = y;
    places[PLACES.partials] = scratch.at('partials');
    places[PLACES.multiply] = addressOf(multiply, 'multiply');
    places[PLACES.residual] = addressOf(residual, 'residual');
    places[PLACES.out] = out.mode === 2 ? y : out.address + floatBytes(outType) * offset;
    for (const part of range.parts) range.gemm.place(places, 0, part);
    for (const sum of range.sums) sum.place(places);
    range.end?.place(places);
    range.narrow?.place(places);
  }

  /**
   * @param y where it lies that is delivered
   * @param late what to do beside its product
   * @returns copies it to the caller's array, which only this thread can: for the next range
   */
  #runRange(
    product: Product,
    range: BoundRange,
    m: number,
    rows: number,
    y: number,
    late: (() => void) | undefined,
  ): (() => void) | undefined {
    const { arena, scratch } = this.#runtime;
    const { gemm, sums, end, narrow, first, panels, width } = range;
    const { multiply, residual, out, matrix } = product;
    const stride = PANEL * panels;
    const isStaged = multiply.staged || residual.staged || out.staged;
    const block = isStaged && { m, rows, N: matrix.N, column: PANEL * first, width };
    if (block && multiply.staged)
      stageBlock(arena.memory, scratch.at('multiply'), stride, multiply.values(arena), block);
    if (block && residual.staged)
      stageBlock(arena.memory, scratch.at('residual'), stride, residual.values(arena), block);
    gemm.run(true, late);
    for (const sum of sums) sum.run(true);
    // It works in place: its input is computed again.
    while (end && !end.run(false)) for (const kernel of [gemm, ...sums]) kernel.run(true);
    narrow?.run(true);
    if (!block || !out.staged) return undefined;
    return () => deliver(arena.memory, y, stride, out.values(arena), block);
  }

  /** Multiplies what the last run left in scratch with another kernel, to scratch: for measurements. */
  alternative(options: GemmOptions): () => void {
    const runtime = this.#runtime;
    const [slice] = this.#slices;
    const [product] = this.products;
    const { ranges, row } = slice.products[0];
    const kernels = ranges.map((range) => {
      const { panels } = range;
      const call = gemmCall(options, product.matrix.layout, row, 4 * PANEL * panels, false);
      this.#placeRange(product, range, 0, 0, runtime.scratch.at('y'));
      const kernel = new BoundKernel(runtime, call, whole(slice.rows, panels));
      kernel.place(product.places);
      kernel.warmUp();
      return kernel;
    });
    return () => {
      for (const kernel of kernels) kernel.run(true);
    };
  }
}

/** Kernels of a slice, and by kernel the one to go on with if a part of it was lost: of an end, which works in place, its gemm; else −1. */
function inTurn({ widen, products, joint }: BoundSlice): [BoundKernel[], number[]] {
  const kernels: BoundKernel[] = [];
  const restarts: number[] = [];
  const add = (kernel: BoundKernel | undefined, restart = -1) => {
    if (!kernel) return;
    kernels.push(kernel);
    restarts.push(restart);
  };
  add(widen);
  if (joint) {
    for (const { decompose } of products) add(decompose);
    add(joint);
  }
  const first = kernels.length - 1;
  for (const { decompose, ranges } of products) {
    if (!joint) add(decompose);
    for (const { gemm, sums, end, narrow } of ranges) {
      const restart = joint ? first : kernels.length;
      if (!joint) add(gemm);
      for (const sum of sums) add(sum);
      add(end, restart);
      add(narrow);
    }
  }
  return [kernels, restarts];
}

function runInTurn(kernels: readonly BoundKernel[], restarts: readonly number[]): void {
  for (let i = 0; i < kernels.length; i++) if (!kernels[i].run(restarts[i] < 0)) i = restarts[i] - 1;
}
