// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.


// @msd/tfjs

export interface AccelerateOptions extends ModelOptions {
    readonly restorable?: boolean | undefined;
}

export interface Accelerated {
    readonly report: ModelReport;
    restore(): Promise<void>;
}

export interface Accuracy {
    readonly error: number;
    readonly input: Worst;
    readonly output: Worst;
    readonly lost: Worst;
    readonly measured?: number;
}

export type Activation = 'linear' | 'relu' | 'relu6' | 'elu' | 'sigmoid' | 'tanh';

export type Activations = Readonly<Record<string, Tensor>>;

export interface ArithmeticOptions {
    readonly components?: 1 | 2 | undefined;
    readonly activationBlock?: ActivationBlock | undefined;
}

export interface AttentionOptions {
    readonly scale?: number | undefined;
    readonly causal?: boolean | undefined;
    readonly window?: number | undefined;
    readonly softcap?: number | undefined;
    readonly bias?: Tensor | undefined;
    readonly mask?: Tensor | undefined;
    readonly sinks?: Tensor | undefined;
    readonly layout?: 'heads' | 'rows' | undefined;
    readonly cache?: KvCache | undefined;
    readonly type?: KvType | undefined;
}

export declare class DisposedError extends Error {
    readonly name = "DisposedError";
}

export declare class KvCache {
    constructor(options: KvCacheOptions);
    get lengths(): readonly number[];
    get length(): number;
    get byteLength(): number;
    bytesFor(keys: number): number;
    reserve(keys: number): void;
    append(k: Tensor, v: Tensor): void;
    keys(): Tensor;
    values(): Tensor;
    truncate(length: number | readonly number[]): void;
    reset(): void;
    branch(): KvCache;
    reorder(order: readonly number[]): void;
    get isDisposed(): boolean;
    dispose(): void;
}

export interface KvCacheOptions {
    readonly batch?: number | undefined;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly valueSize?: number | undefined;
    readonly type?: KvType | undefined;
}

export interface LoadModelOptions extends ModelOptions, io.LoadOptions {
    readonly loadOptions?: io.LoadOptions | undefined;
}

export interface MatMulOptions extends ArithmeticOptions {
    readonly bias?: Tensor | undefined;
    readonly activation?: Activation | undefined;
}

export interface MatrixSpec extends MatrixRows {
    readonly batchShape: readonly number[];
    readonly powers?: readonly number[] | undefined;
}

export declare class ModelFormatError extends Error {
    readonly name = "ModelFormatError";
    constructor(message: string, options?: ErrorOptions);
}

export interface ModelOptions {
    readonly format?: FormatId | undefined;
    readonly blockSize?: number | null | undefined;
    readonly convolutions?: boolean | 'auto' | undefined;
    readonly tables?: boolean | undefined;
    readonly fuse?: boolean | undefined;
    readonly minElements?: number | undefined;
    readonly attention?: KvType | false | undefined;
    readonly keepTrainable?: boolean | undefined;
    readonly activations?: Activations | undefined;
}

export interface ModelReport {
    readonly nodes: readonly NodeReport[];
    readonly stockBytes: number;
    readonly weightBytes: number;
    readonly peakBytes?: number;
}

export interface MsdHandler extends io.IOHandler {
    load(): Promise<io.ModelArtifacts>;
    readonly report: ModelReport | undefined;
}

export interface NodeReport {
    readonly name: string;
    readonly op: string;
    readonly where: 'msd' | 'tfjs';
    readonly reason?: string;
    readonly bytes?: number;
    readonly msdOp?: string;
    readonly fused?: readonly string[];
    readonly weights?: MatMulInputsReport;
    readonly predictedGain?: number;
    readonly more?: readonly MatMulInputsReport[];
}

export interface QuantizationError extends Accuracy {
    readonly reason?: string;
}

export interface QuantizationErrorOptions {
    readonly transpose?: boolean | undefined;
    readonly activations?: Tensor | undefined;
}

export interface QuantizeTensorOptions {
    readonly format?: FormatId | undefined;
    readonly blockSize?: number | null | undefined;
    readonly asymmetric?: boolean | undefined;
    readonly scale?: 'f32' | 'f16' | undefined;
    readonly transpose?: boolean | undefined;
    readonly use?: 'matMul' | 'gather' | undefined;
}

export type QuantizedSpec = MatrixSpec | TableSpec;

export declare class QuantizedTensor {
    readonly packed: Tensor;
    readonly spec: QuantizedSpec;
    constructor(packed: Tensor, spec: QuantizedSpec);
    get shape(): number[];
    get byteLength(): number;
    get isDisposed(): boolean;
    dispose(): void;
    toString(): string;
}

export interface RegisterOptions extends ArithmeticOptions {
    readonly override?: boolean | undefined;
    readonly converter?: ConverterNamespace | undefined;
    readonly layers?: LayersNamespace | undefined;
}

export interface Status {
    readonly backend: string;
    readonly weights: 'tfjs heap' | 'copied per call' | 'webgpu pass' | 'dequantized';
    readonly dequantizedBytes: number;
}

export type TableSpec = TableRows;

export type TfNamespace = typeof tfc;

export interface Worst {
    readonly index: number;
    readonly error: number;
}

export declare function accelerate(model: GraphModel | LayersModel, options?: AccelerateOptions): Promise<Accelerated>;

export declare function attention(q: Tensor, k: Tensor | null, v: Tensor | null, options?: AttentionOptions): Tensor;

export declare function formatReport(report: ModelReport | undefined): string;

export declare function gather(w: QuantizedTensor, indices: Tensor): Tensor;

export declare function graphModelHandler(source: string | io.IOHandler, options?: LoadModelOptions): Promise<MsdHandler>;

export declare function layersModelHandler(source: string | io.IOHandler, options?: LoadModelOptions): Promise<MsdHandler>;

export declare function loadGraphModel(source: string | io.IOHandler, options?: LoadModelOptions): Promise<GraphModel>;

export declare function loadLayersModel(source: string | io.IOHandler, options?: LoadModelOptions): Promise<LayersModel>;

export declare function matMul(x: Tensor, w: QuantizedTensor, options?: MatMulOptions): Tensor;

export declare function quantizationError(w: QuantizedTensor, tensor: Tensor, options?: QuantizationErrorOptions): Promise<QuantizationError>;

export declare function quantize(tensor: Tensor, options?: QuantizeTensorOptions): QuantizedTensor;

export declare function quantizeAsync(tensor: Tensor, options?: QuantizeTensorOptions): Promise<QuantizedTensor>;

export declare function quantizedTensor(packed: Tensor, spec: QuantizedSpec): QuantizedTensor;

export declare function ready(): Promise<Status>;

export declare function recordActivations(model: GraphModel | LayersModel, inputs: Tensor | Tensor[] | NamedTensorMap): Promise<Activations>;

export declare function register(tf: TfNamespace, options?: RegisterOptions): void;

export declare function reportOf(model: object): ModelReport | undefined;

export declare function sparseSegmentMean(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor;

export declare function sparseSegmentSum(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor;

export declare function status(): Status;

export declare function unregister(tf: TfNamespace): void;
