/** What Transformers.js's `env` says about the ONNX Runtime that it uses. */
import { UnsupportedError } from '@msd/core';
import { listenTo } from './log.ts';
import { type OrtModule, ortVersion } from './ort.ts';

/** Its `env`, as far as it is used. */
export interface TransformersEnv {
  readonly logLevel?: number;
  useWasmCache?: boolean;
  readonly useBrowserCache?: boolean;
  readonly useCustomCache?: boolean;
  readonly customCache?: unknown;
  readonly cacheKey?: string;
  fetch?: (url: string, init?: object) => Promise<Response>;
  readonly backends: { readonly onnx: { readonly wasm?: object; readonly versions?: object } };
}

/** Transformers.js takes a module that was put there before it was imported in place of its own ONNX Runtime. */
export function givenModule(): OrtModule | undefined {
  return (globalThis as { readonly [key: symbol]: OrtModule | undefined })[Symbol.for('onnxruntime')];
}

/**
 * @param ort the module that would be taken over
 * @throws {@link UnsupportedError} when Transformers.js uses another one
 */
export function checkSameCopy({ backends: { onnx } }: TransformersEnv, ort: OrtModule): void {
  if (onnx.wasm !== undefined && onnx.wasm === ort.env.wasm) return;
  const used = (onnx.versions as { readonly web?: string } | undefined)?.web;
  const found = ortVersion(ort);
  const copies = `onnxruntime-web, expected the copy that Transformers.js uses (${used ?? 'unknown'}), got another one (${found ?? 'unknown'}).`;
  const fix =
    used === found
      ? "In Vite's dev server, use the plugin of @msd/onnx/vite, or put both '@huggingface/transformers' and '@msd/onnx' into optimizeDeps.exclude, or neither; a build of Transformers.js that has onnxruntime-web inside (transformers.js, transformers.min.js) cannot be taken over: load transformers.web.js."
      : 'Remove onnxruntime-web from your own dependencies (npm ls onnxruntime-web shows who has which), or let your bundler take @msd/onnx/ort-web/webgpu for onnxruntime-web/webgpu (in Vite: the plugin of @msd/onnx/vite).';
  throw new UnsupportedError(`@msd/onnx/transformers: ${copies} ${fix}`);
}

/** Levels of Transformers.js, from the loudest. */
const LEVELS = [
  [10, 'verbose'],
  [20, 'info'],
  [30, 'warning'],
  [40, 'error'],
] as const;

/** Transformers.js sets ONNX Runtime's log level one step quieter than its own: from ONNX Runtime's to its own. */
const MEANT: Readonly<Record<string, (typeof LEVELS)[number][1]>> = {
  verbose: 'verbose',
  info: 'info',
  warning: 'info',
  error: 'warning',
};

/**
 * MSD is as loud as Transformers.js is.
 *
 * @param env absent where there is no way to it that would not load a second Transformers.js
 */
export function followLogLevel(ort: OrtModule, env?: TransformersEnv): void {
  const { env: own } = ort as { readonly env: { readonly logLevel?: string } };
  listenTo(ort, () => {
    if (env?.logLevel === undefined) return MEANT[own.logLevel ?? 'error'] ?? 'fatal';
    const { logLevel } = env;
    return LEVELS.find(([most]) => logLevel <= most)?.[1] ?? 'fatal';
  });
}

/** Files of models that MSD is for, by the names that Transformers.js makes of a `dtype`; those with `f16` are mostly for GPUs. */
const QUANTIZED = /_(quantized|u?int8|bnb4|q\d)\.onnx\b/;

/**
 * Says when Transformers.js asks for the file of a model: a download is time to get ready in.
 *
 * @param begin called for each such file
 */
export function whenFetched(env: TransformersEnv, begin: () => void): void {
  const { fetch } = env;
  if (!fetch) return;
  env.fetch = function (this: unknown, ...args) {
    if (QUANTIZED.test(`${args[0]}`)) begin();
    return Reflect.apply(fetch, this, args);
  };
}
