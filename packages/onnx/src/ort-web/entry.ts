/** What every entry of `@msd/onnx/ort-web` does with its build of onnxruntime-web. */
import type { OrtModule } from '../ort.ts';
import { takeOver } from '../takeover.ts';

/**
 * Takes the module over. Its binary is the one that lies beside it, or that the bundler puts there, and is fetched when a session needs
 * it: Transformers.js would name one on a CDN, and fetch it before it is asked for anything, unless there is something already.
 */
export function takeOverEntry(ort: OrtModule): void {
  takeOver(ort);
  const { wasm } = ort.env as { readonly wasm?: { wasmPaths?: unknown } };
  if (wasm) wasm.wasmPaths ??= {};
}
