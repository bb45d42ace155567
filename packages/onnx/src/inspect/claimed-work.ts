/** What MSD multiplies in one run: what @msd/core/theory is asked about. */
import type { FormatId } from '@msd/core';
import { countOf } from '../dims.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { Size } from '../ir/info.ts';
import { attentionPrice, MSD_MAC, padded } from '../plan/cost.ts';
import type { Region } from '../plan/partition.ts';

/** Products of one kind, with packed weights. */
export interface WorkProduct {
  /** As many of them. */
  readonly count: number;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly format: FormatId;
  readonly blockSize: number | null;
}

/** Attentions of one kind. */
export interface WorkAttention {
  readonly count: number;
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly keys: number;
  readonly headSize: number;
}

interface ClaimedWork {
  readonly products: readonly WorkProduct[];
  readonly attentions: readonly WorkAttention[];
  /** What the cost model has for their multiplications. */
  readonly microseconds: number;
}

export const NO_CLAIMED_WORK: ClaimedWork = { products: [], attentions: [], microseconds: 0 };

/** Products and attentions of claimed regions, those that are alike together. Bodies of control flow are not looked into. */
export function claimedWork(
  regions: readonly Region[],
  typed: TypedGraph,
  concreteSize: (size: Size) => number,
): ClaimedWork {
  const products = new Map<string, WorkProduct>();
  const attentions = new Map<string, WorkAttention>();
  let microseconds = 0;
  const add = <W extends { readonly count: number }>(to: Map<string, W>, one: W): void => {
    const key = JSON.stringify({ ...one, count: 0 });
    to.set(key, { ...one, count: one.count + (to.get(key)?.count ?? 0) });
  };
  const elements = (name: string): number => countOf((typed.infos.get(name)?.dims ?? []).map(concreteSize));
  for (const { claimed, units } of regions)
    for (const { match, outputs } of claimed ? units : []) {
      const { product, scores, caches = [], resources = [] } = match ?? {};
      const written = outputs.reduce((sum, name) => sum + elements(name), 0);
      const matrices = resources.flatMap((each) => (each.kind === 'matrix' ? each.matrix : []));
      const [matrix] = matrices;
      // Cells of recurrent layers and experts have several, and a plan of their own.
      if (product?.quantized && matrices.length === (product.products ?? 1)) {
        const { format, blockSize } = matrix!;
        const { N, K, products: count = 1 } = product;
        add(products, { count, M: written / Math.max(1, N), N, K, format, blockSize });
        microseconds += MSD_MAC * padded(product) * count * written * K;
      }
      if (scores) {
        const dims = scores.dims.map(concreteSize);
        const [batch, heads, rows, keys] = dims as [number, number, number, number];
        // Of a fused projection the output is another one.
        const own = product ? 0 : elements(outputs[0]!) / (batch * heads * rows);
        add(attentions, { count: 1, batch, heads, rows, keys, headSize: own > 0 ? own : scores.width / 2 });
        microseconds += attentionPrice(scores, caches.length > 0, 1).msd;
      }
    }
  return { products: [...products.values()], attentions: [...attentions.values()], microseconds };
}
