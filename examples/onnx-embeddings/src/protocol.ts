/** What the page tells its workers, and what they say about themselves. */

export interface LoadOptions {
  /** `toy`, or a name on the hub. */
  readonly model: string;
  readonly threads: number;
  /** Address of the page's folder. */
  readonly base: string;
}

export interface Costs {
  /** All WebAssembly memories of the worker. */
  readonly memory: number;
  /** Scripts and WebAssembly that the worker has loaded, without the model. */
  readonly code: number;
  /** The model is onnxruntime-web's as a whole. */
  readonly isLeft: boolean;
}
