/**
 * From what a user hands to `create` (path, URL, bytes, `externalData`) to byte sources.
 */
import { OnnxFormatError } from '../errors.ts';
import type { Download } from './fetch.ts';
import { type ByteSource, bytesSource } from './source.ts';
import type { ExternalFiles } from './tensor.ts';

/** A download without limits. */
const PLAIN: Download = { stallTimeoutMs: 0 };

/** ONNX Runtime Web's `externalData` entries: a file's name inside the model and its bytes or where to get them. */
export type ExternalData =
  | string
  | { readonly path: string; readonly data: string | Uint8Array | ArrayBufferLike | Blob };

/** Only models that lie somewhere need it. */
const locating = (): Promise<typeof import('./locate.ts')> => import('./locate.ts');

/** Opens a model: bytes as they are, a URL through fetch, everything else as a file. */
export async function openSource(model: string | Uint8Array, download: Download = PLAIN): Promise<ByteSource> {
  return typeof model === 'string' ? (await locating()).openLocation(model, download) : bytesSource(model);
}

/**
 * Opens external files: from `externalData` if it names the file, else beside the model.
 *
 * @param locations those that are needed: one that nobody uses need not exist.
 * @throws {@link OnnxFormatError} when a file has no place to come from.
 */
export async function openExternal(
  { sources }: ExternalFiles,
  locations: Iterable<string>,
  model: string | Uint8Array,
  externalData: readonly ExternalData[] = [],
  download: Download = PLAIN,
): Promise<void> {
  const given = new Map(externalData.map((entry) => [trimPath(typeof entry === 'string' ? entry : entry.path), entry]));
  for (const location of locations) {
    if (sources.has(location)) continue;
    const entry = given.get(location);
    const data = typeof entry === 'object' ? entry.data : (entry ?? (await placeBeside(model, location)));
    if (data === undefined) {
      throw new OnnxFormatError(
        `read: external data '${location}', expected its bytes, got none: a model from bytes has no folder. Pass externalData: [{ path: '${location}', data }].`,
      );
    }
    sources.set(location, await openData(data, download));
  }
}

/** ONNX Runtime lets `externalData` paths start with `./`. */
function trimPath(path: string): string {
  return path.replace(/^(\.\/)+/, '');
}

/** Where a file beside a model lies; `undefined` for models without a place. */
export async function placeBeside(model: string | Uint8Array, location: string): Promise<string | undefined> {
  return typeof model === 'string' ? (await locating()).siblingOf(model, location) : undefined;
}

async function openData(data: string | Uint8Array | ArrayBufferLike | Blob, download: Download): Promise<ByteSource> {
  if (typeof data === 'string') return (await locating()).openBeside(data, download);
  if (ArrayBuffer.isView(data)) return bytesSource(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return bytesSource(new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data));
}
