/**
 * Bytes that attention moves over the bus of memory, with keys and values that are quantized.
 *
 * Symbols: T keys, d elements of a head (keys and values alike), b bytes of a stored element, s bytes of scales per row of d, P
 * passes.
 */

/**
 * How a kernel treats keys and values:
 *
 * - `float`: they are stored as BF16, b = 2, and read once
 * - `write-back`: a kernel of its own writes them dequantized to memory, as BF16, and attention reads that: b + 2 + 2
 * - `fused`: attention dequantizes what it has read, on chip: b
 * - `passes`: MSD on a machine whose passes are products of their own: each reads them, P · b
 * - `shared`: MSD whose passes share what was read, as @msd/core's kernels do: b
 */
export type AttentionKernel = 'float' | 'write-back' | 'fused' | 'passes' | 'shared';

export const attentionKernels: readonly AttentionKernel[] = ['float', 'write-back', 'fused', 'passes', 'shared'];

/** What is stored. */
export interface StoredKeys {
  /** b: 1 for int8. Default 1; `float` has 2 whatever is said. */
  readonly bytes?: number;
  /** s, beside each row of d elements. Default 0. */
  readonly scaleBytes?: number;
  /** P. Default 2. */
  readonly passes?: number;
}

const BF16 = 2;

/**
 * Bytes per element of keys and values, for one reading of them by attention.
 *
 *   write-back   b + s/d + 2 + 2        fused, shared   b + s/d        passes   P · (b + s/d)        float   2
 *
 * int8 without scales: 5 ÷ 2 = 2.5 between `write-back` and `passes`, the paper's figure; 1 ÷ 2 between `fused` and `passes`.
 */
export function bytesPerElement(kernel: AttentionKernel, headSize: number, stored: StoredKeys = {}): number {
  const { bytes = 1, scaleBytes = 0, passes = 2 } = stored;
  const read = bytes + scaleBytes / headSize;
  if (kernel === 'float') return BF16;
  if (kernel === 'write-back') return read + 2 * BF16;
  return kernel === 'passes' ? passes * read : read;
}

/** One call of attention, of one sequence. */
export interface AttentionShape {
  /** Queries. */
  readonly rows: number;
  /** T, keys that are there with the new ones. */
  readonly keys: number;
  readonly heads: number;
  readonly kvHeads: number;
  /** d. */
  readonly headSize: number;
  /** Queries that go through the keys together: more read them again. Default: all of them. */
  readonly rowsPerTile?: number;
}

/** Bytes of a call, by what they are. */
export interface AttentionTraffic {
  readonly keysAndValues: number;
  /** Queries and outputs, as BF16. */
  readonly queries: number;
  readonly total: number;
}

/**
 * Bytes of one call.
 *
 *   keys and values   2 · kvHeads · T · d · (bytes per element); writing back happens once, the rest for each tile of queries
 *   queries           2 · 2 · heads · rows · d
 *
 * Queries of a group share the keys of their KV head.
 */
export function attentionTraffic(
  kernel: AttentionKernel,
  shape: AttentionShape,
  stored: StoredKeys = {},
): AttentionTraffic {
  const { rows, keys, heads, kvHeads, headSize, rowsPerTile = rows } = shape;
  const tiles = Math.ceil(rows / Math.max(1, rowsPerTile));
  const once = kernel === 'write-back' ? bytesPerElement(kernel, headSize, stored) - BF16 : 0;
  const eachTime = bytesPerElement(kernel, headSize, stored) - once;
  const keysAndValues = 2 * kvHeads * keys * headSize * (once + tiles * eachTime);
  const queries = 2 * BF16 * heads * rows * headSize;
  return { keysAndValues, queries, total: keysAndValues + queries };
}
