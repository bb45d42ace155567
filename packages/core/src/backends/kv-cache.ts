/**
 * Keys and values in pages of a device: which pages a sequence has, who shares them, and where kernels find them.
 *
 * A page is one allocation for all KV heads of 64 keys. Branches and reordered sequences share pages; whoever writes to a shared
 * page gets a copy first. Everything that a change needs is allocated before anything changes.
 */
import { type KvCache, type KvShape, PAGE_KEYS, type ResolvedKvShape } from '../attention/contract.ts';
import { resolveKvShape } from '../attention/kv-format.ts';
import { pageLayout } from '../attention/page.ts';
import { PageView, type StoredKv, storedKv } from '../attention/page-view.ts';
import { BackendUnavailableError, UnsupportedError } from '../errors.ts';
import type { Device, PageDevice } from './device.ts';

interface Page<H> {
  readonly handle: H;
  owners: number;
}

interface Sequence<H> {
  pages: Page<H>[];
  length: number;
}

/** Of page `at` of a sequence: a fresh one, with the bytes of what is there now if some of its keys stay. */
interface FreshPage<H> {
  readonly sequence: number;
  readonly at: number;
  readonly page: Page<H>;
  readonly isCopy: boolean;
}

/** Pages that are taken without asking whether there is room for all. */
const FEW = 16;

const pagesFor = (keys: number): number => Math.ceil(keys / PAGE_KEYS);

export class PagedKvCache<H = unknown> implements KvCache {
  readonly shape: ResolvedKvShape;
  readonly backend: Device<H>;
  readonly device: PageDevice<H>;
  readonly #pageBytes: readonly [first: number, later: number];
  #sequences: Sequence<H>[];
  /** Pages that every sequence keeps. */
  #reserved = 0;
  #table: H | undefined;
  #capacity = 0;
  #isDisposed = false;

  /** @param backend one that has pages */
  constructor(backend: Device<H>, shape: KvShape) {
    if (!backend.pages)
      throw new UnsupportedError(`createKvCache: the device '${backend.device}' has no attention yet. Use 'wasm'.`);
    this.backend = backend;
    this.device = backend.pages;
    this.shape = resolveKvShape(shape);
    const { batch, kvHeads } = this.shape;
    this.#pageBytes = [kvHeads * pageLayout(this.shape, 0).byteLength, kvHeads * pageLayout(this.shape, 1).byteLength];
    this.#sequences = Array.from({ length: batch }, () => ({ pages: [], length: 0 }));
    this.device.caches.add(this);
  }

  get lengths(): readonly number[] {
    return this.#sequences.map(({ length }) => length);
  }

  get byteLength(): number {
    return this.#sequences.reduce((sum, { pages }) => sum + this.#bytesOf(pages.length), 0);
  }

  /** Addresses of pages, i32 [batch][kvHeads][{@link capacity}], for kernels. There is one once there are pages. */
  get table(): H | undefined {
    return this.#table;
  }

  /** Entries of the table for each sequence and head. */
  get capacity(): number {
    return this.#capacity;
  }

  bytesFor(keys: number): number {
    checkCount('bytesFor', 'keys', keys);
    return this.shape.batch * this.#bytesOf(pagesFor(keys));
  }

  reserve(keys: number): void {
    this.#checkAlive('reserve');
    checkCount('reserve', 'keys', keys);
    const pages = pagesFor(keys);
    this.#grow(this.#sequences.map(() => pages));
    this.#reserved = Math.max(this.#reserved, pages);
  }

  /**
   * Makes room for new keys behind the first `past` ones of each sequence, and forgets those after. Nothing of the new ones is
   * written yet.
   * @throws {@link BackendUnavailableError} with the bytes; nothing has changed then
   */
  open(past: readonly number[], counts: readonly number[]): void {
    this.#checkAlive('open');
    const ends = past.map((begin, b) => begin + counts[b]);
    this.#grow(
      ends.map(pagesFor),
      past.map((begin, b) => (counts[b] > 0 ? begin : Number.POSITIVE_INFINITY)),
    );
    this.#cut(ends);
  }

  append(k: Float32Array, v: Float32Array, keys: number): void {
    checkCount('append', 'keys', keys);
    const { batch, kvHeads, headSize, valueSize } = this.shape;
    checkFloats('append', 'k', k, batch * kvHeads * keys * headSize);
    checkFloats('append', 'v', v, batch * kvHeads * keys * valueSize);
    const past = this.lengths;
    this.open(
      past,
      past.map(() => keys),
    );
    const row = (b: number, head: number, t: number) => (b * kvHeads + head) * keys + t;
    this.fill(
      past,
      (b, head, t) => k.subarray(row(b, head, t) * headSize, (row(b, head, t) + 1) * headSize),
      (b, head, t) => v.subarray(row(b, head, t) * valueSize, (row(b, head, t) + 1) * valueSize),
    );
  }

  /**
   * Writes the keys from `past` on, which {@link open} made room for.
   * @param key row of a new key, t counted from `past`
   */
  fill(
    past: readonly number[],
    key: (sequence: number, head: number, t: number) => Float32Array,
    value: (sequence: number, head: number, t: number) => Float32Array,
  ): void {
    const { shape, device } = this;
    this.#sequences.forEach(({ pages, length }, b) => {
      let factors: Float32Array[] | undefined;
      for (let at = Math.floor(past[b] / PAGE_KEYS); at < pagesFor(length) && past[b] < length; at++) {
        const view = this.#view(pages[at], at);
        const begin = Math.max(past[b], at * PAGE_KEYS);
        const end = Math.min(length, (at + 1) * PAGE_KEYS);
        if (at > 0) factors ??= this.#factors(pages[0]);
        for (let head = 0; head < shape.kvHeads; head++)
          for (let t = begin; t < end; t++) {
            view.setKey(head, t % PAGE_KEYS, key(b, head, t - past[b]), factors?.[head]);
            view.setValue(head, t % PAGE_KEYS, value(b, head, t - past[b]));
          }
        if (at === 0 && end === PAGE_KEYS && shape.factors === undefined) view.findFactors();
        device.write(pages[at].handle, view.bytes);
      }
    });
  }

  /** What is stored of one sequence and head. */
  stored(sequence: number, head: number, length: number = this.#sequences[sequence].length): StoredKv {
    const { pages } = this.#sequences[sequence];
    const views = pages.slice(0, pagesFor(length)).map((page, at) => this.#view(page, at));
    return storedKv(this.shape, views, head, length);
  }

  keys(keys: number): Float32Array {
    return this.#floats('keys', keys, this.shape.headSize, ({ k, ks, kc, floatKeys }, t, j, d) =>
      t < floatKeys ? k[t * d + j] : Math.fround(Math.fround(k[t * d + j] * ks[t]) * kc[j]),
    );
  }

  values(keys: number): Float32Array {
    return this.#floats('values', keys, this.shape.valueSize, ({ v, vs, floatValues }, t, c, e) =>
      floatValues ? v[t * e + c] : v[t * e + c] * vs[t],
    );
  }

  truncate(length: number | readonly number[]): void {
    this.#checkAlive('truncate');
    const lengths = typeof length === 'number' ? this.#sequences.map(() => length) : length;
    if (lengths.length !== this.shape.batch)
      throw new RangeError(`truncate: expected ${this.shape.batch} lengths, got ${lengths.length}.`);
    lengths.forEach((keys, b) => {
      checkCount('truncate', 'length', keys);
      const have = this.#sequences[b].length;
      if (keys > have)
        throw new RangeError(`truncate: expected at most the ${have} keys of sequence ${b}, got ${keys}.`);
    });
    this.#cut(lengths);
  }

  reset(): void {
    this.#checkAlive('reset');
    this.#reserved = 0;
    this.#cut(this.#sequences.map(() => 0));
  }

  branch(): PagedKvCache<H> {
    this.#checkAlive('branch');
    const other = new PagedKvCache(this.backend, this.shape);
    other.#sequences = this.#sequences.map(shared);
    try {
      other.#grow(other.#sequences.map(({ pages }) => pages.length)); // a table of its own
    } catch (error) {
      other.dispose();
      throw error;
    }
    return other;
  }

  reorder(order: readonly number[]): void {
    this.#checkAlive('reorder');
    const { batch } = this.shape;
    if (order.length !== batch || order.some((b) => !Number.isInteger(b) || b < 0 || b >= batch))
      throw new RangeError(`reorder: expected ${batch} sequences of 0..${batch - 1}, got [${order}].`);
    const before = this.#sequences;
    this.#sequences = order.map((b) => shared(before[b]));
    for (const { pages } of before) for (const page of pages) this.#release(page);
    this.#writeTable();
  }

  dispose(): void {
    if (this.#isDisposed) return;
    this.reset();
    if (this.#table !== undefined) this.device.free(this.#table);
    this.#table = undefined;
    this.#isDisposed = true;
    this.device.caches.delete(this);
  }

  #bytesOf(pages: number): number {
    const [first, later] = this.#pageBytes;
    return pages === 0 ? 0 : first + (pages - 1) * later;
  }

  #view(page: Page<H>, at: number): PageView {
    const view = new PageView(this.shape, at);
    this.device.read(page.handle, view.bytes);
    return view;
  }

  #factors(first: Page<H>): Float32Array[] {
    const view = this.#view(first, 0);
    return Array.from({ length: this.shape.kvHeads }, (_, head) => view.factors(head));
  }

  #floats(
    what: string,
    keys: number,
    size: number,
    floatOf: (kv: StoredKv, t: number, channel: number, size: number) => number,
  ): Float32Array {
    this.#checkAlive(what);
    checkCount(what, 'keys', keys);
    const longest = Math.max(...this.lengths);
    if (keys > longest) throw new RangeError(`${what}: expected at most ${longest} keys, as there are, got ${keys}.`);
    const { kvHeads, batch } = this.shape;
    const result = new Float32Array(batch * kvHeads * keys * size);
    for (let b = 0; b < batch; b++)
      for (let head = 0; head < kvHeads; head++) {
        const kv = this.stored(b, head, Math.min(keys, this.#sequences[b].length));
        const at = (b * kvHeads + head) * keys * size;
        for (let t = 0; t < kv.length; t++)
          for (let c = 0; c < size; c++) result[at + t * size + c] = floatOf(kv, t, c, size);
      }
    return result;
  }

  /**
   * Every sequence has `counts[b]` pages then, and owns those from key `writes[b]` on alone.
   */
  #grow(counts: readonly number[], writes: readonly number[] = counts.map(() => Number.POSITIVE_INFINITY)): void {
    const wanted = this.#sequences.flatMap(({ pages }, sequence) =>
      Array.from({ length: counts[sequence] }, (_, at) => at)
        .filter((at) => !pages[at] || (pages[at].owners > 1 && (at + 1) * PAGE_KEYS > writes[sequence]))
        .map((at) => ({ sequence, at, isCopy: at < pages.length && at * PAGE_KEYS < writes[sequence] })),
    );
    const most = Math.max(0, ...counts);
    if (wanted.length === 0 && most <= this.#capacity) return;
    const { fresh, table, capacity } = this.#take(wanted, most);
    for (const { sequence, at, page, isCopy } of fresh) this.#put(sequence, at, page, isCopy);
    if (table !== undefined) {
      if (this.#table !== undefined) this.device.free(this.#table);
      this.#table = table;
      this.#capacity = capacity;
    }
    this.#writeTable();
  }

  /** Allocates pages, and a table that has room for them, or nothing. */
  #take(
    wanted: readonly Omit<FreshPage<H>, 'page'>[],
    most: number,
  ): { fresh: FreshPage<H>[]; table: H | undefined; capacity: number } {
    const { device } = this;
    const { batch, kvHeads } = this.shape;
    const fresh: FreshPage<H>[] = [];
    const bytes = wanted.reduce((sum, { at }) => sum + this.#pageBytes[at === 0 ? 0 : 1], 0);
    try {
      // All at once, so that a memory does not grow to its limit page by page before it turns out to be too small.
      if (wanted.length > FEW) device.free(device.alloc(bytes, 'KV pages'));
      for (const want of wanted) {
        const handle = device.alloc(this.#pageBytes[want.at === 0 ? 0 : 1], 'KV page');
        fresh.push({ ...want, page: { handle, owners: 1 } });
      }
      if (most <= this.#capacity) return { fresh, table: undefined, capacity: this.#capacity };
      const capacity = Math.max(16, 2 ** Math.ceil(Math.log2(most)));
      return { fresh, table: device.alloc(4 * batch * kvHeads * capacity, 'KV page table'), capacity };
    } catch (cause) {
      for (const { page } of fresh) device.free(page.handle);
      throw new BackendUnavailableError(
        `KvCache: ${wanted.length} more pages need ${bytes} bytes beside the ${this.byteLength} it has; there is no memory for them. Truncate or dispose of something, or take a smaller type.`,
        { cause },
      );
    }
  }

  #put(sequence: number, at: number, page: Page<H>, isCopy: boolean): void {
    const { device, shape } = this;
    const { pages } = this.#sequences[sequence];
    const view = isCopy ? this.#view(pages[at], at) : new PageView(shape, at);
    if (!isCopy && at === 0 && shape.factors !== undefined)
      for (let head = 0; head < shape.kvHeads; head++) view.setFactors(head, factorsOf(shape, head));
    device.write(page.handle, view.bytes);
    if (pages[at]) this.#release(pages[at]);
    pages[at] = page;
  }

  /** Forgets keys; pages go back, but for those that are reserved. */
  #cut(lengths: readonly number[]): void {
    let isChanged = false;
    this.#sequences.forEach((sequence, b) => {
      sequence.length = lengths[b];
      const gone = sequence.pages.splice(Math.max(this.#reserved, pagesFor(lengths[b])));
      for (const page of gone) this.#release(page);
      isChanged ||= gone.length > 0;
    });
    if (isChanged) this.#writeTable();
  }

  #release(page: Page<H>): void {
    if (--page.owners === 0) this.device.free(page.handle);
  }

  #writeTable(): void {
    if (this.#table === undefined) return;
    const { kvHeads } = this.shape;
    const capacity = this.#capacity;
    const addresses = new Int32Array(this.shape.batch * kvHeads * capacity);
    const headBytes = this.#pageBytes.map((bytes) => bytes / kvHeads);
    this.#sequences.forEach(({ pages }, b) => {
      pages.forEach(({ handle }, at) => {
        const address = this.device.addressOf(handle);
        for (let head = 0; head < kvHeads; head++)
          addresses[(b * kvHeads + head) * capacity + at] = address + head * headBytes[at === 0 ? 0 : 1];
      });
    });
    this.device.write(this.#table, addresses);
  }

  #checkAlive(where: string): void {
    if (this.#isDisposed) throw new RangeError(`${where}: the cache was disposed of. Create another one.`);
  }
}

function shared<H>({ pages, length }: Sequence<H>): Sequence<H> {
  for (const page of pages) page.owners++;
  return { pages: [...pages], length };
}

const factorsOf = ({ factors, headSize }: ResolvedKvShape, head: number): Float32Array =>
  factors ? factors.subarray(head * headSize, (head + 1) * headSize) : new Float32Array(headSize).fill(1);

function checkCount(where: string, name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${where}: ${name} expected an integer from 0 on, got ${String(value)}.`);
}

function checkFloats(where: string, name: string, data: Float32Array, length: number): void {
  if (!(data instanceof Float32Array))
    throw new TypeError(`${where}: ${name} expected a Float32Array, got ${String(data)}.`);
  if (data.length !== length) throw new RangeError(`${where}: ${name} expected ${length} values, got ${data.length}.`);
}
