/**
 * Models behind URLs: streamed into one buffer, so that no second copy of the file ever exists. A download that fails says how far
 * it came.
 */
import { BackendUnavailableError } from '@msd/core';
import { ReadError } from '../errors.ts';
import { type ByteSource, bytesSource } from './source.ts';

/** The part of an AbortSignal that is used. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** What a download is told. */
export interface Download {
  /** Milliseconds without a byte after which it is given up; 0 = never. */
  readonly stallTimeoutMs: number;
  /** Stops it. Whoever gives one looks at it when the download fails. */
  readonly signal?: AbortSignalLike | undefined;
  /** Told after every part, and once before the first. @param total `undefined` where the server does not say */
  readonly onBytes?: ((loaded: number, total: number | undefined) => void) | undefined;
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

/** A download without limits. */
export const PLAIN: Download = { stallTimeoutMs: 0 };

/**
 * Fetches a URL into one buffer, sized from Content-Length and grown only when that is missing or too small (it counts
 * compressed bytes).
 *
 * @throws {@link ReadError} when there is no answer, another status than 2xx, or the connection breaks or stalls
 */
export async function fetchSource(url: string, download: Download = PLAIN): Promise<ByteSource> {
  const { signal, stallTimeoutMs } = download;
  const state: State = { loaded: 0, total: undefined, isStalled: false };
  const stop = new AbortController();
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
    const response = await fetch(url, { signal: stop.signal });
    if (!response.ok) {
      await response.body?.cancel();
      const status = `${response.status} ${response.statusText}`.trim();
      throw new ReadError(
        `read: ${url}: model, expected HTTP 200, got ${status}. Is the address right, and may this page read it?`,
      );
    }
    const bytes = await collect(url, response, state, download, restart);
    return bytesSource(bytes, url, true);
  } catch (cause) {
    if (cause instanceof ReadError || cause instanceof BackendUnavailableError) throw cause;
    throw failed(url, state, stallTimeoutMs, cause);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

function failed(url: string, { loaded, total, isStalled }: State, stallTimeoutMs: number, cause: unknown): ReadError {
  const reason =
    cause instanceof Error && cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause;
  const end = isStalled
    ? `then nothing for ${stallTimeoutMs / 1000} s. Try again, or give the option 'stallTimeoutMs' a larger number (0 = wait for ever)`
    : `then the connection broke (${reason instanceof Error ? reason.message : String(reason)}). Is the address right, and the server up?`;
  return new ReadError(`read: ${url}: model, got ${amount(loaded, total)}, ${end}`, { cause });
}

/** "12.3 of 800 MB" */
function amount(loaded: number, total: number | undefined): string {
  const largest = total ?? loaded;
  const [unit, name] = largest >= 1e6 ? [1e6, 'MB'] : largest >= 1e4 ? [1e3, 'kB'] : [1, 'bytes'];
  const text = (bytes: number): string => `${Number((bytes / unit).toFixed(1))}`;
  return total === undefined ? `${text(loaded)} ${name}` : `${text(loaded)} of ${text(total)} ${name}`;
}

/** Without a promised length the buffer starts here. */
const FIRST_BYTES = 1 << 20;

async function collect(
  url: string,
  { body, headers }: Response,
  state: State,
  { onBytes }: Download,
  restart: () => void,
): Promise<Uint8Array> {
  if (!body) return new Uint8Array(0);
  const promised = Number(headers.get('content-length') ?? 0);
  // Of compressed bytes the header says how many travel, not how many arrive.
  const isExact = promised > 0 && Number.isSafeInteger(promised) && !headers.get('content-encoding');
  state.total = isExact ? promised : undefined;
  onBytes?.(0, state.total);
  const reader = body.getReader() as unknown as StreamReader;
  let buffer: Uint8Array<ArrayBuffer> | undefined;
  for (;;) {
    const { done, value } = await reader.read();
    restart();
    if (done || !value) break;
    // The header is believed only once bytes arrive.
    buffer ??= allocate(url, isExact ? promised : Math.max(FIRST_BYTES, value.byteLength));
    if (state.loaded + value.byteLength > buffer.byteLength) {
      const grown = allocate(url, Math.max(2 * buffer.byteLength, state.loaded + value.byteLength));
      grown.set(buffer.subarray(0, state.loaded));
      buffer = grown;
    }
    buffer.set(value, state.loaded);
    state.loaded += value.byteLength;
    onBytes?.(state.loaded, state.total);
  }
  if (state.total !== undefined && state.loaded < state.total) throw new Error('the answer ended early');
  return buffer ? buffer.subarray(0, state.loaded) : new Uint8Array(0);
}

function allocate(url: string, byteLength: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(byteLength);
  } catch (cause) {
    throw new BackendUnavailableError(
      `read: ${url}: model, expected memory for ${byteLength} bytes, got none. Close other pages, or use a smaller model.`,
      { cause },
    );
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
