/**
 * `@msd/onnx`: everything that onnxruntime-web exports, with an `InferenceSession` that uses MSD unless other providers are named.
 */
import * as ort from 'onnxruntime-web';
import { type AbortSignalLike, type MsdProvider, type MsdRunOptions, register } from './register.ts';
import type { SessionReport } from './report.ts';

export * from 'onnxruntime-web';
export * from './register.ts';

/** onnxruntime-web's session options, with MSD's entry among the providers. */
export interface MsdSessionOptions extends Omit<ort.InferenceSession.SessionOptions, 'executionProviders'> {
  /** Default `['msd']`. */
  readonly executionProviders?: readonly (ort.InferenceSession.ExecutionProviderConfig | MsdProvider)[];
  /** Stops the creation: it rejects with an `AbortError`. */
  readonly signal?: AbortSignalLike;
}

type AllRunOptions = ort.InferenceSession.RunOptions & MsdRunOptions;

/** A session that reports. */
export interface MsdSession extends ort.InferenceSession {
  /** What ran where; absent for sessions whose `executionProviders` do not name 'msd'. */
  readonly report: SessionReport | undefined;
  run(feeds: ort.InferenceSession.FeedsType, options?: AllRunOptions): Promise<ort.InferenceSession.ReturnType>;
  run(
    feeds: ort.InferenceSession.FeedsType,
    fetches: ort.InferenceSession.FetchesType,
    options?: AllRunOptions,
  ): Promise<ort.InferenceSession.ReturnType>;
}

/** Like onnxruntime-web's, with 'msd' as the default provider. */
export interface MsdInferenceSessionFactory {
  /**
   * Creates a session from a path or URL.
   *
   * @example
   * ```ts
   * import { InferenceSession, Tensor } from '@msd/onnx';
   * const session = await InferenceSession.create('model_q4.onnx');
   * ```
   */
  create(path: string, options?: MsdSessionOptions): Promise<MsdSession>;
  /** Creates a session from bytes. */
  create(bytes: Uint8Array | ArrayBufferLike, options?: MsdSessionOptions): Promise<MsdSession>;
  /** Creates a session from a part of a buffer. */
  create(
    buffer: ArrayBufferLike,
    byteOffset: number,
    byteLength?: number,
    options?: MsdSessionOptions,
  ): Promise<MsdSession>;
  [Symbol.hasInstance](value: unknown): boolean;
}

type CreateArguments = [
  model: string | Uint8Array | ArrayBufferLike,
  options?: MsdSessionOptions | number,
  byteLength?: number,
  lastOptions?: MsdSessionOptions,
];

async function create(...[given, second, third, fourth]: CreateArguments): Promise<MsdSession> {
  register(ort);
  const model = ownBytes(given);
  const isPart = typeof second === 'number';
  const options = withProvider(isPart ? fourth : (second as MsdSessionOptions | undefined));
  const stock = ort.InferenceSession as unknown as { create(...args: unknown[]): Promise<MsdSession> };
  if (!isPart) return stock.create(model, options);
  if (model instanceof Uint8Array && !(given instanceof Uint8Array))
    return stock.create(model.subarray(second, third === undefined ? undefined : second + third), options);
  return stock.create(model, second, third ?? (model as ArrayBufferLike).byteLength - second, options);
}

/** Bytes of another realm (an iframe, a vm context) as bytes of this one: onnxruntime-web knows its own classes only. */
function ownBytes(model: CreateArguments[0]): CreateArguments[0] {
  if (typeof model === 'string' || model instanceof Uint8Array || model instanceof ArrayBuffer) return model;
  const kind = Object.prototype.toString.call(model).slice(8, -1);
  if (kind === 'Uint8Array') {
    const { buffer, byteOffset, byteLength } = model as unknown as Uint8Array;
    return new Uint8Array(buffer, byteOffset, byteLength);
  }
  return kind === 'ArrayBuffer' ? new Uint8Array(model as ArrayBufferLike) : model;
}

/** 'msd' unless the caller names providers. */
function withProvider(options: MsdSessionOptions = {}): MsdSessionOptions {
  return options.executionProviders?.length ? options : { ...options, executionProviders: ['msd'] };
}

/** Creates sessions; registers MSD with onnxruntime-web on the first call. */
export const InferenceSession: MsdInferenceSessionFactory = {
  create,
  [Symbol.hasInstance](value: unknown): boolean {
    return (
      typeof ort.InferenceSession === 'function' && value instanceof (ort.InferenceSession as never as typeof Object)
    );
  },
};

/** The types that onnxruntime-web keeps beside the factory. */
export declare namespace InferenceSession {
  export type SessionOptions = MsdSessionOptions;
  export type RunOptions = AllRunOptions;
  export type FeedsType = ort.InferenceSession.FeedsType;
  export type FetchesType = ort.InferenceSession.FetchesType;
  export type ReturnType = ort.InferenceSession.ReturnType;
  export type ValueMetadata = ort.InferenceSession.ValueMetadata;
  export type ExecutionProviderConfig = ort.InferenceSession.ExecutionProviderConfig;
}
/** A session, as onnxruntime-web types it. */
export type InferenceSession = MsdSession;
