/** A case: one KV head of seeded keys and values, and the queries of its group. */
import type { AttentionOp, KvType } from '../../../packages/core/src/attention/contract.ts';
import { headMajor } from '../../../packages/core/src/attention/contract.ts';
import { gaussians, random } from '../../../packages/core/test/seeded.ts';

export interface AttentionCase {
  readonly type: KvType;
  readonly headSize: number;
  /** Query heads of the KV head. */
  readonly heads: number;
  /** Queries, which bring as many keys. */
  readonly rows: number;
  /** Keys in all. */
  readonly keys: number;
}

export interface AttentionData {
  readonly op: AttentionOp;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

export const caseName = ({ type, headSize, heads, rows, keys }: AttentionCase): string =>
  `${type} d=${headSize} M=${heads} rows=${rows} T=${keys}`;

/** Cases of decode and prefill; `float` is there to compare with. */
export const ATTENTION_CASES: readonly AttentionCase[] = (['int16', 'int8', 'float'] as const).flatMap((type) => [
  ...[64, 128].flatMap((headSize) =>
    [128, 1024, 4096, 8192, 16384, 32768].flatMap((keys) =>
      (keys === 4096 ? [1, 4, 7, 8] : [1, 7]).map((heads) => ({ type, headSize, heads, rows: 1, keys })),
    ),
  ),
  ...[64, 128].flatMap((headSize) => [128, 2048].map((keys) => ({ type, headSize, heads: 7, rows: keys, keys }))),
]);

export function dataOf({ headSize: d, heads, rows, keys }: AttentionCase): AttentionData {
  const next = random(keys + heads);
  return {
    op: {
      batch: 1,
      rows,
      newKeys: rows,
      heads,
      kvHeads: 1,
      headSize: d,
      valueSize: d,
      isCausal: true,
      q: headMajor(heads, rows, d),
      k: headMajor(1, rows, d),
      v: headMajor(1, rows, d),
      out: headMajor(heads, rows, d),
    },
    q: gaussians(next, heads * rows * d),
    k: gaussians(next, keys * d),
    v: gaussians(next, keys * d),
  };
}

/** What textbooks compute, of some queries: [row, head, values]. */
export function exactRows({ headSize: d, heads, rows, keys }: AttentionCase, { q, k, v }: AttentionData) {
  const chosen = [...new Set([0, Math.floor(rows / 2), rows - 1])];
  return chosen.flatMap((row) =>
    Array.from({ length: heads }, (_, head) => {
      const at = (head * rows + row) * d;
      const seen = keys - rows + row + 1;
      const scores = Float64Array.from({ length: seen }, (_, t) => {
        let sum = 0;
        for (let j = 0; j < d; j++) sum += q[at + j]! * k[t * d + j]!;
        return sum / Math.sqrt(d);
      });
      const most = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - most));
      const all = weights.reduce((a, b) => a + b);
      const values = Float64Array.from({ length: d }, (_, c) => {
        let sum = 0;
        for (let t = 0; t < seen; t++) sum += weights[t]! * v[t * d + c]!;
        return sum / all;
      });
      return { at, values };
    }),
  );
}
