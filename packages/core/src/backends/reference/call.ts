/** Bound work of the reference: operands are read, the specification is run, results are written. */
import { optionsOf } from '../../decompose/contract.ts';
import type { Arithmetic } from '../../decompose/decompose.reference.ts';
import { UnsupportedError } from '../../errors.ts';
import { msdMatmul } from '../../msd-matmul.ts';
import { byteLength, elementCount, type Tensor, type TensorType, tensorArrays } from '../../ops/op.ts';
import { checkAttentionOperands, OUT_OPERAND } from '../attention-arguments.ts';
import { runReference } from '../attention-reference-call.ts';
import type { AttentionWork, Call, OpWork, ProductWork, Work } from '../device.ts';
import { checkOpOperands } from '../op-arguments.ts';
import { checkProductOperands } from '../product-arguments.ts';
import type { ReferenceBackend } from './backend.ts';
import { copyOf, floatsOf, type ReferenceHandle, type ReferenceMemory, referenceHandle } from './memory.ts';
import { type ReferenceWeights, rounded } from './weights.ts';

type Operands = readonly (ReferenceHandle | undefined)[];

export class ReferenceCall implements Call<ReferenceHandle> {
  readonly backend: ReferenceBackend;
  readonly work: Work<ReferenceWeights>;
  readonly #memory: ReferenceMemory;
  readonly #arithmetic: Arithmetic;
  #operands: Operands = [];
  #steps: () => void = () => {};

  constructor(
    backend: ReferenceBackend,
    memory: ReferenceMemory,
    arithmetic: Arithmetic,
    work: Work<ReferenceWeights>,
    operands: Operands,
  ) {
    this.backend = backend;
    this.work = work;
    this.#memory = memory;
    this.#arithmetic = arithmetic;
    this.#place(operands);
  }

  get operands(): Operands {
    return this.#operands;
  }

  get kernels(): readonly string[] {
    return [`reference_${this.work.kind === 'op' ? this.work.spec.name : this.work.kind}`];
  }

  /**
   * New places of operands, by their numbers.
   * @throws {@link RangeError} for impossible ones; nothing has changed then
   */
  change(places: Readonly<Record<number, ReferenceHandle>>): void {
    const moved = this.#operands.map((operand, i) => {
      if (!operand && places[i])
        throw new RangeError(`run: operand ${i} was absent when the call was bound, and must stay absent.`);
      return places[i] ?? operand;
    });
    this.#place(moved);
  }

  run(): void {
    this.#steps();
  }

  #place(operands: Operands): void {
    this.#steps = this.#bound(operands);
    operands.forEach((operand, i) => {
      if (operand) this.#memory.check(`operand ${i}`, operand);
    });
    this.#operands = operands;
  }

  #bound(operands: Operands): () => void {
    const { work } = this;
    switch (work.kind) {
      case 'op':
        return this.#op(work, operands);
      case 'product':
        return this.#product(work, operands);
      case 'attention':
        return this.#attention(work, operands);
    }
  }

  #attention(work: AttentionWork, operands: Operands): () => void {
    const bytes = checkAttentionOperands(work, operands, referenceHandle);
    const out = operands[OUT_OPERAND]!;
    return () => {
      const copies = operands.map((operand, i) => operand && copyOf(operand, bytes[i]));
      this.#memory.write(out, runReference(work, this.backend.pages, copies, this.#arithmetic));
    };
  }

  #op(work: OpWork, operands: Operands): () => void {
    const { op, inputs } = work;
    const { name, reference } = work.spec;
    const types = checkOpOperands(work, operands, referenceHandle);
    if (!reference)
      throw new UnsupportedError(`bind: ${name} has no reference. Take the op without \`OnWasm\` in its name.`);
    return () => {
      const given = inputs.map((type, i) => type && tensorOf(operands[i]!, type));
      const results = types.map((type) => emptyTensor(type, this.#arithmetic));
      reference(op, given, results, this.#arithmetic);
      results.forEach(({ data }, i) => {
        this.#memory.write(operands[inputs.length + i]!, data instanceof Float64Array ? Float32Array.from(data) : data);
      });
    };
  }

  #product(work: ProductWork<ReferenceWeights>, operands: Operands): () => void {
    const { matrices, M } = work;
    const { decomposition, xType, x, products } = checkProductOperands(this.backend, work, operands, referenceHandle);
    const floats = (operand: ReferenceHandle | undefined, length: number) =>
      operand && floatsOf(operand, 'f32', length);
    for (const matrix of matrices) matrix.weights; // throws once it was disposed of
    return () => {
      const values = floatsOf(x, xType, M * matrices[0].K);
      products.forEach(({ activation, outType = 'f32', bias, multiply, residual, out }, i) => {
        const { weights, N } = matrices[i];
        const y = msdMatmul(values, weights, {
          M,
          ...optionsOf(decomposition),
          bias: floats(bias, N),
          activation,
          multiply: floats(multiply, M * N),
          residual: floats(residual, M * N),
          arithmetic: this.#arithmetic,
        });
        this.#memory.write(out, rounded(y, outType));
      });
    };
  }
}

const tensorOf = (handle: ReferenceHandle, type: TensorType): Tensor => ({
  ...type,
  data: new tensorArrays[type.dtype](copyOf(handle, byteLength(type))),
});

const emptyTensor = (type: TensorType, arithmetic: Arithmetic): Tensor => ({
  ...type,
  data: new (type.dtype === 'f32' && arithmetic === 'float64' ? Float64Array : tensorArrays[type.dtype])(
    elementCount(type.dims),
  ),
});
