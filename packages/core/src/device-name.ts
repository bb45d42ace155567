/** What computes: the specification, WebAssembly, or a GPU. */
export type DeviceName = 'reference' | 'wasm' | 'webgpu';
