/**
 * Models behind URLs: streamed into pieces, or one buffer, so that no second copy of the file ever exists. A download that fails says
 * how far it came.
 */
import { BackendUnavailableError } from '@msd/core';
import { messageOf, ReadError } from '../errors.ts';
import { ArrivingSource } from './arriving-source.ts';
import { allocate, checkPromised, PIECE, Pieces } from './pieces.ts';
import { type ByteSource, bytesSource } from './source.ts';

/** The part of an AbortSignal that is used. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** @param total `undefined` where the server does not say */
type Listener = (loaded: number, total: number | undefined) => void;

/** What a download is told. */
export interface Download {
  /** Milliseconds without a byte after which it is given up; 0 = never. */
  readonly stallTimeoutMs: number;
  /** What the user sets it with. Default: the session option of this name. */
  readonly stallOption?: string | undefined;
  /** What the request carries. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Stops it. Whoever gives one looks at it when the download fails. */
  readonly signal?: AbortSignalLike | undefined;
  /** Asked for once for a file; told after every part, and once before the first. */
  readonly listen?: (() => Listener) | undefined;
  /** May files be let go of piece by piece, and those beside the model be read while they arrive? Then expect `Gone` and `NotYet`. */
  readonly isRead?: boolean | undefined;
}

/** The part of the Fetch API that is used. */
interface StreamReader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
  cancel(): Promise<void>;
}

/** How far a download came. */
interface State {
  loaded: number;
  total: number | undefined;
  isStalled: boolean;
}

/**
 * Fetches a URL into one buffer, sized from Content-Length; where that is missing or counts compressed bytes, it is put together in
 * the end.
 *
 * @throws {@link ReadError} when there is no answer, another status than 2xx, or the connection breaks or stalls
 */
export async function fetchSource(url: string, download: Download): Promise<ByteSource> {
  let one: OneBuffer | undefined;
  const pieces = new Pieces(url);
  await fetchInto(url, download, new AbortController(), (total) => {
    if (total !== undefined) one = new OneBuffer(url, total);
    return one ?? pieces;
  });
  return bytesSource(one?.bytes ?? pieces.join(), url, true);
}

/** Fetches a URL into pieces, which can go one by one. @throws like {@link fetchSource} */
export async function fetchPieces(url: string, download: Download): Promise<ByteSource> {
  const pieces = new Pieces(url);
  await fetchInto(url, download, new AbortController(), (total = 0) => {
    checkPromised(url, total);
    return pieces;
  });
  return sourceOf(url, pieces);
}

function sourceOf(url: string, pieces: Pieces): ByteSource {
  if (pieces.length <= PIECE) return bytesSource(pieces.join(), url, true);
  return new ArrivingSource(url, pieces.length, () => {}, pieces);
}

/**
 * Fetches a URL that is read while it arrives; where the server does not say how much it sends, like {@link fetchPieces}.
 *
 * @throws {@link ReadError} like that, or from `until` of the source
 */
export function fetchArriving(url: string, download: Download): Promise<ByteSource> {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    let arriving: ArrivingSource | undefined;
    const pieces = new Pieces(url);
    const begin = (total: number | undefined): Sink => {
      if (total === undefined) return pieces;
      checkPromised(url, total);
      arriving = new ArrivingSource(url, total, () => stop.abort(), pieces);
      resolve(arriving);
      return arriving;
    };
    fetchInto(url, download, stop, begin).then(
      () => {
        if (!arriving) resolve(sourceOf(url, pieces));
      },
      (error: unknown) => {
        if (arriving) arriving.fail(error);
        else reject(error);
      },
    );
  });
}

/** Where bytes go. */
interface Sink {
  write(bytes: Uint8Array): void;
}

async function fetchInto(
  url: string,
  download: Download,
  stop: AbortController,
  begin: (total: number | undefined) => Sink,
): Promise<void> {
  const { signal, stallTimeoutMs, headers } = download;
  const state: State = { loaded: 0, total: undefined, isStalled: false };
  const onAbort = (): void => stop.abort();
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted) stop.abort();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const restart = (): void => {
    clearTimeout(timer);
    if (stallTimeoutMs === 0) return;
    timer = setTimeout(() => {
      state.isStalled = true;
      stop.abort();
    }, stallTimeoutMs);
  };
  try {
    restart();
    const response = await fetch(url, { signal: stop.signal, ...(headers && { headers }) });
    if (!response.ok) {
      await response.body?.cancel();
      const status = `${response.status} ${response.statusText}`.trim();
      throw new ReadError(
        `read: ${url}: model, expected HTTP 200, got ${status}. Is the address right, and may this page read it?`,
      );
    }
    await pump(response, state, download, restart, begin);
  } catch (cause) {
    if (cause instanceof ReadError || cause instanceof BackendUnavailableError) throw cause;
    throw failed(url, state, download, cause);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function failed(
  url: string,
  { loaded, total, isStalled }: State,
  { stallTimeoutMs, stallOption = "'stallTimeoutMs'" }: Download,
  cause: unknown,
): ReadError {
  const reason =
    cause instanceof Error && cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause;
  const end = isStalled
    ? `then nothing for ${stallTimeoutMs / 1000} s. Try again, or give the option ${stallOption} a larger number (0 = wait for ever)`
    : `then the connection broke (${messageOf(reason)}). Is the address right, and the server up?`;
  return new ReadError(`read: ${url}: model, got ${amount(loaded, total)}, ${end}`, { cause });
}

/** "12.3 of 800 MB" */
function amount(loaded: number, total: number | undefined): string {
  const largest = total ?? loaded;
  const [unit, name] = largest >= 1e6 ? [1e6, 'MB'] : largest >= 1e4 ? [1e3, 'kB'] : [1, 'bytes'];
  const text = (bytes: number): string => `${Number((bytes / unit).toFixed(1))}`;
  return total === undefined ? `${text(loaded)} ${name}` : `${text(loaded)} of ${text(total)} ${name}`;
}

async function pump(
  { body, headers }: Response,
  state: State,
  { listen }: Download,
  restart: () => void,
  begin: (total: number | undefined) => Sink,
): Promise<void> {
  const promised = Number(headers.get('content-length') ?? 0);
  // Of compressed bytes the header says how many travel, not how many arrive.
  const isExact = promised > 0 && Number.isSafeInteger(promised) && !headers.get('content-encoding');
  state.total = isExact ? promised : undefined;
  const onBytes = listen?.();
  onBytes?.(0, state.total);
  const sink = begin(state.total);
  if (!body) return;
  const reader = body.getReader() as unknown as StreamReader;
  for (;;) {
    const { done, value } = await reader.read();
    restart();
    if (done || !value) break;
    if (state.total !== undefined && state.loaded + value.byteLength > state.total) {
      await reader.cancel();
      throw new Error('the answer is longer than it said');
    }
    sink.write(value);
    state.loaded += value.byteLength;
    onBytes?.(state.loaded, state.total);
  }
  if (state.total !== undefined && state.loaded < state.total) throw new Error('the answer ended early');
}

/** One buffer, of the length that was promised. */
class OneBuffer implements Sink {
  readonly #url: string;
  readonly #promised: number;
  /** A promise is believed only once bytes arrive. */
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;

  constructor(url: string, promised: number) {
    this.#url = url;
    this.#promised = promised;
  }

  get bytes(): Uint8Array | undefined {
    return this.#buffer;
  }

  write(bytes: Uint8Array): void {
    this.#buffer ??= allocate(this.#url, this.#promised);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.byteLength;
  }
}

/**
 * The URL of a file beside another one.
 *
 * @returns `undefined` where nothing lies beside: `blob:` and `data:` URLs.
 */
export function siblingUrl(url: string, location: string): string | undefined {
  const page = (globalThis as { location?: { href?: string } }).location?.href;
  try {
    const base = new URL(url, page);
    if (base.protocol === 'blob:' || base.protocol === 'data:') return undefined;
    return new URL(location.split(/[/\\]/).map(encodeURIComponent).join('/'), base).href;
  } catch {
    return undefined;
  }
}
