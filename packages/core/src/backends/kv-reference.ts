/** What a run of the reference does with a cache: it writes and reads pages by the specification. */
import { PAGE_KEYS } from '../attention/contract.ts';
import {
  emptyKv,
  inversesOf,
  readStored,
  type StoredKv,
  setFoundFactors,
  setKey,
  setValue,
} from '../attention/page.reference.ts';
import type { PagedKvCache } from './kv-cache.ts';
import { pagesFor } from './kv-pages.ts';

type RowOf = (sequence: number, head: number, t: number) => Float32Array;

/**
 * Writes the keys from `past` on, which `open` made room for.
 *
 * @param key row of a new key, t counted from `past`
 */
export function fillCache<H>(cache: PagedKvCache<H>, past: readonly number[], key: RowOf, value: RowOf): void {
  const { shape, device } = cache;
  cache.lengths.forEach((length, b) => {
    const pages = cache.pagesOf(b);
    let inverses: Float32Array[] | undefined;
    for (let at = Math.floor(past[b] / PAGE_KEYS); at < pagesFor(length) && past[b] < length; at++) {
      if (at > 0) inverses ??= inversesIn(cache, b);
      const view = cache.view(pages[at], at);
      const begin = Math.max(past[b], at * PAGE_KEYS);
      const end = Math.min(length, (at + 1) * PAGE_KEYS);
      for (let head = 0; head < shape.kvHeads; head++)
        for (let t = begin; t < end; t++) {
          setKey(view, head, t % PAGE_KEYS, key(b, head, t - past[b]), inverses?.[head]);
          setValue(view, head, t % PAGE_KEYS, value(b, head, t - past[b]));
        }
      if (at === 0 && end === PAGE_KEYS && shape.factors === undefined) setFoundFactors(view);
      device.write(pages[at].handle, view.bytes);
    }
  });
}

function inversesIn<H>(cache: PagedKvCache<H>, sequence: number): Float32Array[] {
  const view = cache.view(cache.pagesOf(sequence)[0], 0);
  return Array.from({ length: cache.shape.kvHeads }, (_, head) => inversesOf(view, head));
}

/** The stored keys and values of one sequence and head. */
export function storedIn<H>(cache: PagedKvCache<H>, sequence: number, head: number): StoredKv {
  const kv = emptyKv(cache.shape, cache.lengthOf(sequence));
  cache.eachPage(sequence, kv.length, (view, at) => readStored(view, head, at, kv));
  return kv;
}
