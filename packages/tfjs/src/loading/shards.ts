/**
 * Files of weights over HTTP, one behind the other as they arrive. A few requests are under way ahead of the file that is read, as
 * many as hide the time that a server takes to answer.
 */
import type { io } from '@tensorflow/tfjs-core';

/** What of tfjs's HTTP handler is used; `load` of it would hold all files at once. */
export interface HttpHandler extends io.IOHandler {
  readonly loadOptions: io.LoadOptions;
  fetch(url: string, init: RequestInit | undefined, details: { readonly isBinary: boolean }): Promise<Response>;
  loadModelJSON(): Promise<io.ModelJSON>;
  getWeightUrls(manifest: io.WeightsManifestConfig): Promise<string[]>;
}

/** Is it tfjs's own, with a `load` that nobody has changed? */
export function isHttp(handler: io.IOHandler, tfio: typeof io): handler is HttpHandler {
  const { loadModelJSON, getWeightUrls } = handler as Partial<HttpHandler>;
  if (typeof loadModelJSON !== 'function' || typeof getWeightUrls !== 'function') return false;
  return handler.constructor === tfio.http('http://model').constructor && !Object.hasOwn(handler, 'load');
}

const AHEAD = 3;

/** @throws `Error` in the words in which tfjs tells of a missing model.json, where a file is not there */
export async function* shards(handler: HttpHandler, urls: readonly string[]): AsyncGenerator<Uint8Array> {
  const { requestInit } = handler.loadOptions;
  const pending: Promise<Response>[] = [];
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  const ask = (url: string) => {
    const response = handler.fetch(url, requestInit, { isBinary: true });
    response.catch(() => {}); // whoever awaits it hears of it
    pending.push(response);
  };
  try {
    for (const url of urls.slice(0, AHEAD)) ask(url);
    for (let i = 0; i < urls.length; i++) {
      const response = await pending.shift()!;
      const next = urls[i + AHEAD];
      if (next !== undefined) ask(next);
      if (response.ok === false)
        throw new Error(
          `Request to ${urls[i]} failed with status code ${response.status}. Please verify this URL points to the weights of the model to load.`,
        );
      reader = response.body?.getReader?.();
      // Functions that stand in for fetch need not stream.
      if (!reader) yield new Uint8Array(await response.arrayBuffer());
      else
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          yield value;
        }
      reader = undefined;
    }
  } finally {
    reader?.cancel().catch(() => {});
    for (const response of pending) response.then(({ body }) => body?.cancel()).catch(() => {});
  }
}
