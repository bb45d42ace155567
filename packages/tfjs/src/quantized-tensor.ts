/** A quantized matrix or table: an int32 tensor that tfjs owns and moves, and what it means. */
import { DisposedError } from './errors.ts';
import { describeSpec, type QuantizedSpec, realShape } from './spec.ts';
import type { Tensor } from './tf.ts';

/**
 * Made by `quantize`. The weights live once, in `packed`: `tf.memory()`, `tf.dispose`, `tf.tidy`, `tf.keep` and moves
 * between backends treat it like every tensor. Values: four int8 or eight int4 per element.
 */
export class QuantizedTensor {
  /** int32, one dimension. Save and load it like any tensor, with `spec` beside it. */
  readonly packed: Tensor;
  readonly spec: QuantizedSpec;

  constructor(packed: Tensor, spec: QuantizedSpec) {
    this.packed = packed;
    this.spec = spec;
  }

  /** Shape of the real tensor that it stands for. */
  get shape(): number[] {
    return realShape(this.spec);
  }

  /** Bytes it occupies. */
  get byteLength(): number {
    return 4 * this.packed.size;
  }

  get isDisposed(): boolean {
    return this.packed.isDisposed;
  }

  /** Gives the memory back. Disposing twice is fine. */
  dispose(): void {
    this.packed.dispose();
  }

  toString(): string {
    return `QuantizedTensor ${describeSpec(this.spec)}`;
  }
}

/** @throws `TypeError` if it is none, {@link DisposedError} if it is gone */
export function checkQuantized(w: unknown, where: string): asserts w is QuantizedTensor {
  if (!(w instanceof QuantizedTensor))
    throw new TypeError(
      `${where}: w, expected a QuantizedTensor from quantize(), got ${w === null ? 'null' : ((w as object)?.constructor?.name ?? typeof w)}.`,
    );
  if (w.isDisposed) throw new DisposedError(`${where}: w, ${describeSpec(w.spec)} has been disposed of.`);
}
