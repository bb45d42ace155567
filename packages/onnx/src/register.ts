/**
 * `@msd/onnx/register`: makes `executionProviders: ['msd']` work in a module of the ONNX Runtime family. Imports none.
 */
import { UnsupportedError } from '@msd/core';
import { type MsdOptions, resolveOptions } from './execute/options.ts';
import type { MsdHandler } from './execute/session.ts';
import { isLogged } from './log.ts';
import { type OrtBackend, type OrtModule, ortVersion, registerOrtBackend } from './ort.ts';
import type { SessionReport } from './report.ts';

export { AbortError, ForeignRunError, OnnxFormatError, ReadError, SessionStateError } from './errors.ts';
export type { MsdOptions, MsdProvider } from './execute/options.ts';
export type { ProfileEvent } from './execute/profile.ts';
export type { LoadProgress, MemoryEstimate } from './execute/progress.ts';
export type { MsdRunOptions } from './execute/run-options.ts';
export type { OrtBackend, OrtHandler, OrtMetadata, OrtModule, OrtTensor } from './ort.ts';
export type { AbortSignalLike } from './read/fetch.ts';
export { type CopiedBytes, formatReport, type NodeReport, type RegionReport, type SessionReport } from './report.ts';
export type { FloatFormat } from './weights/floats.ts';
export type { RoundingError } from './weights/matrix.ts';
export type { QuantizeOption } from './weights/quantize-option.ts';

/** Negative: MSD is used where it is named, and never takes a session that names no provider. */
const PRIORITY = -1;

/** onnxruntime-web releases that this version was tested with. */
const TESTED_VERSIONS: readonly string[] = ['1.30.0'];

let compiler: Promise<typeof import('./execute/create.ts')> | undefined;

/** The compiler of models and the kernels: fetched with the first model. */
function loadCompiler(): Promise<typeof import('./execute/create.ts')> {
  compiler ??= import('./execute/create.ts');
  return compiler;
}

/** One module's registration: its backend object, and the defaults that the last `register` gave. */
interface Registration {
  readonly backend: OrtBackend;
  defaults: MsdOptions;
}

/**
 * What all copies of this package on a page share, under `Symbol.for('msd.backend')`. Every ONNX Runtime bundle has a
 * registry of its own, and a registry refuses a second object under one name: the first registration of each stays.
 */
interface SharedState {
  readonly version: 1;
  /** By the registry's own `registerBackend` function. */
  readonly registrations: WeakMap<object, Registration>;
  readonly warned: Set<string>;
}

const SHARED: unique symbol = /* @__PURE__ */ Symbol.for('msd.backend');

function sharedState(): SharedState {
  const holder = globalThis as { [SHARED]?: SharedState };
  holder[SHARED] ??= { version: 1, registrations: new WeakMap(), warned: new Set() };
  const state = holder[SHARED];
  if (state.version !== 1) {
    throw new UnsupportedError(
      `register: another copy of @msd/onnx on this page keeps its state in version ${String(state.version)}, expected 1. Load one version only.`,
    );
  }
  return state;
}

/**
 * Registers MSD with a module. Idempotent; hot reloading, several copies of this package and several ONNX Runtime bundles
 * on one page are all fine. Calling it again with options replaces the defaults, all of them, for sessions that are created from
 * then on; calling it without leaves them.
 *
 * @param ort the module: `import * as ort from 'onnxruntime-web'`, or any other entry of it.
 * @param options defaults for sessions that name the provider as plain `'msd'`.
 * @throws `TypeError` when `ort` is no such module or an option is unknown, `RangeError` for a wrong value.
 * @example
 * ```ts
 * import * as ort from 'onnxruntime-web';
 * import { register, reportOf, formatReport } from '@msd/onnx/register';
 *
 * register(ort);
 * const session = await ort.InferenceSession.create('model_q4.onnx', { executionProviders: ['msd'] });
 * console.log(formatReport(reportOf(session)!));
 * ```
 */
export function register(ort: OrtModule, options?: MsdOptions): void {
  if (typeof ort?.registerBackend !== 'function' || typeof ort.InferenceSession?.create !== 'function') {
    throw new TypeError(
      "register: ort, expected a module like `import * as ort from 'onnxruntime-web'`, got another object.",
    );
  }
  if (options !== undefined) checkDefaults(options);
  const { registrations } = sharedState();
  const known = registrations.get(ort.registerBackend);
  if (known) {
    if (options) known.defaults = { ...options };
    return;
  }
  warnUntested(ort);
  const registration: Registration = {
    defaults: { ...options },
    backend: {
      async init(): Promise<void> {},
      async createInferenceSessionHandler(model, sessionOptions = {}) {
        const { createSession } = await loadCompiler();
        return createSession(ort, model, sessionOptions, registration.defaults);
      },
    },
  };
  registerOrtBackend(ort, 'msd', registration.backend, PRIORITY);
  registrations.set(ort.registerBackend, registration);
  defineReport(ort);
}

function checkDefaults(options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    const got = options === null ? 'null' : Array.isArray(options) ? 'an array' : typeof options;
    throw new TypeError(`register: options, expected an object like { components: 1 }, got ${got}.`);
  }
  resolveOptions(options);
}

/**
 * What a session says about itself.
 *
 * @returns `undefined` for sessions that MSD did not create.
 */
export function reportOf(session: object): SessionReport | undefined {
  return (session as { readonly handler?: Partial<MsdHandler> }).handler?.report;
}

/** Makes `session.report` work: a getter on the module's session class, if that can be extended. */
function defineReport(ort: OrtModule): void {
  const prototype = (ort.InferenceSession as { readonly prototype?: object }).prototype;
  if (!prototype || 'report' in prototype || !Object.isExtensible(prototype)) return;
  Object.defineProperty(prototype, 'report', {
    configurable: true,
    get(this: object): SessionReport | undefined {
      return reportOf(this);
    },
  });
}

interface WarningSink {
  emitWarning?(text: string, options: { type: string; code: string }): void;
}

/** Says once per version that a combination is untested. It may well work. */
function warnUntested(ort: OrtModule): void {
  const version = ortVersion(ort);
  const { warned } = sharedState();
  if (!isLogged(ort, 'warning')) return;
  if (version === undefined || TESTED_VERSIONS.includes(version) || warned.has(version)) return;
  warned.add(version);
  const text = `register: onnxruntime-web, expected ${TESTED_VERSIONS.join(' or ')}, got ${version}, with which this version of @msd/onnx was not tested.`;
  const { process } = globalThis as { process?: WarningSink };
  if (process?.emitWarning) process.emitWarning(text, { type: 'MsdWarning', code: 'MSD_UNTESTED_ORT' });
  else console.warn(`MsdWarning: ${text}`);
}
