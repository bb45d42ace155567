/**
 * `@msd/onnx/turbopack`: a loader that puts `@msd/onnx/ort-web` in the place of onnxruntime-web in the modules of a rule. An alias of
 * Turbopack holds for all modules: MSD's own import of ONNX Runtime would be MSD again, and Turbopack waits for itself without an end
 * when a module exports all of itself (Next.js 16.4).
 */

/** An import of onnxruntime-web: what stands before its name, the quote, the build. */
const IMPORT = /\b((?:from|import)\s*\(?\s*)(["'])onnxruntime-web(|\/webgpu|\/wasm|\/all)\2/g;

/**
 * Takes the imports of one module over.
 *
 * @example
 * ```ts
 * // next.config.ts
 * const transformers = { condition: { path: /@huggingface[\\/]transformers/ }, loaders: ['@msd/onnx/turbopack'] };
 *
 * export default { turbopack: { rules: { '*.js': transformers } } };
 * ```
 */
export default function msd(source: string): string {
  return source.replace(IMPORT, '$1$2@msd/onnx/ort-web$3$2');
}
