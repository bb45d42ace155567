/** Models and files beside them that lie somewhere: at a URL, or behind a path. */
import '../execute/create.ts'; // see families.ts
import { type Download, fetchArriving, fetchPieces, fetchSource, siblingUrl } from './fetch.ts';
import { hasFiles, openFile, outsideOf, pathOfUrl, siblingPath } from './file.ts';
import type { ByteSource } from './source.ts';

/** A URL rather than a path; in browsers every string is one. */
function isUrl(location: string): boolean {
  return !hasFiles() || /^(https?|blob|data):/i.test(location);
}

/** The path behind a string that is no URL. */
function pathOf(location: string): string {
  return /^file:/i.test(location) ? pathOfUrl(location) : location;
}

/** Opens a URL through fetch, everything else as a file. */
export async function openLocation(location: string, download: Download): Promise<ByteSource> {
  if (!isUrl(location)) return openFile(pathOf(location));
  return download.isRead ? fetchPieces(location, download) : fetchSource(location, download);
}

/** Opens a file beside a model: it may be read while it arrives. */
export async function openBeside(location: string, download: Download): Promise<ByteSource> {
  return isUrl(location) && download.isRead ? fetchArriving(location, download) : openLocation(location, download);
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
  if (location === '' || LEADS_OUT.test(location))
    throw outsideOf(location, 'one that leads out of it. Export the model with its data beside it');
  return isUrl(model) ? siblingUrl(model, location) : siblingPath(pathOf(model), location);
}
