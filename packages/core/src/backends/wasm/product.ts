/** One matrix of a bound product, with its operands. */
import type { ActivationId } from '../../activations/contract.ts';
import { PANEL } from '../../formats/format.ts';
import { type FloatType, floatBytes } from '../../formats/half.ts';
import type { Arena, ArenaHandle } from '../arena.ts';
import { checkApart } from '../arguments.ts';
import type { WasmMatrix } from './matrix.ts';
import { type Changes, Operand, wholePlaceOf } from './operands.ts';
import { PLACES, type Places } from './product-kernels.ts';

/** What happens to a product, whatever its operands are. */
export interface ProductForm {
  readonly matrix: WasmMatrix;
  readonly activation: ActivationId | undefined;
  readonly outType: FloatType;
}

/** Bytes that kernels read, to the end of the last panel: of a bias, of an operand of M rows. */
export function bytesRead({ N, layout }: WasmMatrix, M: number): { readonly bias: number; readonly block: number } {
  const bias = 4 * PANEL * layout.panels;
  return { bias, block: 4 * (M - 1) * N + bias };
}

export class Product implements ProductForm {
  readonly matrix: WasmMatrix;
  readonly activation: ActivationId | undefined;
  readonly outType: FloatType;
  readonly bias: Operand;
  readonly multiply: Operand;
  readonly residual: Operand;
  readonly out: Operand;
  /** All of them. */
  readonly operands: readonly Operand[];
  /** Bytes of each. */
  readonly byteLengths: readonly number[];
  /** What its kernels are placed by, rewritten for every slice and range. */
  readonly places: Places = new Array(Object.keys(PLACES).length).fill(0);
  readonly #read: readonly number[];

  constructor({ matrix, activation, outType }: ProductForm, M: number, changes: Changes) {
    this.bias = new Operand(changes);
    this.multiply = new Operand(changes);
    this.residual = new Operand(changes);
    this.out = new Operand(changes);
    this.operands = [this.bias, this.multiply, this.residual, this.out];
    this.matrix = matrix;
    this.activation = activation;
    this.outType = outType;
    const { N } = matrix;
    this.byteLengths = [4 * N, 4 * M * N, 4 * M * N, floatBytes(outType) * M * N];
    const { bias, block } = bytesRead(matrix, M);
    this.#read = [bias, block, block, 0];
  }

  /** @param operand of {@link operands} */
  set(operand: number, handle: ArenaHandle, arena: Arena): void {
    this.operands[operand].set(wholePlaceOf(arena, handle.ptr, handle, this.#read[operand]));
  }

  get hasEnd(): boolean {
    return this.activation !== undefined || this.multiply.mode > 0 || this.residual.mode > 0;
  }

  /**
   * Does gemm write `out` itself? It adds up its K-blocks in y, which is f32: where `out` is not, or the end still has to read what
   * it held, y lies in scratch until it is copied.
   */
  get direct(): boolean {
    const { out, multiply, residual } = this;
    const { address } = out;
    return out.mode === 1 && this.outType === 'f32' && address !== multiply.address && address !== residual.address;
  }

  /**
   * One number for everything that its kernels and buffers depend on, including the kernel that was set for the matrix.
   */
  get state(): number {
    const { bias, multiply, residual, out, matrix } = this;
    const modes = bias.mode + 3 * (multiply.mode + 3 * (residual.mode + 3 * out.mode));
    return 2 * (modes + 81 * matrix.tuned) + (this.direct ? 1 : 0);
  }

  /**
   * Does any operand lie elsewhere than at the last call of this method?
   * @throws {@link RangeError} if it may not lie there
   */
  takeMoved(): boolean {
    let moved = false;
    for (const operand of this.operands) {
      moved ||= operand.moved;
      operand.moved = false;
    }
    if (moved) this.#checkApart();
    return moved;
  }

  /** The same check as that of `bind`, for places that came later. */
  #checkApart(): void {
    const { out, multiply, residual, outType, byteLengths } = this;
    const written = { begin: out.address, byteLength: byteLengths[3] };
    if (out.mode !== 1) return;
    if (multiply.mode === 1)
      checkApart('multiply', { begin: multiply.address, byteLength: byteLengths[1] }, written, outType);
    if (residual.mode === 1)
      checkApart('residual', { begin: residual.address, byteLength: byteLengths[2] }, written, outType);
  }
}
