/** The specification as a backend: plain loops over the file's own codes. For tests and for reading, not for speed. */
import type { Arithmetic } from '../decompose/decompose.reference.ts';
import { UnsupportedError } from '../errors.ts';
import { PACKED_VERSION } from '../formats/packed.ts';
import { validateWeights } from '../formats/validate.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import { msdMatmul } from '../msd-matmul.ts';
import type { ArenaHandle } from './arena.ts';
import { checkActivations, checkMany, checkProduct, type Operand } from './arguments.ts';
import type { Backend, MatmulManyOptions, MatmulOptions, MemoryReport, PreparedWeights } from './backend.ts';

export interface ReferenceBackendOptions {
  /** 'float64' (default): the mathematics, rounded to f32 once at the end. 'float32': the bits that every kernel has to give. */
  readonly arithmetic?: Arithmetic;
}

class ReferenceWeights implements PreparedWeights {
  readonly version = PACKED_VERSION;
  readonly backend: ReferenceBackend;
  weights: QuantizedWeights | undefined;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;

  constructor(backend: ReferenceBackend, weights: QuantizedWeights) {
    const { data, scales, zeroPoints } = weights;
    this.backend = backend;
    this.weights = {
      ...weights,
      data: data.slice(),
      scales: scales.slice(),
      ...(zeroPoints && { zeroPoints: zeroPoints.slice() }),
    };
    this.format = weights.format;
    this.N = weights.N;
    this.K = weights.K;
    this.blockSize = weights.blockSize;
    this.byteLength = data.byteLength + scales.byteLength + (zeroPoints?.byteLength ?? 0);
  }

  dispose(): void {
    this.weights = undefined;
    this.backend.matrices.delete(this);
  }
}

export class ReferenceBackend implements Backend {
  readonly device = 'reference';
  readonly matrices: Set<PreparedWeights> = new Set();
  readonly #arithmetic: Arithmetic;

  constructor({ arithmetic = 'float64' }: ReferenceBackendOptions = {}) {
    this.#arithmetic = arithmetic;
  }

  prepare(weights: QuantizedWeights): PreparedWeights {
    validateWeights(weights);
    const prepared = new ReferenceWeights(this, weights);
    this.matrices.add(prepared);
    return prepared;
  }

  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Float32Array {
    const { M, plan } = checkActivations(this, x, prepared, options);
    checkProduct(prepared, M, options);
    const weights = prepared instanceof ReferenceWeights ? prepared.weights : undefined;
    if (!weights) throw new RangeError('matmul: the weights have been disposed of.');
    const { activation } = options;
    const [values, bias, multiply, residual, out] = [
      x,
      options.bias,
      options.multiply,
      options.residual,
      options.out,
    ].map(typedArray);
    const arithmetic = this.#arithmetic;
    const y = msdMatmul(values!, weights, { M, ...plan, bias, activation, multiply, residual, arithmetic });
    if (!out) return Float32Array.from(y);
    out.set(y);
    return out;
  }

  matmulMany(x: Operand, prepared: readonly PreparedWeights[], options: MatmulManyOptions = {}): Float32Array[] {
    const products = checkMany(this, x, prepared, options);
    const { each, ...shared } = options;
    return prepared.map((matrix, i) => this.matmul(x, matrix, { ...shared, ...products[i] }));
  }

  memory(): MemoryReport {
    const packedBytes = [...this.matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return { packedBytes, scratch: {}, scratchBytes: 0, wasmBytes: 0 };
  }

  dispose(): void {
    for (const prepared of this.matrices) prepared.dispose();
  }
}

function typedArray(operand: Float32Array | ArenaHandle | undefined): Float32Array | undefined {
  if (operand === undefined || operand instanceof Float32Array) return operand;
  throw new UnsupportedError('matmul: the reference backend has no arena; pass Float32Arrays.');
}
