/**
 * Models behind URLs: streamed into one buffer, so that no second copy of the file ever exists.
 */
import { type ByteSource, bytesSource } from './source.ts';

/** The part of the Fetch API that is used. */
interface StreamReader {
  read(): Promise<{ done: boolean; value?: Uint8Array }>;
}

/**
 * Fetches a URL into one buffer, sized from Content-Length and grown only when that is missing or too small (it counts
 * compressed bytes).
 *
 * @throws `TypeError` from fetch itself, or `RangeError` on an HTTP status other than 2xx.
 */
export async function fetchSource(url: string): Promise<ByteSource> {
  const response = await fetch(url);
  if (!response.ok) throw new RangeError(`read: ${url}: model, expected HTTP 200, got ${response.status}.`);
  if (!response.body) return bytesSource(new Uint8Array(await response.arrayBuffer()), url, true);
  const promised = Number(response.headers.get('content-length') ?? 0);
  const bytes = await collect(response.body.getReader(), Number.isSafeInteger(promised) ? promised : 0);
  return bytesSource(bytes, url, true);
}

/** Without a promised length the buffer starts here. */
const FIRST_BYTES = 1 << 20;

async function collect(reader: StreamReader, promised: number): Promise<Uint8Array> {
  let buffer: Uint8Array<ArrayBuffer> | undefined;
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done || !value) break;
    // The header is believed only once bytes arrive; an absurd one fails here as the engine's own RangeError.
    buffer ??= new Uint8Array(promised || Math.max(FIRST_BYTES, value.byteLength));
    if (length + value.byteLength > buffer.byteLength) {
      const grown = new Uint8Array(Math.max(2 * buffer.byteLength, length + value.byteLength));
      grown.set(buffer.subarray(0, length));
      buffer = grown;
    }
    buffer.set(value, length);
    length += value.byteLength;
  }
  return buffer ? buffer.subarray(0, length) : new Uint8Array(0);
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
