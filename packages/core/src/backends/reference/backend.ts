/** The specification as a device: plain loops over the file's own codes. For tests and for reading, not for speed. */
import { optionsOf } from '../../decompose/contract.ts';
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import { UnsupportedError } from '../../errors.ts';
import { bitsOf, type FloatType, type HalfArray, halves } from '../../formats/half.ts';
import { validateWeights } from '../../formats/validate.ts';
import type { QuantizedWeights } from '../../formats/weights.ts';
import { msdMatmul } from '../../msd-matmul.ts';
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
import type { Call, Changes, Device, PageDevice, Work } from '../device.ts';
import { ReferenceCall } from './call.ts';
import { bytesOf, type ReferenceHandle, ReferenceMemory } from './memory.ts';
import { ReferenceWeights, rounded } from './weights.ts';

export interface ReferenceBackendOptions {
  /**
   * 'float64' (default): the mathematics, rounded to f32 once at the end. 'float32': the f32 contract, whose bits every
   * kernel has to give.
   */
  readonly arithmetic?: Arithmetic;
}

export class ReferenceBackend implements Backend, Device<ReferenceHandle, PreparedWeights> {
  readonly device = 'reference';
  readonly pages: PageDevice<ReferenceHandle> = {
    alloc: (byteLength, label) => this.#memory.alloc(byteLength, label),
    free: (handle) => this.#memory.free(handle),
    write: (handle, data) => this.#memory.write(handle, data),
    read: (handle, into) => this.#memory.read(handle, into),
    clear: (handle) => {
      bytesOf(handle).fill(0);
    },
    copy: (from, to) => bytesOf(to).set(bytesOf(from)),
    addressOf: () => 0, // nobody looks there
    caches: new Set(),
  };
  readonly #matrices = new Set<ReferenceWeights>();
  readonly #memory = new ReferenceMemory();
  readonly #arithmetic: Arithmetic;

  constructor({ arithmetic = 'float64' }: ReferenceBackendOptions = {}) {
    this.#arithmetic = arithmetic;
  }

  prepare(weights: QuantizedWeights): PreparedWeights {
    validateWeights(weights);
    const prepared = new ReferenceWeights(this, weights, (matrix) => this.#matrices.delete(matrix));
    this.#matrices.add(prepared);
    return prepared;
  }

  alloc(byteLength: number, label?: string): ReferenceHandle {
    return this.#memory.alloc(byteLength, label);
  }

  free(handle: ReferenceHandle): void {
    this.#memory.free(handle);
  }

  part(handle: ReferenceHandle, begin: number, byteLength: number): ReferenceHandle {
    return this.#memory.part(handle, begin, byteLength);
  }

  write(handle: ReferenceHandle, data: ArrayBufferView): void {
    this.#memory.write(handle, data);
  }

  read(handle: ReferenceHandle, into: ArrayBufferView): void {
    this.#memory.read(handle, into);
  }

  bind(work: Work<PreparedWeights>, operands: readonly (ReferenceHandle | undefined)[]): Call<ReferenceHandle> {
    if (work.kind === 'product') for (const matrix of work.matrices) this.#own(matrix);
    return new ReferenceCall(this, this.#memory, this.#arithmetic, work as Work<ReferenceWeights>, operands);
  }

  run(call: Call<ReferenceHandle>, changes?: Changes<ReferenceHandle>): void {
    if (!(call instanceof ReferenceCall) || call.backend !== this)
      throw new RangeError('run: the call was bound by another backend. Bind it with this one.');
    if (changes?.operands) call.change(changes.operands);
    call.run();
  }

  flush(): void {}

  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Float32Array | HalfArray;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Float32Array | HalfArray {
    const { M, decomposition, xType } = checkActivations(this, x, prepared, options);
    checkProduct(prepared, M, options);
    const { activation } = options;
    const [values, out] = [x, options.out].map(typedArray);
    const [bias, multiply, residual] = [options.bias, options.multiply, options.residual].map(
      (operand) => typedArray(operand) as Float32Array | undefined, // checked
    );
    const arithmetic = this.#arithmetic;
    const ends = { bias, activation, multiply, residual, arithmetic };
    const { weights } = this.#own(prepared);
    const outType = typeOf('out', out, options.outType);
    const y = rounded(
      msdMatmul(widened(values!, xType), weights, { M, ...optionsOf(decomposition), ...ends }),
      outType,
    );
    if (!out) return y;
    if (out instanceof Float32Array) out.set(y);
    else bitsOf(out).set(y);
    return out;
  }

  matmulMany(
    x: Operand,
    prepared: readonly PreparedWeights[],
    options?: MatmulManyOptions & { readonly each?: readonly (ProductOptions & F32Result)[] | undefined },
  ): Float32Array[];
  matmulMany(
    x: Operand,
    prepared: readonly PreparedWeights[],
    options?: MatmulManyOptions,
  ): (Float32Array | HalfArray)[];
  matmulMany(
    x: Operand,
    prepared: readonly PreparedWeights[],
    options: MatmulManyOptions = {},
  ): (Float32Array | HalfArray)[] {
    if (prepared.length === 0) return [];
    const { products } = checkMany(this, x, prepared, options);
    const { each, ...shared } = options;
    return prepared.map((matrix, i) => this.matmul(x, matrix, { ...shared, ...products[i] }));
  }

  memory(): MemoryReport {
    const packedBytes = [...this.#matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return { packedBytes, scratch: {}, scratchBytes: 0, wasmBytes: 0 };
  }

  dispose(): void {
    for (const prepared of this.#matrices) prepared.dispose();
    for (const cache of this.pages.caches) cache.dispose();
    this.#memory.clear();
  }

  #own(prepared: PreparedWeights): ReferenceWeights {
    if (prepared instanceof ReferenceWeights && prepared.backend === this) return prepared;
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  }
}

function widened(x: Float32Array | HalfArray, type: FloatType): Float32Array {
  return type === 'f32' ? (x as Float32Array) : Float32Array.from(bitsOf(x as HalfArray), halves[type].value);
}

function typedArray(operand: Operand | undefined): Float32Array | HalfArray | undefined {
  if (operand === undefined || !('arena' in operand)) return operand;
  throw new UnsupportedError('matmul: the reference backend has no arena; pass typed arrays.');
}
