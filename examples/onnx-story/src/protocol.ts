/** What the page and its two workers say to each other. */

export type Side = 'stock' | 'msd';

/** Names of Transformers.js for the weights of a file. */
export const DTYPES = [
  'q4',
  'q4f16',
  'q8',
  'int8',
  'uint8',
  'fp16',
  'fp32',
  'bnb4',
  'q2',
  'q2f16',
  'q1',
  'q1f16',
] as const;
export type Dtype = (typeof DTYPES)[number];

/** Files of a folder, by their path below the folder that has config.json. */
export type FolderFiles = ReadonlyMap<string, File>;

export type ModelSource =
  | { readonly kind: 'shipped' }
  | { readonly kind: 'hub'; readonly name: string }
  | { readonly kind: 'folder'; readonly name: string; readonly files: FolderFiles };

export interface LoadRequest {
  readonly type: 'load';
  readonly source: ModelSource;
  readonly dtype: Dtype;
  readonly threads: number;
  /** Address of the page's folder. */
  readonly base: string;
}

export type Request =
  | LoadRequest
  | { readonly type: 'write'; readonly prompt: string; readonly tokens: number }
  /** The text of these tokens: the page shows where two texts part. */
  | { readonly type: 'decode'; readonly ids: readonly number[] };

export type Reply =
  | { readonly type: 'progress'; readonly loaded: number; readonly total: number }
  | {
      readonly type: 'loaded';
      /** From the arrival of the model's last byte. */
      readonly startMs: number;
      readonly isChat: boolean;
      readonly ortVersion: string;
    }
  /** Tokens and text since the last such message. */
  | { readonly type: 'wrote'; readonly times: readonly number[]; readonly text: string }
  | {
      readonly type: 'written';
      readonly ids: readonly number[];
      /** Milliseconds after the start, one per token. */
      readonly times: readonly number[];
      /** All WebAssembly memories of the worker. */
      readonly memory: number;
      /** Scripts and WebAssembly that the worker has loaded, without the model. */
      readonly code: number;
      /** What ran where, in words; empty without MSD. */
      readonly report: string;
      /** One sentence about it. */
      readonly summary: string;
      /** The model is onnxruntime-web's as a whole. */
      readonly isLeft: boolean;
    }
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'failed'; readonly message: string };
