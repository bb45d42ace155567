/** The result of `bind`: work whose operands were checked, and what a run may change in it. */
import type { ArenaHandle } from '../arena.ts';
import { arenaHandle } from '../arguments.ts';
import type { PreparedWeights } from '../backend.ts';
import type { BoundWork, Call, ProductWork, Work } from '../device.ts';
import { checkOpOperands } from '../op-arguments.ts';
import { checkProductOperands } from '../product-arguments.ts';
import type { WasmBackend } from './backend.ts';
import { ownMatrix } from './matrix.ts';
import { OpCall } from './op-call.ts';
import { ProductCall } from './product-call.ts';
import type { Runtime } from './runtime.ts';

export class WasmCall implements Call<ArenaHandle> {
  readonly backend: WasmBackend;
  readonly work: Work;
  readonly operands: (ArenaHandle | undefined)[];
  readonly #bound: BoundWork<ArenaHandle>;

  constructor(
    backend: WasmBackend,
    work: Work,
    operands: readonly (ArenaHandle | undefined)[],
    bound: BoundWork<ArenaHandle>,
  ) {
    this.backend = backend;
    this.work = work;
    this.operands = [...operands];
    this.#bound = bound;
    operands.forEach((handle, i) => {
      if (handle) bound.set(i, handle);
    });
    bound.prepare();
  }

  get kernels(): readonly string[] {
    return this.#bound.kernels;
  }

  /**
   * Puts operands elsewhere. Makes no objects.
   * @throws {@link RangeError} for an impossible place; nothing has changed then
   */
  change(places: Readonly<Record<number, ArenaHandle>>): void {
    const { operands } = this;
    for (let i = 0; i < operands.length; i++) if (places[i]) this.#check(i, places[i]);
    for (let i = 0; i < operands.length; i++) {
      if (!places[i]) continue;
      operands[i] = places[i];
      this.#bound.set(i, places[i]);
    }
  }

  ahead(): void {
    this.#bound.ahead?.();
  }

  run(): void {
    this.#bound.run();
  }

  /** Does not look up whether the handle is a live buffer: that was done when the call was bound. */
  #check(operand: number, { arena, ptr, byteLength }: ArenaHandle): void {
    const needed = this.#bound.byteLengths[operand];
    if (!this.operands[operand])
      throw new RangeError(`run: operand ${operand} was absent when the call was bound, and must stay absent.`);
    if (arena !== this.backend.arena || byteLength < needed || ptr + needed > arena.byteLength)
      throw new RangeError(
        `run: operand ${operand} expected ${needed} bytes of this backend's arena, got ${byteLength} at ${ptr}.`,
      );
  }
}

export function bindWork(
  backend: WasmBackend,
  runtime: Runtime,
  work: Work<PreparedWeights>,
  operands: readonly (ArenaHandle | undefined)[],
): WasmCall {
  const bound = bindOne(backend, runtime, work, operands);
  operands.forEach((handle, i) => {
    if (handle && !backend.arena.owns(handle))
      throw new RangeError(`bind: operand ${i} is not a live buffer of this backend's arena.`);
  });
  return new WasmCall(backend, work, operands, bound);
}

function bindOne(
  backend: WasmBackend,
  runtime: Runtime,
  work: Work<PreparedWeights>,
  operands: readonly (ArenaHandle | undefined)[],
): BoundWork<ArenaHandle> {
  switch (work.kind) {
    case 'op':
      return new OpCall(runtime, work, checkOpOperands(work, operands, arenaHandle));
    case 'product':
      return bindProduct(backend, runtime, work, operands);
    case 'attention':
      return work.spec.wasm(runtime, work, operands);
  }
}

function bindProduct(
  backend: WasmBackend,
  runtime: Runtime,
  work: ProductWork<PreparedWeights>,
  operands: readonly (ArenaHandle | undefined)[],
): ProductCall {
  const { decomposition, xType, products } = checkProductOperands(backend, work, operands, arenaHandle);
  const forms = products.map(({ activation, outType = 'f32' }, i) => {
    const matrix = ownMatrix(backend, work.matrices[i]);
    return { matrix, activation, outType };
  });
  return new ProductCall(runtime, { decomposition, M: work.M, K: forms[0].matrix.K, xType }, forms);
}
