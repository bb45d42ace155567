/** What MSD does in a unit, for sizes that are given: what @msd/core/theory is asked about. */
import type { MachinePeaks } from '@msd/core/peaks';
import {
  type CachedAttention,
  int16Attention,
  int16Product,
  type PackedProduct,
  type StepWork,
  stepTime,
} from '@msd/core/theory';
import type { Size } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';

/** Products of one kind: as many of them. */
export interface Products extends PackedProduct {
  readonly count: number;
}

export interface UnitWork {
  /** With packed weights. */
  readonly products: readonly Products[];
  readonly attention: CachedAttention | undefined;
  readonly step: StepWork | undefined;
}

/** What sizes are taken for, if only a run knows them. */
export interface Sizes {
  of(size: Size): number;
  /** Keys of attention with so many rows. */
  keys(size: Size, rows: Size | undefined): number;
}

/** Multiplications of a product with weights of the file. @param written elements of its outputs */
export function macsOf({ product, scores }: Match, sizes: Sizes, written: number): number {
  if (!product) return 0;
  const [batch, , rows] = scores?.dims ?? [];
  // What attention writes is not what its projection does.
  return product.K * (scores ? product.N * sizes.of(batch!) * sizes.of(rows!) : written);
}

/** @param written elements of its outputs */
export function unitWork(match: Match, sizes: Sizes, written: number): UnitWork {
  const { product, scores, op } = match;
  const all = macsOf(match, sizes, written);
  const attention = scores && attentionCall(match, sizes);
  const isQuantized = product?.quantized;
  const kind = op === 'windows' ? 'window' : product?.gathers === undefined ? 'matrix' : 'convolution';
  const macs = isQuantized ? 0 : all;
  const gathered = product?.gathers ? all / product.N : 0;
  // What attention and products write is in theirs.
  const isStep = gathered > 0 || (isQuantized ? false : product || !attention);
  return {
    products: isQuantized ? productsOf(match, all) : [],
    attention,
    step: isStep ? { written, macs, kind, gathered } : undefined,
  };
}

/** Microseconds. */
export function workTime(peaks: MachinePeaks, { products, attention, step }: UnitWork): number {
  let sum = (attention ? int16Attention(peaks, attention).microseconds : 0) + (step ? stepTime(peaks, step) : 0);
  for (const { count, ...product } of products) sum += count * int16Product(peaks, product).microseconds;
  return sum;
}

/** Layers with several matrices share the rows among them; experts that have less than one are asked that much less often. */
function productsOf({ product, resources = [] }: Match, macs: number): Products[] {
  const matrices = resources.flatMap((each) => (each.kind === 'matrix' ? each.matrix : []));
  const weights = matrices.reduce((sum, { N, K }) => sum + N * K, 0);
  const rows = ((product!.products ?? 1) * macs) / weights;
  return matrices.map(({ N, K, format, blockSize }) => ({
    ...{ M: Math.max(1, rows), N, K, format, blockSize },
    count: Math.min(1, rows),
  }));
}

function attentionCall({ scores, caches = [] }: Match, sizes: Sizes): CachedAttention {
  const { dims, width, kvHeads } = scores!;
  const [batch, heads, rows] = dims.map(sizes.of) as [number, number, number];
  const keys = sizes.keys(dims[3]!, dims[2]);
  const isKept = caches.length > 0;
  const call = { batch, heads, kvHeads: kvHeads ?? heads, headSize: width / 2, rows, keys };
  return isKept ? call : { ...call, seesAll: true, newKeys: keys };
}
