/**
 * A table of float rows that stays in the file: rows are read when they are asked for. The source stays open, or the bytes in
 * memory, until the session ends.
 */
import { SessionStateError } from '../errors.ts';
import { type ByteRange, type ByteSource, readRange } from '../read/source.ts';
import { type TensorRef, tensorBytes, tensorRange } from '../read/tensor.ts';

/** Tables up to this size are copied: the file need not stay open for them. */
const SMALL_BYTES = 2 ** 20;

export class RowTable {
  readonly rows: number;
  readonly rowBytes: number;
  readonly #name: string;
  /** Where the rows lie in the file; absent for a copy. */
  readonly #range: ByteRange | undefined;
  readonly #bytes: Uint8Array | undefined;
  #row: Uint8Array | undefined;

  constructor(tensor: TensorRef) {
    this.#name = tensor.name;
    this.rows = tensor.dims[0]!;
    this.rowBytes = 4 * tensor.dims[1]!;
    const range = tensorRange(tensor);
    if (range && range.length > SMALL_BYTES) this.#range = range;
    else this.#bytes = new Uint8Array(tensorBytes(tensor));
  }

  /** What rows are read from; `undefined` for a copy. */
  get source(): ByteSource | undefined {
    return this.#range?.source;
  }

  /** The bytes of a row; good until the next one is asked for. */
  row(index: number): Uint8Array {
    const at = index < 0 ? index + this.rows : index;
    if (!(at >= 0 && at < this.rows))
      throw new RangeError(
        `run: table '${this.#name}': index, expected ${-this.rows} to ${this.rows - 1}, got ${index}.`,
      );
    const begin = at * this.rowBytes;
    if (this.#bytes) return this.#bytes.subarray(begin, begin + this.rowBytes);
    const { source, offset } = this.#range!;
    if (source.bytes?.byteLength === 0)
      throw new SessionStateError(
        `run: table '${this.#name}': the model's bytes, expected as they were given, got none. Were they transferred?`,
      );
    this.#row ??= new Uint8Array(this.rowBytes);
    return readRange({ source, offset: offset + begin, length: this.rowBytes }, this.#row);
  }
}
