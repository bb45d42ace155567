/** Weights of 8 bits as nodes of integers have them: what kernels take of data, zero points and scales, whichever nodes they belong to. */
import { dataTypeName, FLOAT32 } from '../data-types.ts';
import type { Matcher } from '../passes/matcher.ts';
import { COLUMN_TYPES, type Columns } from '../weights/columns.ts';

/** Weights of 8 bits and their zero points, which kernels take, or why they do not. */
export function integersOf(
  matcher: Matcher,
  what: string,
  weights: string,
  zeros: string,
): Pick<Columns, 'data' | 'zeroPoints'> | string {
  const data = matcher.tensor(weights);
  const zeroPoints = matcher.tensor(zeros);
  if (!data) return `${what} is not constant`;
  if (zeros !== '' && !zeroPoints) return `zero points of ${what} are not constant`;
  if (!COLUMN_TYPES.has(data.elemType)) return `${what} is ${dataTypeName(data.elemType)}`;
  if (zeroPoints && zeroPoints.elemType !== data.elemType)
    return `zero points of ${what} are ${dataTypeName(zeroPoints.elemType)}`;
  return { data, zeroPoints };
}

/** Why kernels do not take the scales of such weights. */
export function refusedScales(matcher: Matcher, what: string, scales: Columns['scales']): string | undefined {
  for (const scale of scales) {
    if (typeof scale === 'number') continue;
    if (scale.elemType !== FLOAT32) return `scales of ${what} are ${dataTypeName(scale.elemType)}`;
    const bad = matcher.refusedScale(scale);
    if (bad !== undefined) return bad;
  }
  return undefined;
}

/** Can a constant of these dims be a scale of weights, beside a result of this rank? */
export type IsScale = (dims: readonly number[], rank: number | undefined) => boolean;

/**
 * One element, or one of each of N channels of a result.
 *
 * @param axisOf where a result of so many dimensions has its channels
 */
export const isScaleOf =
  (N: number | undefined, axisOf: (rank: number) => number): IsScale =>
  (dims, rank = 0) => {
    const channel = dims.length - rank + axisOf(rank);
    return dims.length <= Math.max(1, rank) && dims.every((dim, i) => dim === 1 || (i === channel && dim === N));
  };
