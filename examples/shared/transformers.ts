/** What both workers of a page with Transformers.js do before and after: where ONNX Runtime lies, what downloads cost. */

/** The parts of Transformers.js's `env` that are set here: the package itself is the example's. */
interface Environment {
  useWasmCache: boolean;
  useBrowserCache: boolean;
  allowLocalModels: boolean;
  allowRemoteModels: boolean;
  localModelPath: string;
  readonly backends: { readonly onnx: { readonly wasm?: { numThreads?: number; wasmPaths?: unknown } } };
}

/** @param base address of the page's folder, which has `ort/` in it */
export function setUpOnnxRuntime(env: Environment, base: string, threads: number): void {
  const { wasm } = env.backends.onnx;
  if (!wasm) throw new Error('Transformers.js found no onnxruntime-web with WebAssembly.');
  const file = (ending: string) => `${base}ort/ort-wasm-simd-threaded.${ending}`;
  wasm.numThreads = threads;
  wasm.wasmPaths = { mjs: file('mjs'), wasm: file('wasm') };
  env.useWasmCache = false; // would download ONNX Runtime's WebAssembly also where nobody needs it
}

/** Takes models from this path of the page's host, and from nowhere else. */
export function useOwnModels(env: Environment, path: string): void {
  env.allowLocalModels = true;
  env.allowRemoteModels = false;
  env.useBrowserCache = false; // under the same name other pages of this host may keep another model
  env.localModelPath = path; // no address with a host: behind one Transformers.js looks for no tokenizer
}

/** Follows the files of a model while they arrive. */
export class Download {
  readonly #files = new Map<string, { readonly loaded: number; readonly total: number }>();
  readonly #onProgress: (loaded: number, total: number) => void;
  #arrivedAt = performance.now();

  constructor(onProgress: (loaded: number, total: number) => void) {
    this.#onProgress = onProgress;
  }

  /** For Transformers.js's `progress_callback`. */
  readonly follow = (info: { status: string; file?: string; loaded?: number; total?: number }): void => {
    if (info.status === 'done') this.#arrivedAt = performance.now();
    if (info.status !== 'progress' || info.file === undefined) return;
    this.#files.set(info.file, { loaded: info.loaded ?? 0, total: info.total ?? 0 });
    const sum = (key: 'loaded' | 'total') => [...this.#files.values()].reduce((all, own) => all + own[key], 0);
    this.#onProgress(sum('loaded'), sum('total'));
  };

  /** Milliseconds since the last byte came. */
  get sinceArrival(): number {
    return performance.now() - this.#arrivedAt;
  }
}

/** Bytes, as they are after decompression, of the scripts and WebAssembly that a worker loaded besides its own script. */
export function codeBytes(): number {
  const files = performance.getEntriesByType('resource') as PerformanceResourceTiming[];
  return files
    .filter(({ name }) => /\.(m?js|wasm)(\?|$)/.test(name))
    .reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0);
}
