/** MatMulNBits with zero points that are floats, or with groups (g_idx). */
import { gatherOnWasm as gather } from '@msd/core/nn';
import { dataTypeName, INT32 } from '../data-types.ts';
import { tensorElements } from '../ir/info.ts';
import type { Matcher } from '../passes/matcher.ts';
import { elementCount } from '../read/tensor.ts';
import { zeroPointCodes, zeroPointRest, zeroPointRows } from '../weights/float-zero-points.ts';
import { type Groups, grouped, groupsOf } from '../weights/grouped.ts';
import { type NBits, nBitsMatrix } from '../weights/nbits.ts';
import type { QuantizedProduct } from './product.ts';

/**
 * @param g name of the groups, '' = there are none
 * @returns what the product is made with, or why it is none of MSD's
 */
export function oddNBits(
  nBits: NBits,
  matcher: Matcher,
  hasFloats: boolean,
  g: string,
): Pick<QuantizedProduct, 'matrix' | 'rest' | 'order'> | string {
  const { K, blockSize, zeroPoints } = nBits;
  const floats = zeroPoints && hasFloats ? { ...nBits, zeroPoints } : undefined;
  const isCoded = floats ? zeroPointCodes(floats) : true;
  if (typeof isCoded === 'string') return isCoded;
  const rest = isCoded ? undefined : zeroPointRest(floats!);
  const groups = g === '' ? undefined : groupsOfTensor(matcher, g, K, blockSize);
  if (typeof groups === 'string') return groups;
  const matrix = nBitsMatrix(nBits, floats && (() => zeroPointRows(floats)));
  if (!groups) return { matrix, rest: rest && { matrix: rest, times: 1 } };
  const key = `order ${g} ${blockSize}`;
  return {
    matrix: grouped(matrix, nBits.bits, key, groups),
    rest: rest && { matrix: grouped(rest, 2, key, groups), times: 1 },
    order: { key, of: Array.from(groups.order, (k) => Math.max(0, k)), K, spec: gather },
  };
}

function groupsOfTensor(matcher: Matcher, name: string, K: number, blockSize: number): Groups | string | undefined {
  const tensor = matcher.tensor(name);
  if (!tensor) return 'g_idx is not constant';
  if (tensor.elemType !== INT32) return `g_idx is ${dataTypeName(tensor.elemType)}`;
  const count = elementCount(tensor);
  if (count !== K && count !== Math.ceil(K / blockSize) * blockSize)
    return `g_idx has shape [${tensor.dims.join(', ')}]`;
  return groupsOf(tensorElements(tensor), K, blockSize);
}
