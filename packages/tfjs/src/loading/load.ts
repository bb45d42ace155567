/** From where a model comes, and how: at once, or weight by weight as its files arrive. */
import type { io } from '@tensorflow/tfjs-core';
import { ModelFormatError, shown } from '../errors.ts';
import type { ModelReport } from '../report.ts';
import type { StoredWeight } from '../weights/manifest.ts';
import { receive } from './arriving.ts';
import { isHttp, shards } from './shards.ts';

export interface RewrittenArtifacts {
  readonly artifacts: io.ModelArtifacts;
  readonly report: ModelReport;
  /** Names of the weights that became integers. */
  readonly packed: ReadonlyMap<string, unknown>;
}

/** A kind of model: artifacts, and weights that lie beside them -> the same with MSD's ops or layers. */
export type Rewrite = (artifacts: io.ModelArtifacts, stored?: ReadonlyMap<string, StoredWeight>) => RewrittenArtifacts;

/**
 * As tfjs finds the handler of a URL.
 *
 * @param isGraph tfjs's loader of graph models takes a request's options for HTTP, and completes URLs of TF Hub
 */
export function handlerFor(
  tfio: typeof io,
  source: string | io.IOHandler,
  options: io.LoadOptions = {},
  isGraph = false,
): io.IOHandler {
  if (typeof source === 'object' && source !== null && typeof source.load === 'function') return source;
  if (typeof source !== 'string')
    throw new TypeError(
      `load: source, expected a URL or an IOHandler, got ${source === null ? 'null' : typeof source}.`,
    );
  const isHub = isGraph && options.fromTFHub === true;
  const url = isHub ? `${source}${source.endsWith('/') ? '' : '/'}model.json?tfjs-format=file` : source;
  if (isGraph && options.requestInit) return tfio.browserHTTPRequest(url, options);
  const [first, second] = tfio.getLoadHandlers(url, options);
  if (second) throw new RangeError(`load: source, ${shown(source)} has more than one load handler.`);
  return first ?? tfio.browserHTTPRequest(url, options);
}

/** Loads, and rewrites what comes; over HTTP, and from handlers that stream, while it comes. */
export async function loadRewritten(
  tfio: typeof io,
  handler: io.IOHandler,
  rewrite: Rewrite,
  options: io.LoadOptions,
  prepare?: (topology: unknown) => Promise<void>,
): Promise<RewrittenArtifacts> {
  const { artifacts, chunks, loadOptions = options } = await open(tfio, handler);
  await prepare?.(artifacts.modelTopology);
  if (!chunks) return rewrite(artifacts);
  const { onProgress, requestInit } = loadOptions;
  const { stored, peakBytes } = await receive(
    artifacts.weightSpecs,
    chunks,
    (now) => rewrite(artifacts, now).packed.keys(),
    { ...(onProgress && { onProgress }), signal: requestInit?.signal },
  );
  const rewritten = rewrite(artifacts, stored);
  return { ...rewritten, report: { ...rewritten.report, peakBytes } };
}

interface Opened {
  readonly artifacts: io.ModelArtifacts;
  readonly chunks?: AsyncIterable<Uint8Array> | undefined;
  /** Of the handler itself. */
  readonly loadOptions?: io.LoadOptions;
}

async function open(tfio: typeof io, handler: io.IOHandler): Promise<Opened> {
  if (!isHttp(handler, tfio)) {
    const loaded: unknown = await handler.load!();
    if (typeof loaded !== 'object' || loaded === null)
      throw new ModelFormatError(
        `load: the handler's load(), expected the artifacts of a model, got ${shown(loaded)}.`,
      );
    const { getWeightStream, ...artifacts } = loaded as io.ModelArtifacts;
    return { artifacts, chunks: getWeightStream && chunksOf(getWeightStream()) };
  }
  const json = await handler.loadModelJSON();
  if (!json.weightsManifest) return { artifacts: await tfio.getModelArtifactsForJSON(json, async () => [[], []]) };
  const specs = tfio.getWeightSpecs(json.weightsManifest);
  const artifacts = tfio.getModelArtifactsForJSONSync(json, specs, new ArrayBuffer(0));
  const urls = await handler.getWeightUrls(json.weightsManifest);
  return { artifacts, chunks: shards(handler, urls), loadOptions: handler.loadOptions };
}

async function* chunksOf(stream: ReadableStream<ArrayBuffer>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield new Uint8Array(
        ArrayBuffer.isView(value)
          ? (value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength) as ArrayBuffer)
          : value,
      );
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
