/**
 * A cache of keys and values in pages of a device: JavaScript's way to read and write it, and what a run needs of it.
 */
import { type KvCache, PAGE_KEYS, type ResolvedKvShape } from '../attention/contract.ts';
import { PageView } from '../attention/page-view.ts';
import { UnsupportedError } from '../errors.ts';
import { describe } from './arguments.ts';
import type { AttentionSpec, Device, PageDevice } from './device.ts';
import { appendArrays } from './kv-append.ts';
import { KvPages, type Page, pagesFor } from './kv-pages.ts';

export class PagedKvCache<H = unknown> implements KvCache {
  readonly shape: ResolvedKvShape;
  readonly backend: Device<H>;
  readonly device: PageDevice<H>;
  readonly #spec: AttentionSpec;
  readonly #pages: KvPages<H>;
  /** Pages that every sequence keeps. */
  #reserved = 0;
  #isDisposed = false;
  /** Views for copies: one of a page 0, one of any other page. */
  readonly #views: PageView[] = [];

  /**
   * @param backend a device that has pages
   * @param spec the kernel that writes keys from JavaScript arrays
   */
  constructor(backend: Device<H>, shape: ResolvedKvShape, spec: AttentionSpec) {
    if (typeof backend?.device !== 'string')
      throw new TypeError(
        `createKvCache: expected a backend of createBackend, got ${describe(backend)}. Is it a promise? Await it.`,
      );
    if (!backend.pages)
      throw new UnsupportedError(`createKvCache: the device '${backend.device}' has no attention yet. Use 'wasm'.`);
    this.backend = backend;
    this.#spec = spec;
    this.device = backend.pages;
    this.shape = shape;
    this.#pages = new KvPages(this.device, this.shape);
    this.device.caches.add(this);
  }

  get lengths(): readonly number[] {
    return this.#pages.sequences.map(({ length }) => length);
  }

  /** One of {@link lengths}. */
  lengthOf(sequence: number): number {
    return this.#pages.sequences[sequence].length;
  }

  get byteLength(): number {
    return this.#pages.sequences.reduce((sum, { pages }) => sum + this.#pages.bytesOf(pages.length), 0);
  }

  /** Addresses of pages, i32 [batch][kvHeads][{@link capacity}], for kernels. There is one once there are pages. */
  get table(): H | undefined {
    return this.#pages.table;
  }

  /** Entries of the table for each sequence and head. */
  get capacity(): number {
    return this.#pages.capacity;
  }

  bytesFor(keys: number): number {
    checkCount('bytesFor', 'keys', keys);
    return this.shape.batch * this.#pages.bytesOf(pagesFor(keys));
  }

  reserve(keys: number): void {
    this.#checkAlive('reserve');
    checkCount('reserve', 'keys', keys);
    this.#pages.take(this.#pages.sequences.map(() => keys));
    this.#reserved = Math.max(this.#reserved, pagesFor(keys));
  }

  /**
   * Makes room for new keys behind the first `past` ones of each sequence, and forgets those after. Nothing of the new ones is
   * written yet.
   * @throws {@link BackendUnavailableError} with the bytes; nothing has changed then
   */
  open(past: readonly number[], counts: readonly number[]): void {
    this.#checkAlive('open');
    const ends = past.map((begin, b) => begin + counts[b]);
    this.#pages.take(ends, past);
    this.#pages.cut(ends, this.#reserved);
  }

  append(k: Float32Array, v: Float32Array, keys: number): void {
    this.#checkAlive('append');
    checkCount('append', 'keys', keys);
    const { batch, kvHeads, headSize, valueSize } = this.shape;
    checkFloats('append', 'k', k, batch * kvHeads * keys * headSize);
    checkFloats('append', 'v', v, batch * kvHeads * keys * valueSize);
    if (keys === 0) return;
    const past = this.lengths;
    const ends = past.map((length) => length + keys);
    this.#pages.take(ends, past);
    try {
      appendArrays(this, this.#spec, k, v, keys);
    } catch (error) {
      this.#pages.cut(past, this.#reserved);
      throw error;
    }
  }

  keys(keys: number): Float32Array {
    const factors: Float32Array[] = [];
    return this.#floats('keys', keys, this.shape.headSize, (view, at, head, count, into, to) => {
      if (at === 0) factors[head] = view.factors(head);
      view.floatKeys(head, count, into, to, factors[head]);
    });
  }

  values(keys: number): Float32Array {
    return this.#floats('values', keys, this.shape.valueSize, (view, _, head, count, into, to) =>
      view.floatValues(head, count, into, to),
    );
  }

  truncate(length: number | readonly number[]): void {
    this.#checkAlive('truncate');
    const lengths = typeof length === 'number' ? this.lengths.map(() => length) : length;
    if (!Array.isArray(lengths) || lengths.length !== this.shape.batch)
      throw new RangeError(`truncate: expected a length, or ${this.shape.batch} of them, got ${listed(lengths)}.`);
    lengths.forEach((keys, b) => {
      checkCount('truncate', 'length', keys);
      const have = this.#pages.sequences[b].length;
      if (keys > have)
        throw new RangeError(`truncate: expected at most the ${have} keys of sequence ${b}, got ${keys}.`);
    });
    this.#pages.cut(lengths, this.#reserved);
  }

  reset(): void {
    this.#checkAlive('reset');
    this.#reserved = 0;
    this.#pages.cut(
      this.lengths.map(() => 0),
      0,
    );
  }

  branch(): PagedKvCache<H> {
    this.#checkAlive('branch');
    const other = new PagedKvCache(this.backend, this.shape, this.#spec);
    try {
      other.#pages.share(this.#pages);
    } catch (error) {
      other.dispose();
      throw error;
    }
    return other;
  }

  reorder(order: readonly number[]): void {
    this.#checkAlive('reorder');
    const { batch } = this.shape;
    const fits = Array.isArray(order) && order.length === batch;
    if (!fits || order.some((b) => !Number.isInteger(b) || b < 0 || b >= batch))
      throw new RangeError(`reorder: expected ${batch} numbers from 0 to ${batch - 1}, got ${listed(order)}.`);
    this.#pages.reorder(order);
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.#pages.dispose();
    this.#isDisposed = true;
    this.device.caches.delete(this);
  }

  pagesOf(sequence: number): readonly Page<H>[] {
    return this.#pages.sequences[sequence].pages;
  }

  /** Reads the pages of the first keys one by one, see {@link view}. */
  eachPage(sequence: number, keys: number, look: (view: PageView, at: number) => void): void {
    const pages = this.pagesOf(sequence);
    for (let at = 0; at < pagesFor(keys); at++) look(this.view(pages[at], at), at);
  }

  /** A copy of a page, in a view that is the next one's, too. @param at its number */
  view(page: Page<H>, at: number): PageView {
    const view = (this.#views[Math.min(at, 1)] ??= new PageView(this.shape, at));
    this.device.read(page.handle, view.bytes);
    return view;
  }

  #floats(
    what: string,
    keys: number,
    size: number,
    read: (view: PageView, at: number, head: number, count: number, into: Float32Array, to: number) => void,
  ): Float32Array {
    this.#checkAlive(what);
    checkCount(what, 'keys', keys);
    const longest = Math.max(...this.lengths);
    // Without sequences there is nothing to read, whatever the length.
    if (longest >= 0 && keys > longest)
      throw new RangeError(`${what}: expected at most ${longest} keys, as there are, got ${keys}.`);
    const { kvHeads, batch } = this.shape;
    const result = new Float32Array(batch * kvHeads * keys * size);
    for (let b = 0; b < batch; b++) {
      const length = Math.min(keys, this.#pages.sequences[b].length);
      this.eachPage(b, length, (view, at) => {
        const count = Math.min(PAGE_KEYS, length - at * PAGE_KEYS);
        for (let head = 0; head < kvHeads; head++) {
          const row = (b * kvHeads + head) * keys + at * PAGE_KEYS;
          read(view, at, head, count, result, row * size);
        }
      });
    }
    return result;
  }

  #checkAlive(where: string): void {
    if (this.#isDisposed) throw new RangeError(`${where}: the cache was disposed of. Create another one.`);
  }
}

const listed = (value: unknown): string => (Array.isArray(value) ? `[${value}]` : describe(value));

function checkCount(where: string, name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${where}: ${name} expected an integer from 0 on, got ${String(value)}.`);
}

function checkFloats(where: string, name: string, data: Float32Array, length: number): void {
  if (!(data instanceof Float32Array))
    throw new TypeError(`${where}: ${name} expected a Float32Array, got ${describe(data)}.`);
  if (data.length !== length) throw new RangeError(`${where}: ${name} expected ${length} values, got ${data.length}.`);
}
