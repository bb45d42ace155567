/** Spells the quantized products of a model anew: the library behind `msd rewrite`. */
import { setImmediate as turn } from 'node:timers/promises';
import { Edit } from '../edit/edit.ts';
import { ModelWriter, type Written } from '../edit/model-writer.ts';
import { nodeName, type OpenModel, opsetOf } from '../edit/open-model.ts';
import type { Undo } from '../shared/interrupt.ts';
import type { OutputFiles } from '../shared/output-files.ts';
import { inTwoParts, spellLookedUp } from './codebooks.ts';
import { spellDecomposed } from './decomposed.ts';
import { findProducts, type QuantizedProduct } from './integers.ts';
import { Speller, spellNBits, spellQdq } from './spellings.ts';

/** What products become. */
export type Spelling = 'decomposed' | 'nbits' | 'qdq';

export interface RewriteOptions {
  readonly to: Spelling;
  readonly components: 1 | 2;
  readonly isExternal: boolean;
  readonly onProduct: (done: number, total: number, name: string) => void;
  readonly onBytes: (done: number, total: number) => void;
}

export interface RewriteResult {
  readonly rewritten: readonly {
    readonly name: string;
    readonly from: QuantizedProduct['kind'];
    readonly N: number;
    readonly K: number;
  }[];
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  readonly written: Written;
}

/** What each spelling already is. */
const IS_ALREADY: Readonly<Record<Spelling, QuantizedProduct['kind'] | undefined>> = {
  nbits: 'MatMulNBits',
  qdq: 'DequantizeLinear',
  decomposed: undefined,
};

/** Smaller ones need no file. */
const LEAST_STORED_BYTES = 1024;

/** @param files where the result goes; the caller commits them */
export async function rewriteModel(
  model: OpenModel,
  path: string,
  files: OutputFiles,
  undo: Undo,
  { to, components, isExternal, onProduct, onBytes }: RewriteOptions,
): Promise<RewriteResult> {
  const opset = opsetOf(model);
  const edit = new Edit(model);
  const writer = new ModelWriter(files, path, isExternal, undo);
  const { products, refused } = findProducts(model);
  const kept = refused.map(({ node, reason }) => ({ name: nodeName(node), reason }));
  const rewritten: RewriteResult['rewritten'][number][] = [];
  for (const [i, product] of products.entries()) {
    const { name, kind, N, K, node } = product;
    onProduct(i, products.length, name);
    await turn();
    undo.check();
    if (kind === IS_ALREADY[to]) continue;
    const spellerOf = (each: QuantizedProduct): Speller =>
      new Speller(edit, each, opset, (bytes) =>
        bytes.length < LEAST_STORED_BYTES ? bytes : writer.weights.tensor(bytes),
      );
    const reason = spell(spellerOf, product, to, components);
    if (reason === undefined) rewritten.push({ name, from: kind, N, K });
    else kept.push({ name: nodeName(node), reason });
  }
  edit.dropUnused();
  const written = await writer.save(edit, onBytes);
  return { rewritten, kept, written };
}

function spell(
  spellerOf: (product: QuantizedProduct) => Speller,
  given: QuantizedProduct,
  to: Spelling,
  components: 1 | 2,
): string | undefined {
  if (given.codebook && to === 'qdq') return spellLookedUp(spellerOf(given), given.read());
  const read = given.read();
  const { product, integers } = given.codebook ? inTwoParts(given, read) : { product: given, integers: read };
  const speller = spellerOf(product);
  if (to === 'nbits') return spellNBits(speller, integers);
  return to === 'qdq' ? spellQdq(speller, integers) : spellDecomposed(speller, integers, components);
}
