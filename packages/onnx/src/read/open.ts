/**
 * From what a user hands to `create` (path, URL, bytes, `externalData`) to byte sources.
 */
import { OnnxFormatError } from '../errors.ts';
import { type Download, fetchArriving, fetchPieces, fetchSource, PLAIN, siblingUrl } from './fetch.ts';
import { hasFiles, openFile, outsideOf, pathOfUrl, siblingPath } from './file.ts';
import { type ByteSource, bytesSource } from './source.ts';
import type { ExternalFiles } from './tensor.ts';

/** ONNX Runtime Web's `externalData` entries: a file's name inside the model and its bytes or where to get them. */
export type ExternalData =
  | string
  | { readonly path: string; readonly data: string | Uint8Array | ArrayBufferLike | Blob };

/** A URL rather than a path; in browsers every string is one. */
function isUrl(location: string): boolean {
  return !hasFiles() || /^(https?|blob|data):/i.test(location);
}

/** The path behind a string that is no URL. */
function pathOf(location: string): string {
  return /^file:/i.test(location) ? pathOfUrl(location) : location;
}

/** Opens a model: bytes as they are, a URL through fetch, everything else as a file. */
export async function openSource(model: string | Uint8Array, download: Download = PLAIN): Promise<ByteSource> {
  if (typeof model !== 'string') return bytesSource(model);
  if (!isUrl(model)) return openFile(pathOf(model));
  return download.isRead ? fetchPieces(model, download) : fetchSource(model, download);
}

/** Absolute, or with a step upwards. */
const LEADS_OUT = /^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0/;

/**
 * Where a file beside the model lies, as ONNX Runtime would be told; `undefined` for models without a place.
 *
 * @throws {@link OnnxFormatError} when it lies outside the model's folder.
 */
export function siblingOf(model: string | Uint8Array, location: string): string | undefined {
  if (typeof model !== 'string') return undefined;
  if (location === '' || LEADS_OUT.test(location)) throw outsideOf(location, 'one that leads out of it');
  return isUrl(model) ? siblingUrl(model, location) : siblingPath(pathOf(model), location);
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
    const data = typeof entry === 'object' ? entry.data : (entry ?? siblingOf(model, location));
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

async function openData(data: string | Uint8Array | ArrayBufferLike | Blob, download: Download): Promise<ByteSource> {
  if (typeof data === 'string' && isUrl(data) && download.isRead) return fetchArriving(data, download);
  if (typeof data === 'string' || data instanceof Uint8Array) return openSource(data, download);
  if (data instanceof Blob) return bytesSource(new Uint8Array(await data.arrayBuffer()));
  return bytesSource(new Uint8Array(data));
}
