/**
 * `@msd/onnx/register`: makes `executionProviders: ['msd']` work in a module of the ONNX Runtime family. Imports none.
 */
import './ort-types.ts';
import { checkDefaults } from './configure.ts';
import type { MsdOptions } from './execute/options.ts';
import { isLogged } from './log.ts';
import { type OrtModule, ortVersion, registerOrtBackend, type StockModule } from './ort.ts';
import type { SessionReport } from './report.ts';
import { reportOf } from './report-of.ts';
import { once, type Registration, sharedState } from './shared-state.ts';

export { configure } from './configure.ts';
export { AbortError, ForeignRunError, OnnxFormatError, ReadError, SessionStateError } from './errors.ts';
export type { MsdOptions, MsdProvider } from './execute/options.ts';
export type { ProfileEvent } from './execute/profile.ts';
export type { LoadProgress, MemoryEstimate } from './execute/progress.ts';
export type { MsdRunOptions } from './execute/run-options.ts';
export type { OrtBackend, OrtHandler, OrtMetadata, OrtModule, OrtTensor } from './ort.ts';
export type { AbortSignalLike } from './read/fetch.ts';
export {
  type CopiedBytes,
  type Expectation,
  type ExpectedStep,
  formatReport,
  type NodeReport,
  type RegionReport,
  type SessionReport,
} from './report.ts';
export { explain, type ModelWithSessions, reportOf } from './report-of.ts';
export type { FloatFormat } from './weights/floats.ts';
export type { RoundingError } from './weights/matrix.ts';
export type { QuantizeOption } from './weights/quantize-option.ts';

/** Negative: MSD is used where it is named, and never takes a session that names no provider. */
const PRIORITY = -1;

/** onnxruntime-web releases that this version was tested with, by major and minor. */
const TESTED_VERSIONS: readonly string[] = ['1.30', '1.31'];

let compiler: Promise<typeof import('./execute/create.ts')> | undefined;

/** The compiler of models and the kernels: fetched with the first model. */
function loadCompiler(): Promise<typeof import('./execute/create.ts')> {
  compiler ??= import('./execute/create.ts').catch((error: unknown) => {
    compiler = undefined; // who asks next tries again
    throw error;
  });
  return compiler;
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
 * console.log(formatReport(reportOf(session)));
 * ```
 */
export function register(ort: OrtModule, options?: MsdOptions): void {
  if (typeof ort?.registerBackend !== 'function' || typeof ort.InferenceSession?.create !== 'function') {
    throw new TypeError(
      `register: ort, expected a module like \`import * as ort from 'onnxruntime-web'\` (tested: ${TESTED_VERSIONS.join(', ')}), got another object.`,
    );
  }
  if (options !== undefined) checkDefaults('register', options);
  warnUntested(ort);
  const registration = registrationOf(ort);
  if (options) registration.defaults = { ...options };
}

/** The module's registration; made now if there is none. */
export function registrationOf(ort: OrtModule): Registration {
  const { registrations } = sharedState();
  const known = registrations.get(ort.registerBackend);
  if (known) return known;
  const { InferenceSession, Tensor, env } = ort;
  const create = InferenceSession.create.bind(InferenceSession) as Registration['create'];
  const prepared: Registration['create'] = async (...args) => {
    await registration.beforeStock?.();
    return create(...args);
  };
  const stock: StockModule = {
    InferenceSession: { create: prepared },
    Session: InferenceSession,
    Tensor,
    env,
    registerBackend: ort.registerBackend,
  };
  const registration: Registration = {
    stock,
    create,
    beforeStock: undefined,
    defaults: {},
    isTakenOver: false,
    backend: {
      async init(): Promise<void> {},
      async createInferenceSessionHandler(model, sessionOptions = {}) {
        const { createSession } = await loadCompiler();
        return createSession(stock, model, sessionOptions, defaults());
      },
    },
    warm() {
      if (defaults().warm === false) return;
      // Errors are reported to the session that needs it.
      void loadCompiler().then(
        ({ warmUp }) => warmUp(stock, defaults()),
        () => {},
      );
    },
  };
  const defaults = (): MsdOptions => ({ ...sharedState().configured, ...registration.defaults });
  registerOrtBackend(ort, 'msd', registration.backend, PRIORITY);
  registrations.set(ort.registerBackend, registration);
  defineReport(ort);
  return registration;
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

/** Says once per version that a combination is untested. It may well work. Prereleases count as what they become. */
function warnUntested(ort: OrtModule): void {
  const version = ortVersion(ort);
  if (!isLogged(ort, 'warning') || version === undefined) return;
  const [major, minor] = version.split('.');
  if (TESTED_VERSIONS.includes(`${major}.${minor}`)) return;
  const text = `register: onnxruntime-web, expected ${TESTED_VERSIONS.join(' or ')}, got ${version}, with which this version of @msd/onnx was not tested.`;
  once(text, (said) => {
    const { process } = globalThis as { process?: WarningSink };
    if (process?.emitWarning) process.emitWarning(said, { type: 'MsdWarning', code: 'MSD_UNTESTED_ORT' });
    else console.warn(`MsdWarning: ${said}`);
  });
}
