/** Opens a model for looking at it: of a file behind a URL only what is asked for is fetched. */
import { ReadError } from '../errors.ts';
import { fetchSource } from '../read/fetch.ts';
import { hasFiles, openFile, pathOfUrl } from '../read/file.ts';
import { siblingOf } from '../read/locate.ts';
import { type ByteSource, bytesSource } from '../read/source.ts';
import type { ExternalFiles } from '../read/tensor.ts';
import { type Allowance, NoRanges, RangedSource, type Requests, TIMEOUT_MS, TIMEOUT_OPTION } from './ranged.ts';
import { walkModel } from './walk.ts';

/** Where bytes may come from. */
export interface Reading extends Requests {
  readonly allowance: Allowance;
  /** Of the model's file, that may be fetched even if it is more. */
  readonly share: number;
  /** Asked where a server sends only whole files: may this one be fetched? Default: up to 8 MB. */
  readonly mayDownload?: ((url: string, byteLength: number | undefined) => boolean | Promise<boolean>) | undefined;
}

/** Without an answer to the contrary. */
const SMALL_DOWNLOAD = 8e6;

const isUrl = (location: string): boolean => /^(https?|blob|data):/i.test(location) || !hasFiles();

/** Opens a model's file, its records fetched. */
export async function openRecords(model: string | Uint8Array, reading: Reading): Promise<ByteSource> {
  const source = await open(model, reading);
  if (!(source instanceof RangedSource)) return source;
  reading.allowance.left = Math.max(reading.allowance.left, reading.share * source.byteLength);
  await walkModel(source);
  if (!source.isCut) return source;
  throw new ReadError(
    `read: ${source.name}: nodes and small tensors, expected them in a part of the file, got more than may be fetched. Raise maxBytes, or look at the file on disk.`,
  );
}

async function open(model: string | Uint8Array, reading: Reading): Promise<ByteSource> {
  if (typeof model !== 'string') return bytesSource(model);
  if (!isUrl(model)) return openFile(/^file:/i.test(model) ? pathOfUrl(model) : model);
  if (!/^https?:/i.test(model)) return fetchSource(model, { stallTimeoutMs: 0 });
  try {
    return await RangedSource.open(model, reading, reading.allowance);
  } catch (error) {
    if (!(error instanceof NoRanges)) throw error;
    const { byteLength } = error;
    const { mayDownload = (_, length = Infinity) => length <= SMALL_DOWNLOAD } = reading;
    if (!(await mayDownload(model, byteLength))) {
      const size = byteLength === undefined ? 'a file of a length that it does not say' : `all ${byteLength} bytes`;
      throw new ReadError(
        `read: ${model}: expected a server that sends parts of files (HTTP ranges), got one that sends ${size}. Allow the whole download (msd inspect: --download), or look at the file on disk.`,
      );
    }
    const listen = () => {
      let before = 0;
      return (loaded: number): void => {
        reading.onBytes?.(loaded - before);
        before = loaded;
      };
    };
    const { signal, headers, timeoutMs = TIMEOUT_MS } = reading;
    return fetchSource(model, { stallTimeoutMs: timeoutMs, stallOption: TIMEOUT_OPTION, headers, signal, listen });
  }
}

/** Opens files beside a model. */
export async function openBeside(
  { sources }: ExternalFiles,
  locations: Iterable<string>,
  model: string | Uint8Array,
  given: ReadonlyMap<string, string | Uint8Array>,
  reading: Reading,
): Promise<void> {
  for (const location of locations) {
    const place = given.get(location) ?? siblingOf(model, location);
    if (place === undefined) {
      throw new ReadError(
        `read: external data '${location}', expected its place, got none: a model from bytes has no folder. Pass externalData.`,
      );
    }
    if (!sources.has(location)) sources.set(location, await open(place, reading));
  }
}
