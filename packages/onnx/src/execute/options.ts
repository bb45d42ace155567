/**
 * The options in `executionProviders: [{ name: 'msd', … }]`, and which session options are passed on to ONNX Runtime's regions.
 */
import { type ActivationBlock, type CarrierChoice, UnsupportedError } from '@msd/core';
import { TAKEN_OVER } from '../left.ts';
import type { Download } from '../read/fetch.ts';
import type { ExternalData } from '../read/open.ts';
import type { ValueInfo } from '../read/types.ts';
import { checkQuantize, type QuantizeOption, say } from '../weights/quantize-option.ts';
import { checkSignal, Watch } from './abort.ts';
import { type LoadProgress, Progress } from './progress.ts';
import { checkSessionOptions, type Overrides, overridesOf } from './session-options.ts';
import { WARMS } from './warming.ts';

/** Options of MSD as an execution provider. Those given to `register` are the defaults. */
export interface MsdOptions {
  /** Where MSD's part of the model runs. Default 'wasm'. */
  readonly device?: 'wasm';
  /** int8 components per activation: 2 (default) = about 16 bits, 1 = dynamic int8. */
  readonly components?: 1 | 2;
  /** Consecutive k of a row that share an activation scale. Default 256; 32 follows outliers more closely. */
  readonly activationBlock?: ActivationBlock;
  /**
   * How keys and values of attention are kept: 'int16' (default), 2 bytes each and as accurate as the activations; 'int8', half of
   * that, and attention is off by 0.4 to 7 %; 'model', the floats of the model: `present` is exact.
   */
  readonly kvCache?: 'int16' | 'int8' | 'model';
  /**
   * Which instruction multiplies: 'i16', 'i8' (relaxed SIMD), or 'auto' (default), the faster one on this CPU. The bits
   * are the same.
   */
  readonly carrier?: CarrierChoice;
  /**
   * Threads that work on a matmul, the calling one included. Default 'auto': one per core, four at most; one where the page is
   * not cross-origin isolated. Without it, a session option `intraOpNumThreads` counts. `env.wasm.numThreads` is for ONNX Runtime alone.
   */
  readonly threads?: number | 'auto';
  /** Execution providers of ONNX Runtime for everything else. Default `['wasm']`; of native modules (onnxruntime-node) `['cpu']`. */
  readonly fallback?: readonly ('wasm' | 'cpu')[];
  /**
   * Which operators MSD takes: those with which a run is predicted to be faster ('auto', the default), or all that it has ('all',
   * for tests and experiments).
   */
  readonly claim?: 'auto' | 'all';
  /**
   * What float weights of MatMul, Gemm, Conv, LSTM and GRU become while a model is loaded: 'int8', one scale per output channel (of Conv, for
   * each 32 weights); 'int4', one for each 32 weights. For all of them, or by the name of a node or of its weights, in which `*`
   * stands for any characters. Default false: a file whose weights are all floats runs in ONNX Runtime, unless MSD is predicted to be
   * more than 1.3 times as fast. The report says how large the error of each matrix is.
   */
  readonly quantize?: QuantizeOption;
  /**
   * Leaves out a QuantizeLinear with the DequantizeLinear right behind it: activations of a statically quantized model stay
   * floats, which is faster and closer to the model before it was quantized. Default false: activations are rounded as
   * in the file.
   */
  readonly relax?: boolean;
  /**
   * Products of activations that a model quantizes while it runs (dynamic int8: DynamicQuantizeLinear, MatMulInteger, ConvInteger,
   * DynamicQuantizeMatMul), and of codes (QLinearMatMul, QGemm, QAttention), stay in ONNX Runtime, bit for bit. Default false: of
   * dynamic int8 MSD takes the floats and keeps about 16 bits of them, which is closer to the float model; codes may differ by one.
   */
  readonly exact?: boolean;
  /** Guards every buffer of MSD's memory with canaries and checks them after every matmul; slow. */
  readonly debug?: boolean;
  /** Called while a session is created. If it throws, `create` fails with that error. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Milliseconds without a byte after which a download is given up. Default 30000; 0 = never. */
  readonly stallTimeoutMs?: number;
  /**
   * Fetches and warms MSD's code while the file of a page's first model arrives, so that the first reply does not wait
   * for it. Default true. Not in Node, and not on hidden pages.
   */
  readonly warm?: boolean;
}

/**
 * An entry of `executionProviders` with options. onnxruntime-web's types know it as soon as this package is imported (of two copies of
 * onnxruntime-common only one: then declare a constant of this type).
 *
 * @example
 * ```ts
 * await ort.InferenceSession.create(model, { executionProviders: [{ name: 'msd', components: 1 }] });
 * ```
 */
export interface MsdProvider extends MsdOptions {
  readonly name: 'msd';
}

/** The options with their defaults. */
export type ResolvedOptions = Required<Omit<MsdOptions, 'onProgress'>> & Pick<MsdOptions, 'onProgress'>;

/** The options of a session, taken apart. */
export interface SessionRequest {
  readonly msd: ResolvedOptions;
  readonly externalData: readonly ExternalData[];
  readonly overrides: Overrides;
  readonly isProfiled: boolean;
  /**
   * Does it come from a taken-over `create`? Then a model that MSD would only pass on to ONNX Runtime is not created
   * here.
   */
  readonly isTakenOver: boolean;
  /** Is it created only to warm code for later sessions? */
  readonly isWarming: boolean;
  readonly watch: Watch;
  readonly progress: Progress;
  readonly download: Download;
  /** For a session of ONNX Runtime that runs the whole model: all that the user gave, with the fallback providers. */
  readonly whole: Readonly<Record<string, unknown>>;
  /** For a session of ONNX Runtime that runs a region. */
  readonly region: Readonly<Record<string, unknown>>;
}

/** Core's, which would be a download of its own here: a test holds them together. */
const MAX_THREADS = 64;

const isThreadCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_THREADS;

const KEYS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'name',
  'device',
  'components',
  'activationBlock',
  'kvCache',
  'carrier',
  'threads',
  'fallback',
  'claim',
  'quantize',
  'relax',
  'exact',
  'debug',
  'onProgress',
  'stallTimeoutMs',
  'warm',
]);

/** Session options that mean the same for a part of the model as for the whole of it. */
const REGION_OPTIONS = [
  'graphOptimizationLevel',
  'enableCpuMemArena',
  'enableMemPattern',
  'enableProfiling',
  'executionMode',
  'freeDimensionOverrides',
  'interOpNumThreads',
  'intraOpNumThreads',
  'logId',
  'logSeverityLevel',
  'logVerbosityLevel',
  'extra',
] as const;

/**
 * Checks MSD's own options.
 *
 * @throws `TypeError` for unknown names and wrong kinds, `RangeError` for wrong values, {@link UnsupportedError} for
 * devices and providers that this version does not have.
 */
export function resolveOptions(options: object, defaults: MsdOptions = {}): ResolvedOptions {
  for (const key of Object.keys(options)) {
    if (!KEYS.has(key)) {
      throw new TypeError(`msd: option '${key}', expected one of ${[...KEYS].slice(1).join(', ')}.`);
    }
  }
  const given = { ...defaults, ...dropUndefined(options) } as Record<keyof MsdOptions, unknown>;
  const { device = 'wasm', components = 2, activationBlock = 256, kvCache = 'int16', carrier = 'auto' } = given;
  const { onProgress, stallTimeoutMs = 30_000 } = given;
  const { threads = 'auto', fallback = ['wasm'], claim = 'auto', quantize = false, debug = false } = given;
  const { relax = false, exact = false, warm = true } = given;
  if (device !== 'wasm') {
    throw new UnsupportedError(`msd: option 'device', expected 'wasm' in this version, got ${say(device)}.`);
  }
  if (threads !== 'auto' && !isThreadCount(threads)) {
    throw new RangeError(`msd: option 'threads', expected 'auto' or 1 to ${MAX_THREADS}, got ${say(threads)}.`);
  }
  if (!Array.isArray(fallback)) {
    throw new TypeError(`msd: option 'fallback', expected an array of provider names, got ${typeof fallback}.`);
  }
  if (fallback.length !== 1 || !(fallback[0] === 'wasm' || fallback[0] === 'cpu')) {
    throw new UnsupportedError(
      `msd: option 'fallback', expected ['wasm'] or ['cpu'] in this version, got [${fallback.join(', ')}].`,
    );
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new TypeError(`msd: option 'onProgress', expected a function, got ${typeof onProgress}.`);
  }
  if (!(typeof stallTimeoutMs === 'number' && stallTimeoutMs >= 0 && stallTimeoutMs < 2 ** 31)) {
    throw new RangeError(
      `msd: option 'stallTimeoutMs', expected milliseconds below 2³¹, or 0 for none, got ${say(stallTimeoutMs)}.`,
    );
  }
  return {
    device,
    components: oneOf('components', components, [1, 2]),
    activationBlock: oneOf('activationBlock', activationBlock, ['row', 256, 32]),
    kvCache: oneOf('kvCache', kvCache, ['int16', 'int8', 'model']),
    carrier: oneOf('carrier', carrier, ['auto', 'i16', 'i8']),
    threads,
    fallback: fallback as ResolvedOptions['fallback'],
    claim: oneOf('claim', claim, ['auto', 'all']),
    quantize: checkQuantize(quantize),
    relax: flag('relax', relax),
    exact: flag('exact', exact),
    debug: flag('debug', debug),
    onProgress: onProgress as MsdOptions['onProgress'],
    stallTimeoutMs,
    warm: flag('warm', warm),
  };
}

function oneOf<const T extends string | number>(name: keyof MsdOptions, value: unknown, all: readonly T[]): T {
  if (!all.includes(value as T)) {
    const texts = all.map(say);
    throw new RangeError(
      `msd: option '${name}', expected ${texts.slice(0, -1).join(', ')} or ${texts.at(-1)}, got ${say(value)}.`,
    );
  }
  return value as T;
}

function flag(name: keyof MsdOptions, value: unknown): boolean {
  if (typeof value !== 'boolean')
    throw new TypeError(`msd: option '${name}', expected a boolean, got ${typeof value}.`);
  return value;
}

/** @throws `TypeError` for an option of MSD's beside the provider instead of in it */
function checkPlaces(given: Readonly<Record<string, unknown>>): void {
  // Only names that no other options have: wrappers pass on options of their own.
  const lost = ['components', 'kvCache', 'quantize', 'threads'].find((key) => given[key] !== undefined);
  if (lost !== undefined)
    throw new TypeError(
      `create: option '${lost}', expected in executionProviders: [{ name: 'msd', ${lost}: … }], got it beside them.`,
    );
}

/** Takes the options of `InferenceSession.create` apart. */
export function parseSessionOptions(options: object, defaults: MsdOptions): SessionRequest {
  const given = options as Readonly<Record<string, unknown>>;
  checkPlaces(given);
  const providers = (given.executionProviders ?? []) as readonly (string | object)[];
  if (providers.length > 1) throw new TypeError("msd: executionProviders, expected 'msd' once, got it twice.");
  const entry = providers[0];
  const msd = resolveOptions(typeof entry === 'object' ? entry : {}, {
    ...askedThreads(given),
    ...dropUndefined(defaults),
  });
  checkSessionOptions(given);
  const signal = checkSignal('create', given.signal);
  const region: Record<string, unknown> = { executionProviders: msd.fallback };
  for (const key of REGION_OPTIONS) if (given[key] !== undefined) region[key] = given[key];
  // `options` is a proxy of ONNX Runtime whose executionProviders is filtered: the copy has the fallback instead.
  const whole: Record<string, unknown> = {};
  for (const key of Object.keys(options)) if (key !== 'signal') whole[key] = given[key];
  whole.executionProviders = msd.fallback;
  const externalData = (given.externalData ?? []) as readonly ExternalData[];
  if (!Array.isArray(externalData)) {
    throw new TypeError(`msd: option 'externalData', expected an array, got ${typeof externalData}.`);
  }
  const odd = externalData.findIndex((entry) => typeof entry !== 'string' && !isExternal(entry));
  if (odd >= 0)
    throw new TypeError(`msd: option 'externalData', expected { path, data } as entry ${odd}, got another value.`);
  const overrides = overridesOf(given);
  const isProfiled = Boolean(given.enableProfiling);
  const watch = new Watch('create', signal);
  const progress = new Progress(msd.onProgress);
  const download: Download = {
    stallTimeoutMs: msd.stallTimeoutMs,
    signal,
    listen: () => progress.file(),
    isRead: true,
  };
  const isTakenOver = typeof entry === 'object' && TAKEN_OVER in entry;
  const isWarming = typeof entry === 'object' && WARMS in entry;
  const marks = { isProfiled, isTakenOver, isWarming };
  return { msd, externalData, overrides, ...marks, watch, progress, download, whole, region };
}

const isExternal = (entry: { path?: unknown; data?: unknown } | null): boolean =>
  typeof entry?.path === 'string' && /^(string|object)$/.test(typeof entry.data);

/** ONNX Runtime's own option for the threads of one session, where MSD's says nothing; 0 and what MSD cannot have are its default. */
function askedThreads({ intraOpNumThreads: asked }: Readonly<Record<string, unknown>>): MsdOptions {
  return isThreadCount(asked) ? { threads: asked } : {};
}

/** Places whose tensors look like those of the CPU. */
const ON_CPU: ReadonlySet<unknown> = /* @__PURE__ */ new Set(['cpu', 'cpu-pinned']);

/**
 * Refuses options that do not work for a model that runs partly in MSD and partly in ONNX Runtime.
 *
 * @throws {@link UnsupportedError}
 */
export function checkCuttable(request: SessionRequest, outputs: readonly ValueInfo[]): void {
  const { preferredOutputLocation: location, enableGraphCapture } = request.whole;
  const placeOf = (name: string): unknown =>
    typeof location === 'object' && location !== null
      ? Object.hasOwn(location, name) && (location as Record<string, unknown>)[name]
      : location;
  for (const { name } of outputs)
    if (!ON_CPU.has(placeOf(name) || 'cpu')) {
      throw new UnsupportedError(
        `msd: option 'preferredOutputLocation', output '${name}', expected 'cpu' in this version, got ${String(placeOf(name))}. Leave it out, or name another execution provider.`,
      );
    }
  if (enableGraphCapture === true) throw new UnsupportedError("msd: option 'enableGraphCapture' is not supported.");
}

function dropUndefined(options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
