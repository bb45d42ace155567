/**
 * Pages of a cache: which ones its sequences have, who shares them, and the table in which kernels find them.
 *
 * A page is one allocation for all KV heads of 64 keys. A sequence that writes to a shared page gets a copy first.
 * Everything that a change needs is allocated before anything changes.
 */
import { PAGE_KEYS, type ResolvedKvShape } from '../attention/contract.ts';
import { pageLayout } from '../attention/page.ts';
import { PageView } from '../attention/page-view.ts';
import { BackendUnavailableError } from '../errors.ts';
import type { PageDevice } from './device.ts';

export interface Page<H> {
  readonly handle: H;
  owners: number;
}

export interface Sequence<H> {
  pages: Page<H>[];
  length: number;
}

/** A page that a sequence needs: a new one, with the bytes of the present one if some of its keys stay. */
interface Wanted {
  readonly sequence: number;
  readonly at: number;
  readonly isCopy: boolean;
}

/** So many pages are allocated without checking first that there is room for all. */
const FEW = 16;
/** Entries of the smallest table. */
const LEAST = 16;

export const pagesFor = (keys: number): number => Math.ceil(keys / PAGE_KEYS);

export class KvPages<H> {
  readonly #device: PageDevice<H>;
  readonly #shape: ResolvedKvShape;
  readonly #headBytes: readonly [first: number, later: number];
  #sequences: Sequence<H>[];
  #table: H | undefined;
  #capacity = 0;

  constructor(device: PageDevice<H>, shape: ResolvedKvShape) {
    this.#device = device;
    this.#shape = shape;
    this.#headBytes = [pageLayout(shape, 0).byteLength, pageLayout(shape, 1).byteLength];
    this.#sequences = Array.from({ length: shape.batch }, () => ({ pages: [], length: 0 }));
  }

  get sequences(): readonly Sequence<H>[] {
    return this.#sequences;
  }

  get table(): H | undefined {
    return this.#table;
  }

  get capacity(): number {
    return this.#capacity;
  }

  /** Bytes of the first `pages` pages of a sequence. */
  bytesOf(pages: number): number {
    return pages === 0 ? 0 : this.#pageBytes(0) + (pages - 1) * this.#pageBytes(1);
  }

  /**
   * Afterwards every sequence can hold `ends[b]` keys, and shares none of its pages from key `writes[b]` on. Lengths do
   * not change.
   * @throws {@link BackendUnavailableError} with the bytes; nothing has changed then
   */
  take(ends: readonly number[], writes?: readonly number[]): void {
    this.#checkRoom(ends);
    const wanted = this.#missing(ends, writes);
    let most = 0;
    for (const keys of ends) most = Math.max(most, pagesFor(keys));
    if (wanted.length === 0 && most <= this.#capacity) return;
    const { handles, table, capacity } = this.#allocate(wanted, most);
    wanted.forEach((want, i) => {
      this.#put(want, handles[i]);
    });
    if (table !== undefined) {
      if (this.#table !== undefined) this.#device.free(this.#table);
      this.#table = table;
      this.#capacity = capacity;
    }
    this.#writeTable();
  }

  /** Forgets keys; pages go back, but for the first `kept` ones. */
  cut(lengths: readonly number[], kept: number): void {
    let isChanged = false;
    for (let b = 0; b < lengths.length; b++) {
      const sequence = this.#sequences[b];
      sequence.length = lengths[b];
      const needed = Math.max(kept, pagesFor(lengths[b]));
      while (sequence.pages.length > needed) {
        this.#release(sequence.pages.pop()!);
        isChanged = true;
      }
    }
    if (isChanged) this.#writeTable();
  }

  /** Sequences of a cache of the same shape, with the same pages. @throws {@link BackendUnavailableError}; nothing has changed then */
  share({ sequences }: KvPages<H>): void {
    this.#sequences = sequences.map(({ pages, length }) => shared({ pages: pages.slice(0, pagesFor(length)), length }));
    this.take(sequences.map(({ length }) => length));
  }

  reorder(order: readonly number[]): void {
    const before = this.#sequences;
    this.#sequences = order.map((b) => shared(before[b]));
    for (const { pages } of before) for (const page of pages) this.#release(page);
    this.#writeTable();
  }

  /** Frees everything. */
  dispose(): void {
    this.cut(
      this.#sequences.map(() => 0),
      0,
    );
    if (this.#table !== undefined) this.#device.free(this.#table);
    this.#table = undefined;
    this.#capacity = 0;
  }

  #pageBytes(at: number): number {
    return this.#shape.kvHeads * this.#headBytes[at === 0 ? 0 : 1];
  }

  /**
   * Checks many pages as one request, so that a memory does not grow to its limit page by page before it turns out to
   * be too small.
   */
  #checkRoom(ends: readonly number[]): void {
    let count = 0;
    let bytes = 0;
    for (let b = 0; b < ends.length; b++) {
      const have = this.#sequences[b].pages.length;
      const needed = pagesFor(ends[b]);
      if (needed <= have) continue;
      count += needed - have;
      bytes += this.bytesOf(needed) - this.bytesOf(have);
    }
    if (count <= FEW) return;
    try {
      this.#device.free(this.#device.alloc(bytes, 'KV pages'));
    } catch (cause) {
      throw noRoom(count, bytes, cause);
    }
  }

  /** Most runs need none: then it makes no objects. */
  #missing(ends: readonly number[], writes?: readonly number[]): Wanted[] {
    const wanted: Wanted[] = [];
    for (let sequence = 0; sequence < ends.length; sequence++) {
      const { pages } = this.#sequences[sequence];
      const count = pagesFor(ends[sequence]);
      const write = writes?.[sequence] ?? ends[sequence];
      for (let at = Math.floor(write / PAGE_KEYS); at < Math.min(count, pages.length); at++)
        if (pages[at].owners > 1 && write < ends[sequence])
          wanted.push({ sequence, at, isCopy: at * PAGE_KEYS < write });
      for (let at = pages.length; at < count; at++) wanted.push({ sequence, at, isCopy: false });
    }
    return wanted;
  }

  /** Allocates pages, and a table that has room for them; or nothing. */
  #allocate(wanted: readonly Wanted[], most: number): { handles: H[]; table: H | undefined; capacity: number } {
    const device = this.#device;
    const { batch, kvHeads } = this.#shape;
    const bytes = wanted.reduce((sum, { at }) => sum + this.#pageBytes(at), 0);
    const handles: H[] = [];
    try {
      for (const { at } of wanted) handles.push(device.alloc(this.#pageBytes(at), 'KV page'));
      if (most <= this.#capacity) return { handles, table: undefined, capacity: this.#capacity };
      const capacity = Math.max(LEAST, 2 ** Math.ceil(Math.log2(most)));
      return { handles, table: device.alloc(4 * batch * kvHeads * capacity, 'KV page table'), capacity };
    } catch (cause) {
      for (const handle of handles) device.free(handle);
      throw noRoom(wanted.length, bytes, cause);
    }
  }

  #put({ sequence, at, isCopy }: Wanted, handle: H): void {
    const { pages } = this.#sequences[sequence];
    if (isCopy) this.#device.copy(pages[at].handle, handle);
    else this.#device.clear(handle);
    if (!isCopy && at === 0) this.#begin(handle);
    if (pages[at]) this.#release(pages[at]);
    pages[at] = { handle, owners: 1 };
  }

  /** Factors that were given lie in every page 0 from the beginning. */
  #begin(handle: H): void {
    const { kvHeads, headSize, factors } = this.#shape;
    if (factors === undefined) return;
    const view = new PageView(this.#shape, 0);
    const ones = new Float32Array(headSize).fill(1);
    for (let head = 0; head < kvHeads; head++)
      view.setFactors(head, factors ? factors.subarray(head * headSize, (head + 1) * headSize) : ones);
    this.#device.write(handle, view.bytes);
  }

  #release(page: Page<H>): void {
    if (--page.owners === 0) this.#device.free(page.handle);
  }

  #writeTable(): void {
    if (this.#table === undefined) return;
    const { batch, kvHeads } = this.#shape;
    const capacity = this.#capacity;
    const addresses = new Int32Array(batch * kvHeads * capacity);
    this.#sequences.forEach(({ pages }, b) => {
      pages.forEach(({ handle }, at) => {
        const address = this.#device.addressOf(handle);
        for (let head = 0; head < kvHeads; head++)
          addresses[(b * kvHeads + head) * capacity + at] = address + head * this.#headBytes[at === 0 ? 0 : 1];
      });
    });
    this.#device.write(this.#table, addresses);
  }
}

const noRoom = (pages: number, bytes: number, cause: unknown): BackendUnavailableError =>
  new BackendUnavailableError(
    `KvCache: ${pages} more pages need ${bytes} bytes, and there is no memory for them. Truncate or dispose of something, or take a smaller type.`,
    { cause },
  );

function shared<H>({ pages, length }: Sequence<H>): Sequence<H> {
  for (const page of pages) page.owners++;
  return { pages: [...pages], length };
}
