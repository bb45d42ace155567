// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.


// @msd/tfjs

export interface AccelerateOptions extends ModelOptions {
    readonly restorable?: boolean | undefined;
}

export interface Accelerated {
    readonly report: ModelReport;
    restore(): Promise<void>;
}

export type Activation = 'linear' | 'relu' | 'relu6' | 'elu' | 'sigmoid' | 'tanh';

export interface ArithmeticOptions {
    readonly components?: 1 | 2 | undefined;
    readonly activationBlock?: ActivationBlock | undefined;
}

export declare class DisposedError extends Error {
    readonly name = "DisposedError";
}

export interface MatMulOptions extends ArithmeticOptions {
    readonly bias?: Tensor | undefined;
    readonly activation?: Activation | undefined;
}

export interface MatrixSpec extends MatrixRows {
    readonly batchShape: readonly number[];
}

export declare class ModelFormatError extends Error {
    readonly name = "ModelFormatError";
}

export interface ModelOptions {
    readonly format?: FormatId | undefined;
    readonly blockSize?: number | null | undefined;
    readonly convolutions?: boolean | 'auto' | undefined;
    readonly tables?: boolean | undefined;
    readonly fuse?: boolean | undefined;
    readonly minElements?: number | undefined;
}

export interface ModelReport {
    readonly nodes: readonly NodeReport[];
    readonly stockBytes: number;
    readonly weightBytes: number;
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
    readonly msdOp?: string;
    readonly fused?: readonly string[];
    readonly weights?: MatMulInputsReport;
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

export declare function accelerate(model: GraphModel | LayersModel, options?: AccelerateOptions): Promise<Accelerated>;

export declare function formatReport({ nodes, stockBytes, weightBytes }: ModelReport): string;

export declare function gather(w: QuantizedTensor, indices: Tensor): Tensor;

export declare function graphModelHandler(source: string | io.IOHandler, options?: ModelOptions): Promise<MsdHandler>;

export declare function layersModelHandler(source: string | io.IOHandler, options?: ModelOptions): Promise<MsdHandler>;

export declare function loadGraphModel(source: string | io.IOHandler, options?: ModelOptions & {
    readonly loadOptions?: io.LoadOptions;
}): Promise<GraphModel>;

export declare function loadLayersModel(source: string | io.IOHandler, options?: ModelOptions): Promise<LayersModel>;

export declare function matMul(x: Tensor, w: QuantizedTensor, options?: MatMulOptions): Tensor;

export declare function quantize(tensor: Tensor, options?: QuantizeTensorOptions): QuantizedTensor;

export declare function quantizeAsync(tensor: Tensor, options?: QuantizeTensorOptions): Promise<QuantizedTensor>;

export declare function quantizedTensor(packed: Tensor, spec: QuantizedSpec): QuantizedTensor;

export declare function ready(): Promise<Status>;

export declare function register(tf: TfNamespace, options?: RegisterOptions): void;

export declare function reportOf(model: object): ModelReport | undefined;

export declare function sparseSegmentMean(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor;

export declare function sparseSegmentSum(w: QuantizedTensor, indices: Tensor, segmentIds: Tensor): Tensor;

export declare function status(): Status;

export declare function unregister(tf: TfNamespace): void;
