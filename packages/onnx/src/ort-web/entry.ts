/** What every entry of `@msd/onnx/ort-web` does with its build of onnxruntime-web. */
import { UnsupportedError } from '@msd/core';
import type { OrtModule } from '../ort.ts';
import { takeOver } from '../takeover.ts';

/**
 * Takes the module over. Its binary is the one that lies beside it, or that the bundler puts there, and is fetched when a session needs
 * it: Transformers.js would name one on a CDN, and fetch it before it is asked for anything, unless there is something already.
 */
export function takeOverEntry(ort: OrtModule): void {
  // A cycle: what this package imports as onnxruntime-web is this package.
  if (!ort.InferenceSession) {
    throw new UnsupportedError(
      '@msd/onnx/ort-web: onnxruntime-web, expected the package, got this module again: an alias holds for all modules. Let it hold for those of Transformers.js (docs/transformers.md has the rule for webpack).',
    );
  }
  takeOver(ort);
  const { wasm } = ort.env as { readonly wasm?: { wasmPaths?: unknown } };
  if (wasm) wasm.wasmPaths ??= {};
}
