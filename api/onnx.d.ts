// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.


// @msd/onnx

export * from 'onnxruntime-web';

export declare class AbortError extends Error {
    readonly name = "AbortError";
}

export interface AbortSignalLike {
    readonly aborted: boolean;
    readonly reason?: unknown;
    addEventListener(type: 'abort', listener: () => void): void;
    removeEventListener(type: 'abort', listener: () => void): void;
}

export interface CopiedBytes {
    readonly intoOrt: number;
    readonly outOfOrt: number;
    readonly intoMsd: number;
    readonly outOfMsd: number;
}

export interface Expectation {
    readonly milliseconds: number;
    readonly measuredMilliseconds?: number;
    readonly unknownSteps: number;
    readonly steps: readonly ExpectedStep[];
    readonly why: string;
    readonly peaks: MachinePeaks;
}

export interface ExpectedStep {
    readonly nodes: readonly string[];
    readonly kernels: readonly string[];
    readonly microseconds: number;
    readonly measuredMicroseconds?: number;
    readonly why: string;
}

export type FloatFormat = 'int8' | 'int4';

export declare class ForeignRunError extends Error {
    readonly name = "ForeignRunError";
}

export declare const InferenceSession: MsdInferenceSessionFactory;
export type InferenceSession = MsdSession;

export interface LoadProgress {
    readonly phase: 'download' | 'start' | 'pack' | 'ready';
    readonly loadedBytes: number;
    readonly totalBytes: number | undefined;
    readonly memory?: MemoryEstimate | undefined;
}

export interface MemoryEstimate {
    readonly packedBytes: number;
    readonly kvBytesPerToken: number;
}

export type ModelWithSessions = {
    readonly sessions: object;
} | {
    readonly model: {
        readonly sessions: object;
    };
};

export interface MsdInferenceSessionFactory {
    create(path: string, options?: MsdSessionOptions): Promise<MsdSession>;
    create(bytes: Uint8Array | ArrayBufferLike, options?: MsdSessionOptions): Promise<MsdSession>;
    create(buffer: ArrayBufferLike, byteOffset: number, byteLength?: number, options?: MsdSessionOptions): Promise<MsdSession>;
    [Symbol.hasInstance](value: unknown): boolean;
}

export interface MsdOptions {
    readonly device?: 'wasm';
    readonly components?: 1 | 2;
    readonly activationBlock?: ActivationBlock;
    readonly kvCache?: 'int16' | 'int8' | 'model';
    readonly carrier?: CarrierChoice;
    readonly threads?: number | 'auto';
    readonly fallback?: readonly ('wasm' | 'cpu')[];
    readonly claim?: 'auto' | 'all';
    readonly quantize?: QuantizeOption;
    readonly relax?: boolean;
    readonly exact?: boolean;
    readonly debug?: boolean;
    readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
    readonly stallTimeoutMs?: number;
    readonly warm?: boolean;
}

export interface MsdProvider extends MsdOptions {
    readonly name: 'msd';
}

export interface MsdRunOptions {
    readonly signal?: AbortSignalLike;
    readonly terminate?: boolean;
}

export interface MsdSession extends ort.InferenceSession {
    readonly report: SessionReport | undefined;
    run(feeds: ort.InferenceSession.FeedsType, options?: AllRunOptions): Promise<ort.InferenceSession.ReturnType>;
    run(feeds: ort.InferenceSession.FeedsType, fetches: ort.InferenceSession.FetchesType, options?: AllRunOptions): Promise<ort.InferenceSession.ReturnType>;
}

export interface MsdSessionOptions extends Omit<ort.InferenceSession.SessionOptions, 'executionProviders'> {
    readonly executionProviders?: readonly (ort.InferenceSession.ExecutionProviderConfig | MsdProvider)[];
    readonly signal?: AbortSignalLike;
}

export interface NodeReport {
    readonly name: string;
    readonly opType: string;
    readonly domain: string;
    readonly where: 'msd' | 'ort';
    readonly kernel?: string;
    readonly reason?: string;
    readonly quantized?: RoundingError & {
        readonly format: FloatFormat;
    };
    readonly form?: string;
    readonly region: number;
    readonly inside?: string;
}

export declare class OnnxFormatError extends Error {
    readonly name = "OnnxFormatError";
}

export interface OrtBackend {
    init(backendName: string): Promise<void>;
    createInferenceSessionHandler(model: string | Uint8Array, options?: object): Promise<OrtHandler>;
}

export interface OrtHandler extends OrtSignature {
    run(feeds: Readonly<Record<string, OrtTensor>>, fetches: Readonly<Record<string, OrtTensor | null>>, options: OrtRunOptions): Promise<Record<string, OrtTensor>>;
    dispose(): Promise<void>;
}

export interface OrtMetadata {
    readonly name: string;
    readonly isTensor: boolean;
    readonly type?: string;
    readonly shape?: readonly (number | string)[];
}

export interface OrtModule {
    readonly InferenceSession: {
        create(model: never, options?: never): Promise<unknown>;
    };
    readonly Tensor: new (type: never, data: never, dims?: never) => unknown;
    registerBackend(name: string, backend: never, priority: number): void;
    readonly env: {
        readonly versions?: object;
        readonly wasm?: object;
    };
}

export interface OrtTensor {
    readonly type: string;
    readonly dims: readonly number[];
    readonly data: OrtData;
    readonly location: string;
    dispose?(): void;
}

export interface ProfileEvent {
    readonly cat: 'Session' | 'Node';
    readonly pid: number;
    readonly tid: number;
    readonly dur: number;
    readonly ts: number;
    readonly ph: 'X';
    readonly name: string;
    readonly args: Readonly<Record<string, unknown>>;
}

export type QuantizeOption = FloatFormat | false | {
    readonly [nameOrPattern: string]: FloatFormat | false;
};

export declare class ReadError extends Error {
    readonly name = "ReadError";
    readonly code?: string;
    constructor(message: string, options?: {
        readonly cause?: unknown;
    });
}

export interface RegionReport {
    readonly where: 'msd' | 'ort';
    readonly nodes: number;
    readonly session?: number;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly predictedMicroseconds?: {
        readonly msd?: number;
        readonly ort: number;
    };
}

export interface RoundingError {
    readonly relativeL2: number;
    readonly worstRow: number;
}

export interface SessionReport {
    readonly nodes: readonly NodeReport[];
    readonly regions: readonly RegionReport[];
    readonly foreignRunsPerCall: number;
    readonly branches?: readonly {
        readonly taken: readonly string[];
        readonly foreignRunsPerCall: number;
    }[];
    readonly foreignSessions: number;
    readonly bytesCopiedPerCall: CopiedBytes;
    readonly weights: {
        readonly fileBytes: number;
        readonly packedBytes: number;
    };
    readonly memory: MemoryReport;
    readonly plans?: number;
    readonly kvCache?: {
        readonly type: 'int16' | 'int8' | 'model';
        readonly byteLength: number;
    };
    readonly threads?: ThreadReport;
    readonly whole?: string;
    readonly ortVersion?: string;
    readonly graphOptimizationLevel?: string;
    readonly warmedMilliseconds?: number;
    readonly lastRunMilliseconds?: number;
    readonly expected?: Expectation;
    readonly profile?: readonly ProfileEvent[];
}

export declare class SessionStateError extends Error {
    readonly name = "SessionStateError";
}

export declare function configure(options: MsdOptions): void;

export declare function explain(session: object): Promise<SessionReport | undefined>;

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function register(ort: OrtModule, options?: MsdOptions): void;

export declare function registrationOf(ort: OrtModule): Registration;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/register

export declare class AbortError extends Error {
    readonly name = "AbortError";
}

export interface AbortSignalLike {
    readonly aborted: boolean;
    readonly reason?: unknown;
    addEventListener(type: 'abort', listener: () => void): void;
    removeEventListener(type: 'abort', listener: () => void): void;
}

export interface CopiedBytes {
    readonly intoOrt: number;
    readonly outOfOrt: number;
    readonly intoMsd: number;
    readonly outOfMsd: number;
}

export interface Expectation {
    readonly milliseconds: number;
    readonly measuredMilliseconds?: number;
    readonly unknownSteps: number;
    readonly steps: readonly ExpectedStep[];
    readonly why: string;
    readonly peaks: MachinePeaks;
}

export interface ExpectedStep {
    readonly nodes: readonly string[];
    readonly kernels: readonly string[];
    readonly microseconds: number;
    readonly measuredMicroseconds?: number;
    readonly why: string;
}

export type FloatFormat = 'int8' | 'int4';

export declare class ForeignRunError extends Error {
    readonly name = "ForeignRunError";
}

export interface LoadProgress {
    readonly phase: 'download' | 'start' | 'pack' | 'ready';
    readonly loadedBytes: number;
    readonly totalBytes: number | undefined;
    readonly memory?: MemoryEstimate | undefined;
}

export interface MemoryEstimate {
    readonly packedBytes: number;
    readonly kvBytesPerToken: number;
}

export type ModelWithSessions = {
    readonly sessions: object;
} | {
    readonly model: {
        readonly sessions: object;
    };
};

export interface MsdOptions {
    readonly device?: 'wasm';
    readonly components?: 1 | 2;
    readonly activationBlock?: ActivationBlock;
    readonly kvCache?: 'int16' | 'int8' | 'model';
    readonly carrier?: CarrierChoice;
    readonly threads?: number | 'auto';
    readonly fallback?: readonly ('wasm' | 'cpu')[];
    readonly claim?: 'auto' | 'all';
    readonly quantize?: QuantizeOption;
    readonly relax?: boolean;
    readonly exact?: boolean;
    readonly debug?: boolean;
    readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
    readonly stallTimeoutMs?: number;
    readonly warm?: boolean;
}

export interface MsdProvider extends MsdOptions {
    readonly name: 'msd';
}

export interface MsdRunOptions {
    readonly signal?: AbortSignalLike;
    readonly terminate?: boolean;
}

export interface NodeReport {
    readonly name: string;
    readonly opType: string;
    readonly domain: string;
    readonly where: 'msd' | 'ort';
    readonly kernel?: string;
    readonly reason?: string;
    readonly quantized?: RoundingError & {
        readonly format: FloatFormat;
    };
    readonly form?: string;
    readonly region: number;
    readonly inside?: string;
}

export declare class OnnxFormatError extends Error {
    readonly name = "OnnxFormatError";
}

export interface OrtBackend {
    init(backendName: string): Promise<void>;
    createInferenceSessionHandler(model: string | Uint8Array, options?: object): Promise<OrtHandler>;
}

export interface OrtHandler extends OrtSignature {
    run(feeds: Readonly<Record<string, OrtTensor>>, fetches: Readonly<Record<string, OrtTensor | null>>, options: OrtRunOptions): Promise<Record<string, OrtTensor>>;
    dispose(): Promise<void>;
}

export interface OrtMetadata {
    readonly name: string;
    readonly isTensor: boolean;
    readonly type?: string;
    readonly shape?: readonly (number | string)[];
}

export interface OrtModule {
    readonly InferenceSession: {
        create(model: never, options?: never): Promise<unknown>;
    };
    readonly Tensor: new (type: never, data: never, dims?: never) => unknown;
    registerBackend(name: string, backend: never, priority: number): void;
    readonly env: {
        readonly versions?: object;
        readonly wasm?: object;
    };
}

export interface OrtTensor {
    readonly type: string;
    readonly dims: readonly number[];
    readonly data: OrtData;
    readonly location: string;
    dispose?(): void;
}

export interface ProfileEvent {
    readonly cat: 'Session' | 'Node';
    readonly pid: number;
    readonly tid: number;
    readonly dur: number;
    readonly ts: number;
    readonly ph: 'X';
    readonly name: string;
    readonly args: Readonly<Record<string, unknown>>;
}

export type QuantizeOption = FloatFormat | false | {
    readonly [nameOrPattern: string]: FloatFormat | false;
};

export declare class ReadError extends Error {
    readonly name = "ReadError";
    readonly code?: string;
    constructor(message: string, options?: {
        readonly cause?: unknown;
    });
}

export interface RegionReport {
    readonly where: 'msd' | 'ort';
    readonly nodes: number;
    readonly session?: number;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly predictedMicroseconds?: {
        readonly msd?: number;
        readonly ort: number;
    };
}

export interface RoundingError {
    readonly relativeL2: number;
    readonly worstRow: number;
}

export interface SessionReport {
    readonly nodes: readonly NodeReport[];
    readonly regions: readonly RegionReport[];
    readonly foreignRunsPerCall: number;
    readonly branches?: readonly {
        readonly taken: readonly string[];
        readonly foreignRunsPerCall: number;
    }[];
    readonly foreignSessions: number;
    readonly bytesCopiedPerCall: CopiedBytes;
    readonly weights: {
        readonly fileBytes: number;
        readonly packedBytes: number;
    };
    readonly memory: MemoryReport;
    readonly plans?: number;
    readonly kvCache?: {
        readonly type: 'int16' | 'int8' | 'model';
        readonly byteLength: number;
    };
    readonly threads?: ThreadReport;
    readonly whole?: string;
    readonly ortVersion?: string;
    readonly graphOptimizationLevel?: string;
    readonly warmedMilliseconds?: number;
    readonly lastRunMilliseconds?: number;
    readonly expected?: Expectation;
    readonly profile?: readonly ProfileEvent[];
}

export declare class SessionStateError extends Error {
    readonly name = "SessionStateError";
}

export declare function configure(options: MsdOptions): void;

export declare function explain(session: object): Promise<SessionReport | undefined>;

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function register(ort: OrtModule, options?: MsdOptions): void;

export declare function registrationOf(ort: OrtModule): Registration;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/inspect

export interface InspectOptions {
    readonly msd?: MsdOptions | undefined;
    readonly externalData?: readonly {
        readonly path: string;
        readonly data: string | Uint8Array;
    }[] | undefined;
    readonly headers?: Readonly<Record<string, string>> | undefined;
    readonly signal?: AbortSignalLike | undefined;
    readonly timeoutMs?: number | undefined;
    readonly maxBytes?: number | undefined;
    readonly onBytes?: ((count: number) => void) | undefined;
    readonly mayDownload?: ((url: string, byteLength: number | undefined) => boolean | Promise<boolean>) | undefined;
}

export interface InspectedValue {
    readonly name: string;
    readonly type: string;
    readonly dims: readonly Dim[] | undefined;
    readonly rows?: number | undefined;
}

export interface Inspection {
    readonly inputs: readonly InspectedValue[];
    readonly outputs: readonly InspectedValue[];
    readonly opsets: Readonly<Record<string, number>>;
    readonly nodes: readonly NodeReport[];
    readonly regions: readonly RegionReport[];
    readonly whole: string | undefined;
    readonly foreignRunsPerCall: number;
    readonly bytes: {
        readonly file: number;
        readonly weights: Readonly<Record<string, number>>;
        readonly packed: number;
        readonly tables: number;
        readonly ort: number;
        readonly kvPerToken: number;
    };
    readonly readBytes: number;
    readonly isCut: boolean;
    work(sizeOf: SizeOf): readonly Work[];
    standIn(): {
        readonly model: Uint8Array;
        readonly externalData: {
            readonly path: string;
            readonly data: Uint8Array;
        }[];
    };
    close(): void;
}

export interface OperatorWork {
    readonly operator: string;
    readonly macs: number;
    readonly msdMacs: number;
}

export declare const PRICED_MACHINE: MachinePeaks;

export interface Products extends PackedProduct {
    readonly count: number;
}

export type SizeOf = (input: string, axis: number, name: string) => number;

export interface Work extends ClaimedWork {
    readonly taken: readonly string[];
    readonly macs: number;
    readonly msdMacs: number;
    readonly operators: readonly OperatorWork[];
    readonly predictedMicroseconds: {
        readonly msd: number;
        readonly ort: number;
        readonly rest: number;
    };
}

export interface WorkAttention extends CachedAttention {
    readonly count: number;
}

export interface WorkStep extends StepWork {
    readonly count: number;
}

export declare function inspectModel(model: string | Uint8Array, options?: InspectOptions): Promise<Inspection>;


// @msd/onnx/transformers

export declare class AbortError extends Error {
    readonly name = "AbortError";
}

export interface AbortSignalLike {
    readonly aborted: boolean;
    readonly reason?: unknown;
    addEventListener(type: 'abort', listener: () => void): void;
    removeEventListener(type: 'abort', listener: () => void): void;
}

export interface CopiedBytes {
    readonly intoOrt: number;
    readonly outOfOrt: number;
    readonly intoMsd: number;
    readonly outOfMsd: number;
}

export interface Expectation {
    readonly milliseconds: number;
    readonly measuredMilliseconds?: number;
    readonly unknownSteps: number;
    readonly steps: readonly ExpectedStep[];
    readonly why: string;
    readonly peaks: MachinePeaks;
}

export interface ExpectedStep {
    readonly nodes: readonly string[];
    readonly kernels: readonly string[];
    readonly microseconds: number;
    readonly measuredMicroseconds?: number;
    readonly why: string;
}

export type FloatFormat = 'int8' | 'int4';

export declare class ForeignRunError extends Error {
    readonly name = "ForeignRunError";
}

export interface LoadProgress {
    readonly phase: 'download' | 'start' | 'pack' | 'ready';
    readonly loadedBytes: number;
    readonly totalBytes: number | undefined;
    readonly memory?: MemoryEstimate | undefined;
}

export interface MemoryEstimate {
    readonly packedBytes: number;
    readonly kvBytesPerToken: number;
}

export type ModelWithSessions = {
    readonly sessions: object;
} | {
    readonly model: {
        readonly sessions: object;
    };
};

export interface MsdOptions {
    readonly device?: 'wasm';
    readonly components?: 1 | 2;
    readonly activationBlock?: ActivationBlock;
    readonly kvCache?: 'int16' | 'int8' | 'model';
    readonly carrier?: CarrierChoice;
    readonly threads?: number | 'auto';
    readonly fallback?: readonly ('wasm' | 'cpu')[];
    readonly claim?: 'auto' | 'all';
    readonly quantize?: QuantizeOption;
    readonly relax?: boolean;
    readonly exact?: boolean;
    readonly debug?: boolean;
    readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
    readonly stallTimeoutMs?: number;
    readonly warm?: boolean;
}

export interface MsdProvider extends MsdOptions {
    readonly name: 'msd';
}

export interface MsdRunOptions {
    readonly signal?: AbortSignalLike;
    readonly terminate?: boolean;
}

export interface NodeReport {
    readonly name: string;
    readonly opType: string;
    readonly domain: string;
    readonly where: 'msd' | 'ort';
    readonly kernel?: string;
    readonly reason?: string;
    readonly quantized?: RoundingError & {
        readonly format: FloatFormat;
    };
    readonly form?: string;
    readonly region: number;
    readonly inside?: string;
}

export declare class OnnxFormatError extends Error {
    readonly name = "OnnxFormatError";
}

export interface OrtBackend {
    init(backendName: string): Promise<void>;
    createInferenceSessionHandler(model: string | Uint8Array, options?: object): Promise<OrtHandler>;
}

export interface OrtHandler extends OrtSignature {
    run(feeds: Readonly<Record<string, OrtTensor>>, fetches: Readonly<Record<string, OrtTensor | null>>, options: OrtRunOptions): Promise<Record<string, OrtTensor>>;
    dispose(): Promise<void>;
}

export interface OrtMetadata {
    readonly name: string;
    readonly isTensor: boolean;
    readonly type?: string;
    readonly shape?: readonly (number | string)[];
}

export interface OrtModule {
    readonly InferenceSession: {
        create(model: never, options?: never): Promise<unknown>;
    };
    readonly Tensor: new (type: never, data: never, dims?: never) => unknown;
    registerBackend(name: string, backend: never, priority: number): void;
    readonly env: {
        readonly versions?: object;
        readonly wasm?: object;
    };
}

export interface OrtTensor {
    readonly type: string;
    readonly dims: readonly number[];
    readonly data: OrtData;
    readonly location: string;
    dispose?(): void;
}

export interface ProfileEvent {
    readonly cat: 'Session' | 'Node';
    readonly pid: number;
    readonly tid: number;
    readonly dur: number;
    readonly ts: number;
    readonly ph: 'X';
    readonly name: string;
    readonly args: Readonly<Record<string, unknown>>;
}

export type QuantizeOption = FloatFormat | false | {
    readonly [nameOrPattern: string]: FloatFormat | false;
};

export declare class ReadError extends Error {
    readonly name = "ReadError";
    readonly code?: string;
    constructor(message: string, options?: {
        readonly cause?: unknown;
    });
}

export interface RegionReport {
    readonly where: 'msd' | 'ort';
    readonly nodes: number;
    readonly session?: number;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly predictedMicroseconds?: {
        readonly msd?: number;
        readonly ort: number;
    };
}

export interface RoundingError {
    readonly relativeL2: number;
    readonly worstRow: number;
}

export interface SessionReport {
    readonly nodes: readonly NodeReport[];
    readonly regions: readonly RegionReport[];
    readonly foreignRunsPerCall: number;
    readonly branches?: readonly {
        readonly taken: readonly string[];
        readonly foreignRunsPerCall: number;
    }[];
    readonly foreignSessions: number;
    readonly bytesCopiedPerCall: CopiedBytes;
    readonly weights: {
        readonly fileBytes: number;
        readonly packedBytes: number;
    };
    readonly memory: MemoryReport;
    readonly plans?: number;
    readonly kvCache?: {
        readonly type: 'int16' | 'int8' | 'model';
        readonly byteLength: number;
    };
    readonly threads?: ThreadReport;
    readonly whole?: string;
    readonly ortVersion?: string;
    readonly graphOptimizationLevel?: string;
    readonly warmedMilliseconds?: number;
    readonly lastRunMilliseconds?: number;
    readonly expected?: Expectation;
    readonly profile?: readonly ProfileEvent[];
}

export declare class SessionStateError extends Error {
    readonly name = "SessionStateError";
}

export declare function configure(options: MsdOptions): void;

export declare function explain(session: object): Promise<SessionReport | undefined>;

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function register(ort: OrtModule, options?: MsdOptions): void;

export declare function registrationOf(ort: OrtModule): Registration;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/ort-web

export * from '#ort';

export declare function configure(options: MsdOptions): void;

export { default } from '#ort';

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/ort-web/webgpu

export * from '#ort/webgpu';

export declare function configure(options: MsdOptions): void;

export { default } from '#ort/webgpu';

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/ort-web/wasm

export * from '#ort/wasm';

export declare function configure(options: MsdOptions): void;

export { default } from '#ort/wasm';

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/ort-web/all

export * from '#ort/all';

export declare function configure(options: MsdOptions): void;

export { default } from '#ort/all';

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/vite

export interface MsdVitePlugin {
    readonly name: string;
    readonly enforce: 'pre';
    config(): {
        resolve: {
            alias: Alias[];
        };
        optimizeDeps: {
            exclude: string[];
        };
    };
    configResolved(config: {
        readonly command: 'build' | 'serve';
        readonly logger: {
            info(message: string): void;
        };
    }): void;
}

export interface MsdVitePluginOptions {
    readonly cpuOnly?: boolean;
}

export default function msd({ cpuOnly }?: MsdVitePluginOptions): MsdVitePlugin;


// @msd/onnx/turbopack

export default function msd(source: string): string;


// @msd/onnx/worker

export { type AnyWorker } from 'undefined';

export interface FedTensor {
    readonly type: string;
    readonly dims: readonly number[];
    readonly data: OrtData;
}

export interface MsdProvider extends MsdOptions {
    readonly name: 'msd';
}

export interface SessionReport {
    readonly nodes: readonly NodeReport[];
    readonly regions: readonly RegionReport[];
    readonly foreignRunsPerCall: number;
    readonly branches?: readonly {
        readonly taken: readonly string[];
        readonly foreignRunsPerCall: number;
    }[];
    readonly foreignSessions: number;
    readonly bytesCopiedPerCall: CopiedBytes;
    readonly weights: {
        readonly fileBytes: number;
        readonly packedBytes: number;
    };
    readonly memory: MemoryReport;
    readonly plans?: number;
    readonly kvCache?: {
        readonly type: 'int16' | 'int8' | 'model';
        readonly byteLength: number;
    };
    readonly threads?: ThreadReport;
    readonly whole?: string;
    readonly ortVersion?: string;
    readonly graphOptimizationLevel?: string;
    readonly warmedMilliseconds?: number;
    readonly lastRunMilliseconds?: number;
    readonly expected?: Expectation;
    readonly profile?: readonly ProfileEvent[];
}

export interface WorkerRunOptions {
    readonly signal?: AbortSignal;
    readonly transfer?: boolean;
    readonly [option: string]: unknown;
}

export declare class WorkerSession {
    #private;
    readonly inputNames: readonly string[];
    readonly outputNames: readonly string[];
    readonly inputMetadata: readonly OrtMetadata[];
    readonly outputMetadata: readonly OrtMetadata[];
    constructor({ report, ...signature }: Signature, line: Line);
    get report(): SessionReport | undefined;
    get handler(): {
        readonly report: SessionReport | undefined;
        explain(): Promise<SessionReport | undefined>;
    };
    refreshReport(): Promise<SessionReport | undefined>;
    run(feeds: Readonly<Record<string, FedTensor | WorkerTensor>>, options?: WorkerRunOptions): Promise<Results>;
    run(feeds: Readonly<Record<string, FedTensor | WorkerTensor>>, fetches: readonly string[] | Readonly<Record<string, FedTensor | null>>, options?: WorkerRunOptions): Promise<Results>;
    release(): Promise<void>;
    startProfiling(): void;
    endProfiling(): Promise<void>;
}

export interface WorkerSessionOptions {
    readonly executionProviders?: readonly (string | MsdProvider | {
        readonly name: string;
    })[];
    readonly externalData?: readonly (string | {
        readonly path: string;
        readonly data: string | Uint8Array;
    })[];
    readonly signal?: AbortSignal;
    readonly transfer?: boolean;
    readonly keep?: readonly string[];
    readonly wasm?: object;
    readonly worker?: () => AnyWorker;
    readonly [option: string]: unknown;
}

export { WorkerTensor } from 'undefined';

export declare function createSession(model: string | Uint8Array | ArrayBufferLike, { signal, transfer, keep, wasm, worker, ...options }?: WorkerSessionOptions): Promise<WorkerSession>;

export declare function explain(session: object): Promise<SessionReport | undefined>;

export declare function formatReport(report: SessionReport | Readonly<Record<string, SessionReport>> | undefined): string;

export declare function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
export declare function reportOf(session: object): SessionReport | undefined;


// @msd/onnx/worker/thread


// @msd/onnx/model

export type Attribute = {
    readonly kind: 'float';
    readonly value: number;
} | {
    readonly kind: 'int';
    readonly value: number;
} | {
    readonly kind: 'string';
    readonly value: ByteRange;
} | {
    readonly kind: 'tensor';
    readonly value: TensorRef;
} | {
    readonly kind: 'floats';
    readonly value: readonly number[];
} | {
    readonly kind: 'ints';
    readonly value: readonly number[];
} | {
    readonly kind: 'strings';
    readonly value: readonly ByteRange[];
} | {
    readonly kind: 'graph';
    readonly value: ByteRange;
    readonly constants: readonly TensorRef[] | undefined;
} | {
    readonly kind: 'reference';
    readonly value: string;
} | {
    readonly kind: 'other';
};

export interface ByteRange {
    readonly source: ByteSource;
    readonly offset: number;
    readonly length: number;
}

export interface ByteSource {
    readonly name: string;
    readonly byteLength: number;
    readonly bytes?: Uint8Array;
    readonly isOwn?: boolean;
    readonly arriving?: Arriving;
    readonly of?: readonly ByteSource[];
    readonly descriptor?: number;
    read(offset: number, length: number, into?: Uint8Array): Uint8Array;
    here?(offset: number, most: number): number;
    close(): void;
}

export type Dim = number | string | null;

export declare const FLOAT16 = 10;

export declare const FLOAT32 = 1;

export interface Field {
    readonly field: number;
    readonly whole: ByteRange;
    readonly payload: ByteRange | undefined;
}

export type FloatMatrix = Pick<Floats, 'N' | 'K' | 'tensor' | 'isTransposed'>;

export interface GraphRecord {
    readonly name: string;
    readonly nodes: readonly NodeRecord[];
    readonly initializers: readonly TensorRef[];
    readonly sparse: readonly SparseRef[];
    readonly inputs: readonly ValueInfo[];
    readonly outputs: readonly ValueInfo[];
    readonly valueInfo: readonly ValueInfo[];
}

export declare const INT64 = 7;

export declare const INT8 = 3;

export declare class Message {
    #private;
    byteLength: number;
    int(field: number, value: number | bigint): this;
    float(field: number, value: number): this;
    string(field: number, value: string): this;
    ints(field: number, values: readonly (number | bigint)[]): this;
    floats(field: number, values: readonly number[]): this;
    bytes(field: number, value: Part): this;
    message(field: number, value: Message): this;
    raw(value: Part): this;
    parts(): readonly Part[];
    finish(): Uint8Array<ArrayBuffer>;
}

export interface ModelRecord {
    readonly source: ByteSource;
    readonly irVersion: number;
    readonly opsets: ReadonlyMap<string, number>;
    readonly functions: readonly FunctionRecord[];
    readonly graph: GraphRecord;
    readonly files: ExternalFiles;
}

export interface NodeRecord {
    readonly name: string;
    readonly opType: string;
    readonly domain: string;
    readonly overload: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly attributes: ReadonlyMap<string, Attribute>;
    readonly attributeRanges: readonly ByteRange[];
    readonly range: ByteRange;
    readonly isEdited?: boolean;
    readonly captured?: ReadonlyMap<string, string>;
    readonly inside?: string;
    readonly captures: readonly string[];
    readonly externalInside: boolean;
    readonly referencesInside: boolean;
    readonly operatorsInside: readonly string[];
}

export declare class OnnxFormatError extends Error {
    readonly name = "OnnxFormatError";
}

export type Part = Uint8Array | ByteRange;

export declare class ReadError extends Error {
    readonly name = "ReadError";
    readonly code?: string;
    constructor(message: string, options?: {
        readonly cause?: unknown;
    });
}

export type ReadFloats = (n: number, count: number, out: Float32Array) => void;

export type ReadNumbers = (begin: number, count: number) => ArrayLike<number>;

export interface TensorRef {
    readonly name: string;
    readonly elemType: number;
    readonly dims: readonly number[];
    readonly storage: TensorStorage;
    readonly proto: ByteRange;
}

export type TensorStorage = {
    readonly kind: 'raw';
    readonly range: ByteRange;
} | {
    readonly kind: 'typed';
} | {
    readonly kind: 'external';
    readonly files: ExternalFiles;
    readonly location: string;
    readonly offset: number;
    readonly length: number | undefined;
};

export declare const UINT8 = 2;

export interface ValueInfo {
    readonly name: string;
    readonly type: ValueType;
}

export interface ValueType {
    readonly kind: 'tensor' | 'sequence' | 'map' | 'optional' | 'sparse' | 'opaque' | 'unknown';
    readonly elemType: number;
    readonly dims: readonly Dim[] | undefined;
}

export declare function adviceOnStatus(status: number): string;

export declare function bytesSource(given: Uint8Array, name?: string, isOwn?: boolean): ByteSource;

export declare function dataTypeBits(code: number): number | undefined;

export declare function dataTypeCode(name: string): number | undefined;

export declare function dataTypeName(code: number): string;

export declare function elementCount(tensor: TensorType): number;

export declare function fieldsOf(range: ByteRange, label: string): Generator<Field>;

export declare function floatReader(tensor: TensorRef): (first: number, count: number) => Float32Array;

export declare const floatRows: (matrix: FloatMatrix) => ReadFloats;

export { floatsOfFp16 as floatsOfHalves } from '@msd/core';

export { fp16Bits as halfBitsOf } from '@msd/core';

export declare function matches(pattern: string): (name: string) => boolean;

export declare function nodeMessage(node: NodeSpec): Message;

export declare function numbersReader(tensor: TensorRef): ReadNumbers | undefined;

export declare function openExternal({ sources }: ExternalFiles, locations: Iterable<string>, model: string | Uint8Array, externalData?: readonly ExternalData[], download?: Download): Promise<void>;

export declare function openSource(model: string | Uint8Array, download?: Download): Promise<ByteSource>;

export declare function readModel(source: ByteSource): ModelRecord;

export declare function readRange(range: ByteRange, into?: Uint8Array): Uint8Array;

export declare function readSubgraph(range: ByteRange, files: ExternalFiles): GraphRecord;

export declare function siblingOf(model: string | Uint8Array, location: string): string | undefined;

export declare function tensorByteLength(tensor: TensorType): number;

export declare function tensorBytes(tensor: TensorRef, into?: Uint8Array): Uint8Array;

export declare function tensorRange(tensor: TensorRef): ByteRange | undefined;

export declare function valueMessage(value: ValueSpec): Message;


// @msd/onnx/write

export type AttributeSpec = {
    readonly int: number | bigint;
} | {
    readonly float: number;
} | {
    readonly string: string;
} | {
    readonly tensor: TensorSpec;
} | {
    readonly graph: GraphSpec;
} | {
    readonly ints: readonly (number | bigint)[];
} | {
    readonly floats: readonly number[];
} | {
    readonly strings: readonly string[];
}
 | {
    readonly reference: string;
    readonly type: number;
};

export type DataTypeName = 'float32' | 'uint8' | 'int8' | 'uint16' | 'int16' | 'int32' | 'int64' | 'string' | 'bool' | 'float16' | 'float64' | 'uint32' | 'uint64' | 'uint4' | 'int4';

export interface EncodedSpec {
    readonly encoded: Message | ByteRange | Uint8Array;
}

export interface FunctionSpec {
    readonly name: string;
    readonly domain: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly attributes?: readonly string[];
    readonly defaults?: Readonly<Record<string, AttributeSpec>>;
    readonly nodes: readonly (NodeSpec | EncodedSpec)[];
    readonly opsets: Readonly<Record<string, number>>;
}

export interface GraphSpec {
    readonly name?: string;
    readonly nodes: readonly (NodeSpec | EncodedSpec)[];
    readonly initializers?: readonly (TensorSpec | EncodedSpec)[];
    readonly inputs: readonly ValueSpec[];
    readonly outputs: readonly ValueSpec[];
}

export interface ModelSpec {
    readonly irVersion?: number;
    readonly opsets?: Readonly<Record<string, number>>;
    readonly producer?: string;
    readonly graph: GraphSpec;
    readonly functions?: readonly (FunctionSpec | EncodedSpec)[];
}

export interface NodeSpec {
    readonly opType: string;
    readonly domain?: string;
    readonly name?: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly attributes?: Readonly<Record<string, AttributeSpec>>;
}

export interface TensorSpec {
    readonly name: string;
    readonly dtype: Exclude<DataTypeName, 'string'>;
    readonly dims: readonly number[];
    readonly data: ArrayBufferView | ByteRange;
}

export interface ValueSpec {
    readonly name: string;
    readonly dtype?: DataTypeName;
    readonly dims?: readonly (number | string | null)[];
}

export declare function writeModel(model: ModelSpec): Uint8Array<ArrayBuffer>;
