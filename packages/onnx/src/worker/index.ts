/**
 * `@msd/onnx/worker`: a session in a Worker of its own, with the interface of any other. The page stays live while it computes, and
 * loads no ONNX Runtime.
 */
import { SessionStateError } from '../errors.ts';
import { checkSignal } from '../execute/abort.ts';
import type { MsdProvider } from '../execute/options.ts';
import type { LoadProgress } from '../execute/progress.ts';
import type { OrtData, OrtMetadata } from '../ort.ts';
import type { SessionReport } from '../report.ts';
import { sharedState } from '../shared-state.ts';
import { type SentTensor, type Signature, sentData } from './messages.ts';
import { type AnyWorker, Line, startThread } from './start.ts';
import { type Keeper, WorkerTensor } from './tensor.ts';

export type { MsdProvider } from '../execute/options.ts';
export { formatReport, type SessionReport } from '../report.ts';
export { explain, reportOf } from '../report-of.ts';
export { type AnyWorker, WorkerTensor };

/** Session options of ONNX Runtime, without functions, and these. */
export interface WorkerSessionOptions {
  /** Default `['msd']`; `onProgress` of its entry is called on this side. */
  readonly executionProviders?: readonly (string | MsdProvider | { readonly name: string })[];
  /** Files beside the model, as ONNX Runtime takes them. */
  readonly externalData?: readonly (string | { readonly path: string; readonly data: string | Uint8Array })[];
  /** Stops the creation: it rejects with an `AbortError`. */
  readonly signal?: AbortSignal;
  /** The model's bytes, and those of files beside it, go to the Worker: they are empty here from then on. Default false: copied. */
  readonly transfer?: boolean;
  /**
   * Names of outputs that stay with the Worker: their tensors have no `data` here, and are fed again as they are. Default: all whose
   * name begins with 'present', the keys and values of decoders.
   */
  readonly keep?: readonly string[];
  /** `env.wasm` of the Worker's ONNX Runtime: `wasmPaths`, `numThreads`, … */
  readonly wasm?: object;
  /** Makes the Worker: of a script that imports `@msd/onnx/worker/thread`, as a module. */
  readonly worker?: () => AnyWorker;
  readonly [option: string]: unknown;
}

/** Options of a run. */
export interface WorkerRunOptions {
  /** Stops the run: it rejects with an `AbortError`. */
  readonly signal?: AbortSignal;
  /** Arrays that are fed go to the Worker: they are empty here from then on. Default false: copied. */
  readonly transfer?: boolean;
  readonly [option: string]: unknown;
}

/** A tensor to feed: of ONNX Runtime, of this module, or an object like them. */
export interface FedTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: OrtData;
}

type Results = Record<string, WorkerTensor>;

/**
 * Creates a session in a Worker of its own.
 *
 * @param model a path or URL, relative to this page, or bytes.
 * @throws what `InferenceSession.create` throws, and `BackendUnavailableError` where no Worker starts.
 * @example
 * ```ts
 * import { createSession } from '@msd/onnx/worker';
 *
 * const session = await createSession('model_q4.onnx');
 * const { logits } = await session.run({ input_ids: { type: 'int64', dims: [1, 2], data: BigInt64Array.of(1n, 2n) } });
 * await session.release();
 * ```
 */
export async function createSession(
  model: string | Uint8Array | ArrayBufferLike,
  { signal, transfer = false, keep, wasm, worker = startThread, ...options }: WorkerSessionOptions = {},
): Promise<WorkerSession> {
  const moved = new Set<ArrayBuffer>();
  const { providers, onProgress } = apart(options.executionProviders);
  const question = {
    model: typeof model === 'string' ? absolute(model) : given(model, transfer, moved),
    options: {
      ...options,
      executionProviders: providers,
      ...(options.externalData && { externalData: options.externalData.map((file) => beside(file, transfer, moved)) }),
    },
    // Functions stay here.
    configured: { ...sharedState().configured, onProgress: undefined },
    ...{ wasm, keep, isWatched: onProgress !== undefined },
  };
  const stopped = new AbortController();
  let thrown: { readonly error: unknown } | undefined;
  const line = new Line(worker(), (message) => {
    if (!('progress' in message)) return;
    try {
      onProgress?.(message.progress);
    } catch (error) {
      thrown ??= { error };
      stopped.abort();
    }
  });
  const forward = () => stopped.abort(signal?.reason);
  if (checkSignal('create', signal)?.aborted) forward();
  signal?.addEventListener('abort', forward);
  try {
    const signature = await line.ask('create', question, moved, stopped.signal);
    if (thrown) throw thrown.error;
    return new WorkerSession(signature, line);
  } catch (error) {
    line.end(error as Error);
    throw thrown ? thrown.error : error;
  } finally {
    signal?.removeEventListener('abort', forward);
  }
}

/** A session in a Worker of its own. Calls of `run` are served one after the other. */
export class WorkerSession {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly #line: Line;
  readonly #keeper: Keeper;
  #report: SessionReport | undefined;
  #released: Promise<void> | undefined;

  /** @internal */
  constructor({ report, ...signature }: Signature, line: Line) {
    this.inputNames = signature.inputNames;
    this.outputNames = signature.outputNames;
    this.inputMetadata = signature.inputMetadata;
    this.outputMetadata = signature.outputMetadata;
    this.#report = report;
    this.#line = line;
    this.#keeper = { read: (kept) => line.ask('read', kept), drop: (kept) => line.tell({ drop: kept }) };
  }

  /** What ran where, as of creation, the first run, the last `refreshReport()`, or the release. */
  get report(): SessionReport | undefined {
    return this.#report;
  }

  /** For `reportOf` and `explain`. @internal */
  get handler(): { readonly report: SessionReport | undefined; explain(): Promise<SessionReport | undefined> } {
    return { report: this.#report, explain: () => this.#ask(true) };
  }

  /** What ran where, as of now. */
  refreshReport(): Promise<SessionReport | undefined> {
    return this.#ask(false);
  }

  async #ask(isExplained: boolean): Promise<SessionReport | undefined> {
    this.#report = await this.#line.ask('report', isExplained);
    return this.#report;
  }

  /** Runs the model for all outputs. */
  run(feeds: Readonly<Record<string, FedTensor | WorkerTensor>>, options?: WorkerRunOptions): Promise<Results>;
  /** Runs it for some: names, or names with tensors to fill (or null). */
  run(
    feeds: Readonly<Record<string, FedTensor | WorkerTensor>>,
    fetches: readonly string[] | Readonly<Record<string, FedTensor | null>>,
    options?: WorkerRunOptions,
  ): Promise<Results>;
  async run(
    feeds: Readonly<Record<string, FedTensor | WorkerTensor>>,
    second: object = {},
    third?: WorkerRunOptions,
  ): Promise<Results> {
    if (this.#released) throw new SessionStateError('run: session, expected a live one, got one after release().');
    const isFetches =
      third !== undefined || Array.isArray(second) || this.outputNames.some((name) => Object.hasOwn(second, name));
    const targets = isFetches && !Array.isArray(second) ? (second as Record<string, FedTensor | null>) : {};
    const fetches = isFetches ? (Array.isArray(second) ? (second as string[]) : Object.keys(second)) : undefined;
    const { signal, transfer = false, ...options } = (isFetches ? third : (second as WorkerRunOptions)) ?? {};
    const moved = new Set<ArrayBuffer>();
    const sent = Object.fromEntries(
      Object.entries(feeds).map(([name, each]) => [name, this.#sent(name, each, transfer, moved)]),
    );
    const { results, report } = await this.#line.ask('run', { feeds: sent, fetches, options }, moved, signal);
    if (report) this.#report = report;
    return Object.fromEntries(
      Object.entries(results).map(([name, each]) => {
        const target = targets[name];
        if (target && each.data) fill(name, target, each);
        return [name, new WorkerTensor(target && each.data ? { ...each, data: target.data } : each, this.#keeper)];
      }),
    );
  }

  /** Gives back all memory, and ends the Worker. */
  release(): Promise<void> {
    this.#released ??= this.#release();
    return this.#released;
  }

  startProfiling(): void {
    this.#line.ask('profile', true).catch(() => {});
  }

  /** Ends a profile: in the report, once this resolves. */
  async endProfiling(): Promise<void> {
    this.#report = await this.#line.ask('profile', false);
  }

  async #release(): Promise<void> {
    this.#report = await this.#line.ask('release', undefined);
    this.#line.end(new SessionStateError('worker: session, expected a live one, got one after release().'));
  }

  #sent(name: string, tensor: FedTensor | WorkerTensor, isGiven: boolean, moved: Set<ArrayBuffer>): SentTensor {
    const { type, dims } = tensor ?? {};
    if (typeof type !== 'string' || !Array.isArray(dims))
      throw new TypeError(`run: feed '${name}', expected a tensor, got ${tensor === null ? 'null' : typeof tensor}.`);
    const kept = tensor instanceof WorkerTensor ? tensor.keptBy(this.#keeper, name) : undefined;
    return kept === undefined ? { type, dims, data: sentData(tensor.data, isGiven, moved) } : { type, dims, kept };
  }
}

function fill(name: string, target: FedTensor, { type, dims, data }: SentTensor): void {
  if (target.type !== type || `${target.dims}` !== `${dims}`)
    throw new RangeError(
      `run: output '${name}', expected a tensor of ${type} [${dims.join(', ')}] to fill, got ${target.type} [${target.dims.join(', ')}].`,
    );
  (target.data as Uint8Array).set(data as Uint8Array);
}

/** The providers without functions. */
function apart(providers: WorkerSessionOptions['executionProviders']) {
  let onProgress: ((progress: LoadProgress) => void) | undefined;
  const list = (providers?.length ? providers : ['msd']).map((entry) => {
    if (typeof entry === 'string' || !('onProgress' in entry)) return entry;
    const { onProgress: tell, ...rest } = entry;
    onProgress = tell;
    return rest;
  });
  return { providers: list, onProgress: onProgress ?? sharedState().configured.onProgress };
}

/** A Worker's own paths begin at its script. */
function absolute(path: string): string {
  const { document, location } = globalThis as { document?: { baseURI: string }; location?: { href: string } };
  const base = document?.baseURI ?? location?.href;
  return base === undefined ? path : new URL(path, base).href;
}

function beside(
  file: string | { readonly path: string; readonly data: string | Uint8Array },
  isGiven: boolean,
  moved: Set<ArrayBuffer>,
): object {
  const { path, data } = typeof file === 'string' ? { path: file, data: file } : file;
  return { path, data: typeof data === 'string' ? absolute(data) : sentData(data, isGiven, moved) };
}

/** Bytes to send. What is shared anyway is neither copied nor given away. */
function given(model: Uint8Array | ArrayBufferLike, isGiven: boolean, moved: Set<ArrayBuffer>): unknown {
  const bytes = ArrayBuffer.isView(model) ? model : new Uint8Array(model);
  return bytes.buffer instanceof ArrayBuffer ? sentData(bytes, isGiven, moved) : bytes;
}
