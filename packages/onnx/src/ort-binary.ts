/**
 * ONNX Runtime's binary, 14 to 27 MB, which Transformers.js fetches before the first session: here it waits until a session needs it, and
 * then comes from the same cache.
 */
import type { OrtModule } from './ort.ts';
import { registrationOf } from './register.ts';
import type { TransformersEnv } from './transformers-env.ts';

interface FileCache {
  match(url: string): Promise<Response | undefined>;
  put(url: string, response: Response): Promise<void>;
}

interface WasmEnv {
  wasmPaths?: string | { readonly wasm?: string | URL; readonly mjs?: string | URL };
  wasmBinary?: ArrayBuffer | Uint8Array;
}

/** Takes the fetching over from Transformers.js, unless its user turned it off. */
export function fetchLater(ort: OrtModule, env: TransformersEnv): void {
  // In Deno, Transformers.js insists on doing it.
  if (!env.useWasmCache || 'Deno' in globalThis) return;
  env.useWasmCache = false;
  let fetched: Promise<void> | undefined;
  registrationOf(ort).beforeStock = () => {
    fetched ??= fetchBinary(ort.env.wasm as WasmEnv, env);
    return fetched;
  };
}

async function fetchBinary(wasm: WasmEnv, env: TransformersEnv): Promise<void> {
  const { wasmPaths: paths, wasmBinary } = wasm;
  if (typeof paths !== 'object' || !paths.wasm || !paths.mjs || wasmBinary) return;
  try {
    const cache = await cacheOf(env);
    const [binary, glue] = await Promise.all([
      cached(paths.wasm, cache, env).then((response) => response.arrayBuffer()),
      isBlobBetter(paths.mjs) ? cached(paths.mjs, cache, env).then((response) => response.blob()) : undefined,
    ]);
    wasm.wasmBinary = binary;
    if (glue) wasm.wasmPaths = { ...paths, mjs: URL.createObjectURL(new Blob([glue], { type: 'text/javascript' })) };
  } catch {
    // ONNX Runtime tries by itself, and says what is wrong.
  }
}

async function cacheOf(env: TransformersEnv): Promise<FileCache | undefined> {
  if (env.useCustomCache) return env.customCache as FileCache;
  if (!env.useBrowserCache) return undefined;
  // An iframe or a private window may have caches that nobody may open.
  return caches.open(env.cacheKey ?? 'transformers-cache').catch(() => undefined);
}

async function cached(url: string | URL, cache: FileCache | undefined, env: TransformersEnv): Promise<Response> {
  const key = `${url}`;
  const known = await cache?.match(key);
  if (known) return known;
  const response = await (env.fetch ?? fetch)(key);
  if (!response.ok) throw new Error(`${response.status}`);
  await cache?.put(key, response.clone()).catch(() => undefined);
  return response;
}

/**
 * Is the code kept, and imported as a blob, as Transformers.js does? What comes from the page's own server is there as the page is, and
 * a Content-Security-Policy that allows it may not allow blobs. Service workers and extensions import none.
 */
function isBlobBetter(url: string | URL): boolean {
  const {
    ServiceWorkerGlobalScope: Scope,
    chrome,
    location,
  } = globalThis as {
    readonly ServiceWorkerGlobalScope?: new () => object;
    readonly chrome?: { readonly runtime?: { readonly id?: string } };
    readonly location?: { readonly href: string; readonly origin: string };
  };
  if ((Scope && globalThis instanceof Scope) || chrome?.runtime?.id !== undefined) return false;
  return !location || new URL(url, location.href).origin !== location.origin;
}
