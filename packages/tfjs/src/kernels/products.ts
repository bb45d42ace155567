/** Products with one matrix on a device, whose operands lie where it sees them. */
import type { ArenaHandle, PreparedWeights, WasmBackend } from '@msd/core';
import type { ProductOptions } from './host.ts';

type Call = ReturnType<WasmBackend['bind']>;

/** Calls that are kept for each matrix: a model multiplies with few numbers of rows. */
const MOST_CALLS = 8;

/** Bound once per shape, then only told where operands lie. */
export class Products {
  readonly #msd: WasmBackend;
  readonly #matrix: PreparedWeights;
  readonly #calls: { readonly call: Call; readonly form: ProductOptions<ArenaHandle> }[] = [];

  constructor(msd: WasmBackend, matrix: PreparedWeights) {
    this.#msd = msd;
    this.#matrix = matrix;
  }

  run(x: ArenaHandle, options: ProductOptions<ArenaHandle>): void {
    const { bias, residual, out } = options;
    const operands = [x, bias, undefined, residual, out];
    const known = this.#calls.find(({ form }) => isSameForm(form, options))?.call;
    const call = known ?? this.#bind(operands, options);
    if (known)
      this.#msd.run(call, { operands: operands as ArenaHandle[] }); // absent ones stay absent
    else this.#msd.run(call);
  }

  /** Binds a product of many rows: kernels are compiled, and the device has its working buffers. Operands come with a run. */
  prepare(form: ProductOptions<ArenaHandle>, x: ArenaHandle): void {
    this.#bind([x, undefined, undefined, undefined, form.out], form);
  }

  #bind(operands: readonly (ArenaHandle | undefined)[], form: ProductOptions<ArenaHandle>): Call {
    const { M, components, activationBlock, activation } = form;
    const work = { kind: 'product', matrices: [this.#matrix], M, components, activationBlock } as const;
    const call = this.#msd.bind({ ...work, each: [{ activation }] }, operands);
    this.#calls.unshift({ call, form });
    this.#calls.length = Math.min(this.#calls.length, MOST_CALLS);
    return call;
  }
}

const isSameForm = (a: ProductOptions<ArenaHandle>, b: ProductOptions<ArenaHandle>): boolean =>
  a.M === b.M &&
  a.components === b.components &&
  a.activationBlock === b.activationBlock &&
  a.activation === b.activation &&
  (a.bias === undefined) === (b.bias === undefined) &&
  (a.residual === undefined) === (b.residual === undefined);
