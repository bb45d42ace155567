/** How the pages of Transformers.js get ONNX Runtime: one copy, and the WebAssembly without WebGPU, 14 MB instead of 27. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defaultClientConditions } from 'vite';

const require = createRequire(import.meta.url);

/**
 * The first one is onnxruntime-web's own: builds that bring no WebAssembly of their own, so that a page has only the files
 * below. The worker says where they are (`env.backends.onnx.wasm.wasmPaths`).
 */
export const BROWSER_CONDITIONS: string[] = ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions];

/** Files that lie in `ort/` beside the page. */
export function onnxRuntimeFiles(): [path: string, file: string][] {
  const folder = dirname(require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'));
  return ['ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'].map((name) => [
    `ort/${name}`,
    join(folder, name),
  ]);
}
