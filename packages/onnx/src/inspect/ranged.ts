/**
 * A model behind a URL of which only the needed pages are fetched, by HTTP ranges. Reading bytes that are not here
 * throws an error that names them; the caller fetches them and reads again.
 */
import { messageOf, ReadError } from '../errors.ts';
import type { AbortSignalLike } from '../read/fetch.ts';
import { type ByteSource, checkRange } from '../read/source.ts';
import { adviceOnStatus } from '../read/status.ts';

/** Bytes come in pages of this size: about what lies between two large tensors of a file. */
export const PAGE = 4096;
/** What is read from one place on grows up to so many pages at a time. */
const MOST_AHEAD = 64;
/** The beginning of a file, which its nodes often are. */
const FIRST_PAGES = 16;
/** A part is 256 kB at most: slower than that is a server that hangs. */
export const TIMEOUT_MS = 60_000;
/** What a user gives it more time with. */
export const TIMEOUT_OPTION = "'timeoutMs' (msd inspect: --timeout)";

/** Bytes were read that have not been fetched. */
export class Missing extends Error {
  readonly source: RangedSource;
  readonly offset: number;
  readonly length: number;

  constructor(source: RangedSource, offset: number, length: number) {
    super(`read: ${source.name}: bytes [${offset}, ${offset + length}), expected them here, got none.`);
    this.source = source;
    this.offset = offset;
    this.length = length;
  }
}

/** The server sent the whole file where a part of it was asked for. */
export class NoRanges extends Error {
  /** `undefined` where it does not say. */
  readonly byteLength: number | undefined;

  constructor(byteLength: number | undefined) {
    super('the server does not answer ranges');
    this.byteLength = byteLength;
  }
}

/** How a file is asked for. */
export interface Requests {
  /** What each request carries. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignalLike | undefined;
  /** After how long a part that did not come is given up, and a whole file of which nothing more came; 0 = never. Default: a minute. */
  readonly timeoutMs?: number | undefined;
  /** Told of all bytes that came. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** What several files may take together. */
export interface Allowance {
  left: number;
}

export class RangedSource implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly #url: string;
  readonly #requests: Requests;
  readonly #allowance: Allowance;
  readonly #pages = new Map<number, Uint8Array>();
  readonly #coming = new Map<number, Promise<void>>();
  /** The page behind the last one that was asked for, and how many were. */
  #next = -1;
  #ahead = 1;
  /** Stretches were taken for zeros, because the allowance was used up. */
  isCut = false;

  private constructor(name: string, url: string, byteLength: number, requests: Requests, allowance: Allowance) {
    this.name = name;
    this.#url = url;
    this.byteLength = byteLength;
    this.#requests = requests;
    this.#allowance = allowance;
  }

  /**
   * @param allowance bytes that may be fetched: what is asked for beyond them is zeros
   * @throws {@link NoRanges} when the server has none, {@link ReadError} when there is no answer, or another status
   */
  static async open(url: string, requests: Requests, allowance: Allowance): Promise<RangedSource> {
    const first = await fetchRange(url, 0, FIRST_PAGES * PAGE, requests);
    const source = new RangedSource(url, first.url, first.byteLength, requests, allowance);
    source.#keep(0, first.bytes);
    source.#next = FIRST_PAGES;
    source.#ahead = FIRST_PAGES;
    return source;
  }

  read(offset: number, length: number, into?: Uint8Array): Uint8Array {
    checkRange(this.name, this.byteLength, offset, length);
    const target = into && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const page = this.#pages.get(Math.floor(at / PAGE));
      if (!page && !this.isCut) throw new Missing(this, offset, length);
      const part = (page ?? NOTHING).subarray(at % PAGE, (at % PAGE) + length - done);
      target.set(part, done);
      done += part.length;
    }
    return target;
  }

  /** Bytes that are here from `offset` on, up to `most`; at least as many as are left of its page. */
  here(offset: number, most: number): number {
    let end = Math.floor(offset / PAGE) + 1;
    if (this.#pages.has(end - 1)) while (this.#pages.has(end) && end * PAGE - offset < most) end++;
    return Math.min(end * PAGE, this.byteLength, offset + most) - offset;
  }

  /** Was all of [offset, offset + length) fetched? */
  has(offset: number, length: number): boolean {
    return this.here(offset, length) >= length && (length === 0 || this.#pages.has(Math.floor(offset / PAGE)));
  }

  /** Fetches what is not here of [offset, offset + length), and more behind it while somebody reads on. */
  async need(offset: number, length: number): Promise<void> {
    const last = Math.floor((Math.min(this.byteLength, offset + length) - 1) / PAGE);
    for (let page = Math.floor(offset / PAGE); page <= last; page++) {
      if (this.#pages.has(page)) continue;
      if (!this.#coming.has(page)) this.#fetch(page, this.#count(page, last));
      await this.#coming.get(page);
    }
  }

  /** Begins to fetch the pages of [begin, end), which will probably be needed. What fails is fetched again when it is. */
  expect(begin: number, end: number): void {
    const last = Math.floor((Math.min(end, this.byteLength) - 1) / PAGE);
    for (let page = Math.max(0, Math.floor(begin / PAGE)); page <= last; page++) {
      let count = 0;
      while (page + count <= last && !this.#pages.has(page + count) && !this.#coming.has(page + count)) count++;
      // What is only guessed leaves enough for what is needed.
      if (count > 0 && 2 * count * PAGE < this.#allowance.left) this.#fetch(page, count);
      page += count;
    }
  }

  close(): void {
    this.#pages.clear();
  }

  #count(page: number, last: number): number {
    this.#ahead = page === this.#next ? Math.min(MOST_AHEAD, 2 * this.#ahead) : 1;
    const wanted = Math.max(last - page + 1, this.#ahead);
    let count = 1;
    while (count < wanted && !this.#pages.has(page + count) && !this.#coming.has(page + count)) count++;
    this.#next = page + count;
    return count;
  }

  #fetch(page: number, count: number): void {
    const begin = page * PAGE;
    const length = Math.min(count * PAGE, this.byteLength - begin);
    if (length > this.#allowance.left) {
      this.isCut = true;
      return;
    }
    this.#allowance.left -= length;
    const coming = fetchRange(this.#url, begin, length, this.#requests).then(
      ({ bytes }) => this.#keep(page, bytes),
      (error: unknown) => {
        for (let i = 0; i < count; i++) this.#coming.delete(page + i);
        throw error;
      },
    );
    coming.catch(() => undefined); // Whoever needs them hears of it.
    for (let i = 0; i < count; i++) this.#coming.set(page + i, coming);
  }

  #keep(page: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += PAGE) {
      this.#pages.set(page + at / PAGE, bytes.subarray(at, at + PAGE));
      this.#coming.delete(page + at / PAGE);
    }
  }
}

const NOTHING = /* @__PURE__ */ new Uint8Array(PAGE);

/** A part did not come in time. */
class Late extends Error {
  constructor(timeoutMs: number) {
    super(`nothing for ${timeoutMs / 1000} s`);
  }
}

async function fetchRange(
  url: string,
  begin: number,
  length: number,
  { headers, signal, onBytes, timeoutMs = TIMEOUT_MS }: Requests,
): Promise<{ url: string; bytes: Uint8Array; byteLength: number }> {
  const range = `bytes=${begin}-${begin + length - 1}`;
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted) onAbort();
  const late = (): void => stop.abort(new Late(timeoutMs));
  const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : undefined;
  try {
    const ask = (): Promise<Response> =>
      fetch(url, { headers: { 'accept-encoding': 'identity', ...headers, range }, signal: stop.signal });
    // A connection that was kept may be one that the server has just closed.
    const response = await ask().catch((error: unknown) => {
      if (signal?.aborted) throw error;
      return ask();
    });
    if (response.status === 416) {
      await response.body?.cancel();
      return { url: response.url, bytes: new Uint8Array(0), byteLength: 0 };
    }
    if (response.status !== 206) {
      await response.body?.cancel();
      const promised = Number(response.headers.get('content-length') ?? Number.NaN);
      if (response.ok && /\bhtml\b/i.test(response.headers.get('content-type') ?? ''))
        throw new ReadError(`read: ${url}: model, expected an ONNX file, got an HTML page. Is the address right?`);
      if (response.ok) throw new NoRanges(Number.isSafeInteger(promised) ? promised : undefined);
      const status = `${response.status} ${response.statusText}`.trim();
      throw new ReadError(`read: ${url}: model, expected HTTP 206, got ${status}. ${adviceOnStatus(response.status)}`);
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    onBytes?.(bytes.length);
    const sent = response.headers.get('content-range') ?? '';
    const [, first, end] = /^bytes (\d+)-\d+\/(\d+|\*)$/i.exec(sent) ?? [];
    // A part of nobody knows how much: as good as none.
    if (end === '*') throw new NoRanges(undefined);
    const total = Number(end);
    const expected = Math.min(length, total - begin);
    if (Number(first) !== begin)
      throw new ReadError(
        `read: ${url}: bytes [${begin}, ${begin + length}), expected them, got ${sent === '' ? 'a part without Content-Range' : `"${sent}"`}. Is it a proxy that changes answers? Download the file.`,
      );
    if (bytes.length !== expected)
      throw new ReadError(
        `read: ${url}: bytes [${begin}, ${begin + length}), expected ${expected} of them, got ${bytes.length}. Is it a proxy that changes files?`,
      );
    return { url: response.url || url, bytes, byteLength: total };
  } catch (cause) {
    if (cause instanceof NoRanges || cause instanceof ReadError || signal?.aborted) throw cause;
    const reason = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    const advice =
      reason instanceof Late
        ? `Try again, or give the option ${TIMEOUT_OPTION} a larger number (0 = wait for ever).`
        : 'Is the address right, and the server up?';
    throw new ReadError(`read: ${url}: model, expected an answer, got none (${messageOf(reason)}). ${advice}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/** Does work that reads files of which only parts are here: again from its beginning, once what it asked for is fetched. */
export async function whileFetching<T>(work: () => T): Promise<T> {
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      await error.source.need(error.offset, error.length);
    }
  }
}
