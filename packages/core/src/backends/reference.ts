/** The specification as a backend: plain loops over the file's own codes. For tests and for reading, not for speed. */
import type { Arithmetic } from '../decompose/decompose.reference.ts';
import { UnsupportedError } from '../errors.ts';
import { bitsOf, type FloatType, type HalfArray, halves } from '../formats/half.ts';
import { PACKED_VERSION } from '../formats/packed.ts';
import { validateWeights } from '../formats/validate.ts';
import type { FormatId, QuantizedWeights } from '../formats/weights.ts';
import { msdMatmul } from '../msd-matmul.ts';
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

  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
  matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Float32Array | HalfArray;
  matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions = {}): Float32Array | HalfArray {
    const { M, plan, xType } = checkActivations(this, x, prepared, options);
    checkProduct(prepared, M, options);
    const weights = prepared instanceof ReferenceWeights ? prepared.weights : undefined;
    if (!weights) throw new RangeError('matmul: the weights have been disposed of.');
    const { activation } = options;
    const [values, out] = [x, options.out].map(typedArray);
    const [bias, multiply, residual] = [options.bias, options.multiply, options.residual].map(
      (operand) => typedArray(operand) as Float32Array | undefined, // checked
    );
    const arithmetic = this.#arithmetic;
    const ends = { bias, activation, multiply, residual, arithmetic };
    const y = Float32Array.from(msdMatmul(widened(values!, xType), weights, { M, ...plan, ...ends }));
    const outType = typeOf('out', out, options.outType);
    if (outType === 'f32') {
      if (!out) return y;
      (out as Float32Array).set(y);
      return out;
    }
    const patterns = Uint16Array.from(y, halves[outType].bits);
    if (!out) return patterns;
    bitsOf(out as HalfArray).set(patterns);
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
    const packedBytes = [...this.matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    return { packedBytes, scratch: {}, scratchBytes: 0, wasmBytes: 0 };
  }

  dispose(): void {
    for (const prepared of this.matrices) prepared.dispose();
  }
}

function widened(x: Float32Array | HalfArray, type: FloatType): Float32Array {
  return type === 'f32' ? (x as Float32Array) : Float32Array.from(bitsOf(x as HalfArray), halves[type].value);
}

function typedArray(operand: Operand | undefined): Float32Array | HalfArray | undefined {
  if (operand === undefined || !('arena' in operand)) return operand;
  throw new UnsupportedError('matmul: the reference backend has no arena; pass typed arrays.');
}
