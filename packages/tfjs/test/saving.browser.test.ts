/** Models through the handlers that browsers have: IndexedDB, local storage, downloads and files, requests, memory. */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import '@tensorflow/tfjs-backend-webgpu';
import { afterAll, beforeAll, describe } from 'vitest';
import { ready, register, unregister } from '../src/index.ts';
import { hasGpu } from './gpu.ts';
import { inMemory, type Place, savingSuite } from './saving.ts';
import { tf, useBackend } from './tf.ts';

describe.each(['cpu', 'wasm', ...(hasGpu ? ['webgpu'] : [])])('models on %s', (backend) => {
  beforeAll(async () => {
    setWasmPaths(
      {
        'tfjs-backend-wasm.wasm': plain,
        'tfjs-backend-wasm-simd.wasm': simd,
        'tfjs-backend-wasm-threaded-simd.wasm': threaded,
      },
      true,
    );
    await useBackend(backend);
    register(tf);
    await ready();
  });
  afterAll(async () => {
    for (const url of Object.keys(await tf.io.listModels())) await tf.io.removeModel(url);
    unregister(tf);
  });

  savingSuite({
    IndexedDB: () => ({ save: () => 'indexeddb://a model', load: () => 'indexeddb://a model' }),
    'local storage': () => ({ save: () => 'localstorage://a/model', load: () => 'localstorage://a/model' }),
    downloads,
    requests,
    memory: inMemory,
  });
});

/** tfjs clicks on links of its own; what they would have downloaded becomes the files that a user picks. */
function downloads(): Place {
  const links: HTMLAnchorElement[] = [];
  return {
    save: () => {
      const [handler] = tf.io.getSaveHandlers('downloads://a-model');
      return {
        async save(artifacts) {
          const { dispatchEvent } = HTMLAnchorElement.prototype;
          HTMLAnchorElement.prototype.dispatchEvent = function (this: HTMLAnchorElement) {
            links.push(this);
            return true;
          };
          try {
            return await handler!.save!(artifacts);
          } finally {
            HTMLAnchorElement.prototype.dispatchEvent = dispatchEvent;
          }
        },
      };
    },
    load: () => ({
      async load() {
        const fileOf = async ({ href, download }: HTMLAnchorElement) =>
          new File([await (await fetch(href)).blob()], download);
        return tf.io.browserFiles(await Promise.all(links.map(fileOf))).load!();
      },
    }),
  };
}

/** A server as a page sees it. */
function requests(): Place {
  const files = new Map<string, Blob>();
  const fetchFunc = async (url: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    if (init?.method !== 'POST') return new Response(files.get(String(url).split('/').at(-1)!));
    for (const [name, file] of init.body as FormData) files.set(name, file as File);
    return new Response();
  };
  return {
    save: () => tf.io.http('https://models.example/upload', { fetchFunc }),
    load: () => tf.io.http('https://models.example/model.json', { fetchFunc }),
  };
}
