// The part of Transformers.js that this package and its tests use: its own declarations don't compile without skipLibCheck.
import type { TransformersEnv } from '../src/transformers-env.ts';

export declare const env: TransformersEnv & {
  allowRemoteModels: boolean;
  localModelPath: string;
  remoteHost: string;
  cacheDir: string;
};

export declare class Tensor {
  constructor(type: string, data: ArrayLike<number> | BigInt64Array, dims: readonly number[]);
  readonly dims: readonly number[];
  readonly data: ArrayLike<number>;
  readonly [row: number]: Tensor;
  tolist(): unknown[];
}

export interface Tokenizer {
  (text: string | readonly string[], options?: object): Record<string, Tensor>;
  padding_side: string;
  decode(ids: Tensor, options?: object): string;
  batch_decode(ids: Tensor): string[];
}

export interface Model {
  readonly sessions: object;
  generate(options: object): Promise<unknown>;
  generate_speech(
    ids: Tensor,
    speaker: Tensor,
    options: { vocoder: Model },
  ): Promise<{ spectrogram: Tensor; waveform: Tensor }>;
  dispose(): Promise<void>;
}

interface ModelClass {
  from_pretrained(name: string, options: object): Promise<Model>;
}
export declare const AutoModel: ModelClass;
export declare const LlavaForConditionalGeneration: ModelClass;

export interface Pipeline {
  (...args: unknown[]): Promise<unknown>;
  readonly tokenizer: Tokenizer;
  readonly model: Model;
  dispose(): Promise<void>;
}

export declare function pipeline(task: string, model: string, options: object): Promise<Pipeline>;

export declare class LogitsProcessor {
  _call(ids: bigint[][], logits: Tensor): Tensor;
}

export declare class LogitsProcessorList {
  push(processor: LogitsProcessor): void;
}

export declare class TextStreamer {
  constructor(tokenizer: Tokenizer, options: { skip_prompt?: boolean; callback_function?: (text: string) => void });
}

export declare class RawImage {
  constructor(data: Uint8ClampedArray, width: number, height: number, channels: number);
}
