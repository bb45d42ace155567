/**
 * The parts of ONNX Runtime's JavaScript surface that are used, as structural types: every module of the family
 * (onnxruntime-web and its entries, onnxruntime-common) fits, and none has to be installed to read these declarations.
 */
/** Data of a tensor on the CPU. */
export type OrtData = ArrayBufferView | readonly string[];

/** A tensor of the caller's module. */
export interface OrtTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: OrtData;
  readonly location: string;
  dispose?(): void;
}

/** Name, type and shape of a model input or output. */
export interface OrtMetadata {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type?: string;
  readonly shape?: readonly (number | string)[];
}

/** Options of a run, passed on to foreign regions. */
export type OrtRunOptions = object;

/** Tensors by name. */
export type OrtFeeds = Readonly<Record<string, OrtTensor>>;

/** What a session says of its model, on both sides of ONNX Runtime's interface. */
interface OrtSignature {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  startProfiling(): void;
  endProfiling(): void;
}

/** An inference session of the module. */
interface StockSession extends OrtSignature {
  run(feeds: OrtFeeds, fetches?: readonly string[], options?: OrtRunOptions): Promise<OrtFeeds>;
  release(): Promise<void>;
}

/** The same, in turn with everything else that the module does for MSD. */
export interface OrtSession extends OrtSignature {
  /** @param feeds called when it is this run's turn */
  run(feeds: () => OrtFeeds, fetches: readonly string[], options?: OrtRunOptions): Promise<OrtFeeds>;
  release(): Promise<void>;
}

/** What the module calls to run a session that MSD created. */
export interface OrtHandler extends OrtSignature {
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>>;
  dispose(): Promise<void>;
}

/** A backend as `registerBackend` takes it. */
export interface OrtBackend {
  init(backendName: string): Promise<void>;
  createInferenceSessionHandler(model: string | Uint8Array, options?: object): Promise<OrtHandler>;
}

/**
 * A module of the ONNX Runtime family, as `register` takes it. The parameters are `never` so that every module's own, far
 * wider types are assignable.
 */
export interface OrtModule {
  readonly InferenceSession: { create(model: never, options?: never): Promise<unknown> };
  readonly Tensor: new (type: never, data: never, dims?: never) => unknown;
  registerBackend(name: string, backend: never, priority: number): void;
  readonly env: { readonly versions?: object; readonly wasm?: object };
}

/** The same module, as it is called. */
interface CallableModule {
  readonly InferenceSession: { create(model: string | Uint8Array, options: object): Promise<StockSession> };
  readonly Tensor: new (type: string, data: OrtData, dims: readonly number[]) => OrtTensor;
  registerBackend(name: string, backend: OrtBackend, priority: number): void;
}

/** The module, to be called. */
export function callable(ort: OrtModule): CallableModule {
  return ort as unknown as CallableModule;
}

/** The module's own class of tensors. */
export function tensorClass(ort: OrtModule): new (type: string, data: OrtData, dims: readonly number[]) => OrtTensor {
  return callable(ort).Tensor;
}

/** A tensor of it. */
export function createOrtTensor(ort: OrtModule, type: string, data: OrtData, dims: readonly number[]): OrtTensor {
  return new (tensorClass(ort))(type, data, dims);
}

/** The module with its own class of sessions, which wraps what a backend makes. */
export interface StockModule extends OrtModule {
  readonly Session: unknown;
}

/** A handler as its caller runs it: through a session of the module, where there is its class. */
export function asSession(ort: OrtModule, handler: OrtHandler): { run(feeds: OrtFeeds): Promise<OrtFeeds> } {
  const { Session } = ort as Partial<StockModule>;
  let session: Partial<StockSession> | undefined;
  try {
    session = new (Session as new (handler: OrtHandler) => Partial<StockSession>)(handler);
  } catch {
    // No class, or a wrapper's own, which is made of something else.
  }
  if (typeof session?.run === 'function') return session as StockSession;
  const fetches = Object.fromEntries(handler.outputNames.map((name) => [name, null]));
  return { run: (feeds) => handler.run(feeds, fetches, {}) };
}

/** Registers a backend with the module. */
export function registerOrtBackend(ort: OrtModule, name: string, backend: OrtBackend, priority: number): void {
  callable(ort).registerBackend(name, backend, priority);
}

/** True when the module runs in a worker of its own (`env.wasm.proxy`): it then takes the buffers of inputs away. */
export function usesProxy(ort: OrtModule): boolean {
  return (ort.env.wasm as { readonly proxy?: boolean } | undefined)?.proxy === true;
}

interface Versions {
  readonly web?: string;
  readonly node?: string;
  readonly common?: string;
}

/** The module's version, `undefined` where it does not say. */
export function ortVersion(ort: OrtModule): string | undefined {
  const versions = ort.env.versions as Versions | undefined;
  return versions?.web ?? versions?.node ?? versions?.common;
}

/** Native code, as in onnxruntime-node: it takes no views of shared memory, and reads what it is fed after other code had its turn. */
export function isNative(ort: OrtModule): boolean {
  const versions = ort.env.versions as Versions | undefined;
  return versions?.web === undefined && versions?.node !== undefined;
}

/** What the module calls its provider on the CPU. */
export function cpuProvider(ort: OrtModule): 'wasm' | 'cpu' {
  return isNative(ort) ? 'cpu' : 'wasm';
}
