/** Biases and masks that JavaScript has. */
import type { ScoreArray, ScoreDims } from '@msd/core';
import { countOf } from '../../dims.ts';
import type { Elements, LateAttention } from '../lowering.ts';

/** A bias of JavaScript: [M, T], with up to two dimensions before. */
export function biasArray({ dims, data }: Elements): ScoreArray<Float32Array> {
  return { dims: fourDims(dims), data: data instanceof Float32Array ? data : Float32Array.from(data) };
}

/** A mask of JavaScript: true is a key that is seen. */
export function maskArray({ dims, data }: Elements): ScoreArray<Uint8Array> {
  return { dims: fourDims(dims), data: data instanceof Uint8Array ? data : Uint8Array.from(data) };
}

function fourDims(dims: readonly number[]): ScoreDims {
  return [...new Array<number>(Math.max(0, 4 - dims.length)).fill(1), ...dims] as unknown as ScoreDims;
}

/** Sum of two biases of JavaScript that may be there. */
export function addBiases(
  a: ScoreArray<Float32Array> | undefined,
  b: ScoreArray<Float32Array> | undefined,
): ScoreArray<Float32Array> | undefined {
  if (!a || !b) return a ?? b;
  const dims = a.dims.map((size, i) => Math.max(size, b.dims[i]!)) as unknown as ScoreDims;
  const data = new Float32Array(countOf(dims));
  let at = 0;
  const index = (own: ScoreDims, i: readonly number[]): number =>
    own.reduce((sum, size, d) => sum * size + (size === 1 ? 0 : i[d]!), 0);
  for (let i = 0; i < dims[0]; i++)
    for (let j = 0; j < dims[1]; j++)
      for (let m = 0; m < dims[2]; m++)
        for (let t = 0; t < dims[3]; t++) {
          const here = [i, j, m, t];
          data[at++] = a.data[index(a.dims, here)]! + b.data[index(b.dims, here)]!;
        }
  return { dims, data };
}

/** What is told in every run, if anything is. */
export function lateOf(needs: readonly string[], at: LateAttention['at']): LateAttention | undefined {
  return needs.length > 0 ? { needs, at } : undefined;
}
