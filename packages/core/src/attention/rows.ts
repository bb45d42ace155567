/** One row of attention: where its query is, and which keys it sees. For the reference and the bound. */
import type { AttentionOp, HeadStrides, ScoreArray, ScoreDims } from './contract.ts';

/** What a run brings besides keys and values. */
export interface AttentionInputs {
  readonly isCausal: boolean;
  readonly q: ArrayLike<number>;
  /** [heads] */
  readonly sinks?: ArrayLike<number> | undefined;
  readonly bias?: ScoreArray<Float32Array> | undefined;
  readonly mask?: ScoreArray<Uint8Array> | undefined;
  /** Of each sequence: queries that count, position of the first one, first key that may be seen. */
  readonly queries: readonly number[];
  readonly positions: readonly number[];
  readonly starts: readonly number[];
}

export interface Row {
  readonly b: number;
  readonly h: number;
  readonly m: number;
}

export const placeOf = ({ batch, row, head }: HeadStrides, { b, m, h }: Row): number => b * batch + m * row + h * head;

/** Where a score's bias or mask is. */
export function scoreAt([batch, heads, rows, keys]: ScoreDims, { b, h, m }: Row, t: number): number {
  const [i, j, k, l] = [batch > 1 ? b : 0, heads > 1 ? h : 0, rows > 1 ? m : 0, keys > 1 ? t : 0];
  return ((i * heads + j) * rows + k) * keys + l;
}

/** Keys that a row sees, by position and mask. @param length keys of its sequence */
export function seenKeys(
  { window }: AttentionOp,
  { isCausal, mask, positions, starts }: AttentionInputs,
  length: number,
  row: Row,
): number[] {
  const position = positions[row.b] + row.m;
  const end = isCausal ? Math.min(length, position + 1) : length;
  const begin = Math.max(starts[row.b], window === undefined ? 0 : position - window + 1);
  const seen = [];
  for (let t = begin; t < end; t++) if (!mask || mask.data[scoreAt(mask.dims, row, t)]) seen.push(t);
  return seen;
}
