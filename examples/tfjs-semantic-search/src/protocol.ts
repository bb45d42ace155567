/** What the page tells its workers, and what they say about themselves. */
export type BackendName = 'wasm' | 'cpu';
export type Format = 'int8' | 'int4';

export interface LoadOptions {
  readonly backend: BackendName;
  readonly format: Format;
  /** Address of the page's folder. */
  readonly base: string;
}

export interface Memory {
  /** `tf.memory()`. */
  readonly tensors: number;
  /** What the WebAssembly heap has grown by. */
  readonly heap: number;
  /** File bytes that the model keeps in JavaScript. */
  readonly files: number;
}
