/** Counts WebAssembly memory from the moment this module is imported. */
export { wasmMemoryBytes } from '../../../packages/cli/src/models/wasm-memory.ts';
