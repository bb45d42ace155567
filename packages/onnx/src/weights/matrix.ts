/**
 * A quantized matrix [N, K] of the file, however the file spells it: what a product is made with. One module per spelling.
 */
import type { FormatId, PackedShape, QuantizedWeights } from '@msd/core';
import { type TensorRef, tensorByteLength } from '../read/tensor.ts';

/** ‖real − rounded‖ / ‖real‖ of weights. */
export interface RoundingError {
  readonly relativeL2: number;
  /** Of the output channel that lost most. */
  readonly worstRow: number;
}

/** Its shape and form are known while matching; its elements are read once, when it is packed. */
export interface Matrix extends Omit<PackedShape, 'version'> {
  /** Matrices with equal keys are equal: they are packed once. */
  readonly key: string;
  /** Bytes that it takes in the file. */
  readonly fileBytes: number;
  /** What it is made of, where other matrices may be made of it, too. */
  readonly tensors?: readonly TensorRef[];
  /** Its codes, scales and zero points, unsigned, if their rows lie in these tensors as `open` returns them: threads read them there. */
  readonly stored?: readonly TensorRef[];
  /** Key of a matrix with the same codes and scales: it is the same packed bytes, read in this format. */
  readonly bytesOf?: string;
  /** Once it is packed: what was lost when it was quantized. Absent: the file has it as it is. */
  rounding?(): RoundingError;
  /** Opens it for packing. */
  open(): MatrixRows;
}

/**
 * Rows [n, n + count) as a matrix of their own; what it returns is read before it is asked for the next ones.
 *
 * @param into where `data` may be put, which saves a copy: `count` rows
 */
export type MatrixRows = (n: number, count: number, into: Uint8Array) => QuantizedWeights;

/** Formats of plain integers by their bits. */
export const INTEGER_FORMATS: ReadonlyMap<number, FormatId> = /* @__PURE__ */ new Map([
  [2, 'int2'],
  [4, 'int4'],
  [8, 'int8'],
]);

/** A matrix made of another one: what it reads no longer lies in the file as it returns it. */
export function made({ stored: _, ...from }: Matrix, own: Partial<Matrix> & Pick<Matrix, 'key' | 'open'>): Matrix {
  return { ...from, ...own };
}

/** What makes a matrix another one: kind, sizes, and where its tensors lie. */
export function matrixKey(
  kind: string,
  sizes: readonly unknown[],
  tensors: readonly (TensorRef | undefined)[],
): string {
  return JSON.stringify([kind, ...sizes, tensors.map((tensor) => tensor && [tensor.name, tensor.proto.offset])]);
}

/** Bytes of tensors in the file. */
export function bytesOf(...tensors: readonly (TensorRef | undefined)[]): number {
  return tensors.reduce((sum, tensor) => sum + (tensor ? tensorByteLength(tensor) : 0), 0);
}
