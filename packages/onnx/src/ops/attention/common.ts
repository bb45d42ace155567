/** What the matches of attention share. */

import type { ScoreArray, ScoreDims } from '@msd/core';
import { countOf } from '../../dims.ts';
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { CacheRef, Elements, LateAttention } from '../lowering.ts';
import type { NodeView } from '../operator.ts';

/** The first operand that is there and is neither f32 nor float16, which is f32 while attention has it. */
export function notFloats(matcher: Matcher, operands: Readonly<Record<string, string>>): string | undefined {
  for (const [what, name] of Object.entries(operands)) {
    const refused = name === '' ? undefined : matcher.notFloat(what, name);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** A match of one node. Operands that are `late` or in a cache come with the others in `inputs`. */
export function attentionMatch(
  { node }: NodeView,
  matcher: Matcher,
  parts: Pick<Match, 'inputs' | 'outputs' | 'late' | 'caches' | 'scores' | 'lower'>,
): Match {
  const { late = [], inputs } = parts;
  const resources = matcher.constants(inputs.filter((name) => name !== '' && !late.includes(name)));
  return { op: 'attention', place: 'device', nodes: [node], resources, ...parts };
}

/** The cache of a node with a past; `undefined` without. */
export function cacheOf(past: CacheRef['past'], present: CacheRef['present']): CacheRef | undefined {
  return past.key === '' ? undefined : { past, present };
}

/** Sizes of `present`: those of `past`, more positions. */
export function presentOf(past: Info, symbols: Symbols): Info {
  return { elemType: past.elemType, dims: past.dims?.toSpliced(2, 1, symbols.fresh(past.dims)) };
}

/**
 * For the price: heads that are not known are taken for 12, their sizes for 64.
 *
 * @param q [batch, rows, …]
 * @param width of a head's query and value together. Default: twice what a head has of `q`
 */
export function scoresOfSizes(
  q: readonly Size[] | undefined,
  keys: Size | undefined,
  heads: number,
  width?: Size,
  kvHeads?: number,
): NonNullable<Match['scores']> {
  const [batch = 1, rows = 1, hidden] = q ?? [];
  const own = width ?? (typeof hidden === 'number' && heads > 0 ? (2 * hidden) / heads : undefined);
  return { dims: [batch, heads || 12, rows, keys ?? rows], width: typeof own === 'number' ? own : 128, kvHeads };
}

/** Names in a cache. */
export function namesOf({ past, present }: CacheRef): string[] {
  return [past.key, past.value, present.key, present.value].filter((name) => name !== '');
}

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
