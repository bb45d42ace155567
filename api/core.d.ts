// Written by scripts/api-report.mjs: `npm run api`. Not for compilers.


// @msd/core

export type ActivationBlock = 'row' | 256 | 32;

export type ActivationId = 'relu' | 'relu6' | 'silu' | 'gelu' | 'gelu_tanh' | 'sigmoid' | 'tanh';

export interface ActivationOptions extends DecompositionOptions {
    readonly M?: number | undefined;
    readonly xType?: FloatType | undefined;
}

export declare class Arena {
    #private;
    readonly debug: boolean;
    constructor({ initialBytes, shared, debug, heap }?: ArenaOptions);
    get memory(): WebAssembly.Memory;
    get shared(): boolean;
    onMove(moved: () => void): void;
    move(): void;
    get usedBytes(): number;
    get byteLength(): number;
    alloc(byteLength: number, label?: string): ArenaHandle;
    at(ptr: number, byteLength: number): ArenaHandle;
    free({ arena, ptr }: ArenaHandle): void;
    part({ ptr, byteLength: size }: ArenaHandle, begin: number, byteLength: number): ArenaHandle;
    write(handle: ArenaHandle, { buffer, byteOffset, byteLength }: ArrayBufferView): void;
    read(handle: ArenaHandle, { buffer, byteOffset, byteLength }: ArrayBufferView): void;
    float32({ ptr, byteLength }: ArenaHandle): Float32Array;
    uint16({ ptr, byteLength }: ArenaHandle): Uint16Array;
    bytes({ ptr, byteLength }: ArenaHandle): Uint8Array;
    owns({ arena, ptr, byteLength }: ArenaHandle): boolean;
    check(): void;
}

export interface ArenaHandle {
    readonly arena: Arena;
    readonly ptr: number;
    readonly byteLength: number;
}

export interface ArenaOptions {
    readonly initialBytes?: number;
    readonly shared?: boolean;
    readonly debug?: boolean;
    readonly heap?: Heap;
}

export interface AttentionOp {
    readonly batch: number;
    readonly rows: number;
    readonly newKeys: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly valueSize: number;
    readonly scale?: number | undefined;
    readonly isCausal: boolean;
    readonly window?: number | undefined;
    readonly softcap?: number | undefined;
    readonly alibi?: readonly number[] | undefined;
    readonly bias?: ScoreDims | undefined;
    readonly mask?: ScoreDims | undefined;
    readonly q: HeadStrides;
    readonly k?: HeadStrides | undefined;
    readonly v?: HeadStrides | undefined;
    readonly out: HeadStrides;
}

export interface AttentionOptions extends Partial<Omit<AttentionRun<KvCache>, 'cache' | 'isCausal'>>, Partial<Pick<AttentionOp, 'scale' | 'window' | 'softcap' | 'alibi'>> {
    readonly heads: number;
    readonly cache?: KvCache | undefined;
    readonly backend?: Device<unknown> | undefined;
    readonly type?: KvType | undefined;
    readonly batch?: number | undefined;
    readonly kvHeads?: number | undefined;
    readonly headSize?: number | undefined;
    readonly valueSize?: number | undefined;
    readonly layout?: 'rows' | 'heads' | undefined;
    readonly causal?: boolean | undefined;
    readonly sinks?: Float32Array | undefined;
    readonly out?: Float32Array | undefined;
}

export interface AttentionRun<Cache> {
    readonly cache: Cache;
    readonly isCausal?: boolean | undefined;
    readonly past?: readonly number[] | undefined;
    readonly counts?: readonly number[] | undefined;
    readonly queries?: readonly number[] | undefined;
    readonly positions?: readonly number[] | undefined;
    readonly starts?: readonly number[] | undefined;
    readonly bias?: ScoreArray<Float32Array> | undefined;
    readonly mask?: ScoreArray<Uint8Array> | undefined;
}

export interface AttentionWork {
    readonly kind: 'attention';
    readonly spec: AttentionSpec;
    readonly op: AttentionOp;
    readonly run: () => AttentionRun<KvCache>;
    readonly type?: KvType | undefined;
    readonly isAlone?: boolean | undefined;
}

export interface Backend extends BackendBase {
    prepare(weights: QuantizedWeights): PreparedWeights;
    matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
    matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): Operand[];
}

export interface BackendBase {
    readonly device: DeviceName;
    memory(): MemoryReport;
    dispose(): void;
}

export declare class BackendUnavailableError extends Error {
    readonly name = "BackendUnavailableError";
}

export interface BitsResult {
    readonly out?: undefined;
    readonly outType: HalfType;
}

export interface Call<H> {
    readonly work: Work;
    readonly operands: readonly (H | undefined)[];
    readonly kernels: readonly string[];
}

export type CarrierChoice = 'auto' | 'i16' | 'i8';

export interface CarrierReport {
    readonly relaxedDot: RelaxedDot | null;
    readonly timings: readonly CarrierTiming[];
}

export interface CarrierTiming {
    readonly chosen: string;
    readonly microseconds: Readonly<Record<string, number>>;
}

export interface Changes<H> {
    readonly operands?: Readonly<Record<number, H>> | undefined;
}

export interface Codebook {
    readonly values: readonly number[];
    readonly step: number;
}

export type CodebookId = 'nf4' | 'fp4' | 'nf4low' | 'fp4low';

export type Components = 1 | 2;

export type DecompositionId = 'int8' | 'mxfp4';

export interface DecompositionOptions {
    readonly decomposition?: DecompositionId | undefined;
    readonly components?: Components | undefined;
    readonly activationBlock?: ActivationBlock | undefined;
}

export interface Device<H, Matrix extends PreparedMatrix = PreparedMatrix> {
    readonly device: DeviceName;
    alloc(byteLength: number, label?: string): H;
    free(handle: H): void;
    part(handle: H, begin: number, byteLength: number): H;
    write(handle: H, data: ArrayBufferView): void;
    read(handle: H, into: ArrayBufferView): void | Promise<void>;
    prepare(weights: QuantizedWeights): Matrix | Promise<Matrix>;
    readonly pages?: PageDevice<H>;
    bind(work: Work<Matrix>, operands: readonly (H | undefined)[]): Call<H>;
    isShared?(work: OpWork): boolean;
    ahead?(call: Call<H>, changes?: Changes<H>): void;
    run(call: Call<H>, changes?: Changes<H>): void;
    flush(): void | Promise<void>;
    dispose(): void;
}

export type DeviceName = 'reference' | 'wasm' | 'webgpu';

export interface F32Result {
    readonly out?: Float32Array | undefined;
    readonly outType?: 'f32' | undefined;
}

export type FloatType = 'f32' | HalfType;

export type FormatId = 'int8' | 'int4' | 'mxfp4' | 'int2' | CodebookId;

export declare class GpuError extends Error {
    readonly name = "GpuError";
}

export type HalfArray = Uint16Array | NativeFloat16Array;

export type HalfType = 'f16' | 'bf16';

export interface HeadStrides {
    readonly batch: number;
    readonly row: number;
    readonly head: number;
}

export interface Heap {
    readonly memory: WebAssembly.Memory;
    alloc(byteLength: number, label: string): number;
    free(ptr: number): void;
}

export interface KvCache {
    readonly shape: ResolvedKvShape;
    readonly lengths: readonly number[];
    readonly byteLength: number;
    bytesFor(keys: number): number;
    reserve(keys: number): void;
    append(k: Float32Array, v: Float32Array, keys: number): void;
    keys(keys: number): Float32Array;
    values(keys: number): Float32Array;
    truncate(length: number | readonly number[]): void;
    reset(): void;
    branch(): KvCache;
    reorder(order: readonly number[]): void;
    dispose(): void;
}

export interface KvShape {
    readonly batch: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly valueSize?: number | undefined;
    readonly type?: KvType | undefined;
    readonly factors?: Float32Array | false | undefined;
    readonly rotarySize?: number | undefined;
    readonly isInterleaved?: boolean | undefined;
}

export type KvType = 'int16' | 'int8' | 'float';

export declare const MAX_HEAD_SIZE = 512;

export declare const MAX_THREADS = 64;

export interface MatmulManyOptions extends ActivationOptions {
    readonly each?: readonly ProductOptions[] | undefined;
}

export interface MatmulOptions<Handle = ArenaHandle> extends ActivationOptions, ProductOptions<Handle> {
}

export interface MatrixRows extends PackedShape {
    readonly kind: 'matrix';
    readonly planes: 1 | 2;
    readonly offset: number;
}

export interface MemoryReport {
    readonly packedBytes: number;
    readonly scratch: Readonly<Record<string, number>>;
    readonly scratchBytes: number;
    readonly wasmBytes: number;
}

export interface NativeFloat16Array {
    readonly [Symbol.toStringTag]: 'Float16Array';
    readonly buffer: ArrayBufferLike;
    readonly byteOffset: number;
    readonly byteLength: number;
    readonly length: number;
}

export interface OpWork<O = unknown> {
    readonly kind: 'op';
    readonly spec: OpSpec<O>;
    readonly op: O;
    readonly inputs: readonly (TensorType | undefined)[];
}

export type Operand = Float32Array | HalfArray | ArenaHandle;

export declare const PACKED_VERSION = 2;

export declare const PAGE_KEYS = 64;

export interface PackedShape extends WeightShape {
    readonly storedZeroPoints: boolean;
    readonly scale: ScaleId;
    readonly version?: number | undefined;
}

export interface PackedWeights extends PackedShape {
    readonly version: number;
    readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface PreparedMatrix {
    readonly version: number;
    readonly format: FormatId;
    readonly N: number;
    readonly K: number;
    readonly blockSize: number | null;
    readonly byteLength: number;
    dispose(): void;
}

export interface PreparedWeights extends PreparedMatrix {
    readonly backend: Backend;
}

export interface ProductEnd {
    readonly activation?: ActivationId | undefined;
    readonly outType?: FloatType | undefined;
}

export interface ProductOptions<Handle = ArenaHandle> {
    readonly bias?: Float32Array | Handle | undefined;
    readonly activation?: ActivationId | undefined;
    readonly multiply?: Float32Array | Handle | undefined;
    readonly residual?: Float32Array | Handle | undefined;
    readonly out?: Float32Array | HalfArray | Handle | undefined;
    readonly outType?: FloatType | undefined;
}

export interface ProductWork<Matrix extends PreparedMatrix = PreparedMatrix> extends DecompositionOptions {
    readonly kind: 'product';
    readonly matrices: readonly Matrix[];
    readonly M: number;
    readonly xType?: FloatType | undefined;
    readonly each?: readonly ProductEnd[] | undefined;
}

export interface QuantizeOptions {
    readonly N: number;
    readonly K: number;
    readonly format: FormatId;
    readonly blockSize?: number | null;
    readonly asymmetric?: boolean;
    readonly scale?: 'f32' | 'f16';
    readonly scaleRule?: 'ocp' | 'mse';
}

export interface QuantizedWeights extends WeightShape {
    readonly data: Uint8Array | Int8Array;
    readonly scales: Float32Array | Uint16Array | Uint8Array;
    readonly zeroPoints?: Uint8Array | Int8Array;
}

export declare class ReferenceBackend implements Backend, Device<ReferenceHandle, PreparedWeights> {
    #private;
    readonly device = "reference";
    readonly pages: PageDevice<ReferenceHandle>;
    constructor({ arithmetic }?: ReferenceBackendOptions);
    prepare(weights: QuantizedWeights): PreparedWeights;
    alloc(byteLength: number, label?: string): ReferenceHandle;
    free(handle: ReferenceHandle): void;
    part(handle: ReferenceHandle, begin: number, byteLength: number): ReferenceHandle;
    write(handle: ReferenceHandle, data: ArrayBufferView): void;
    read(handle: ReferenceHandle, into: ArrayBufferView): void;
    bind(work: Work<PreparedWeights>, operands: readonly (ReferenceHandle | undefined)[]): Call<ReferenceHandle>;
    run(call: Call<ReferenceHandle>, changes?: Changes<ReferenceHandle>): void;
    flush(): void;
    matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
    matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
    matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Float32Array | HalfArray;
    matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions & {
        readonly each?: readonly (ProductOptions & F32Result)[] | undefined;
    }): Float32Array[];
    matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): (Float32Array | HalfArray)[];
    memory(): MemoryReport;
    dispose(): void;
}

export interface ReferenceBackendOptions {
    readonly arithmetic?: Arithmetic;
}

export interface ReferenceOptions extends DecompositionOptions {
    readonly M: number;
    readonly bias?: Float32Array | undefined;
    readonly activation?: ActivationId | undefined;
    readonly multiply?: Float32Array | undefined;
    readonly residual?: Float32Array | undefined;
    readonly arithmetic?: Arithmetic;
}

export interface RelaxedDot {
    readonly byteOperand: ByteOperand | null;
    readonly gain: number;
}

export interface ResolvedKvShape extends KvShape {
    readonly valueSize: number;
    readonly type: KvType;
    readonly factors: Float32Array | false | undefined;
    readonly rotarySize: number;
    readonly isInterleaved: boolean;
}

export type RowReader = (n: number, out: Float32Array, at?: number) => void;

export type RowSource = MatrixRows | TableRows;

export declare const SCALE_LIMIT: number;

export type ScaleId = 'f32' | 'f16' | 'e8m0';

export interface ScoreArray<Data extends Float32Array | Uint8Array> {
    readonly dims: ScoreDims;
    readonly data: Data;
}

export type ScoreDims = readonly [batch: number, heads: number, rows: number, keys: number];

export interface TableRows {
    readonly kind: 'table';
    readonly codes: 'int8' | 'uint8' | 'uint16' | 'float16';
    readonly rows: number;
    readonly columns: number;
    readonly scale: number;
    readonly min: number;
}

export interface ThreadOptions {
    readonly threads?: number | 'auto' | undefined;
    readonly worker?: WorkerFactory | undefined;
}

export interface ThreadReport {
    readonly count: number;
    readonly requested: number;
    readonly warnings: readonly string[];
}

export interface ThreadWorker {
    postMessage(message: unknown): void;
    terminate(): unknown;
    unref?(): void;
}

export interface TunedKernel {
    readonly kernel: string;
    readonly milliseconds: number;
}

export declare class UnsupportedError extends Error {
    readonly name = "UnsupportedError";
}

export declare class WasmBackend implements Backend, Device<ArenaHandle, PreparedWeights> {
    #private;
    readonly device = "wasm";
    readonly arena: Arena;
    constructor(options?: WasmOptions, team?: Team);
    wake(): void;
    lend(task: ThreadTask): number;
    get threads(): ThreadReport;
    prepare(weights: QuantizedWeights): PreparedWeights;
    adopt(shape: PackedShape, handle: ArenaHandle, release?: () => void): PreparedWeights;
    alloc(byteLength: number, label?: string): ArenaHandle;
    free(handle: ArenaHandle): void;
    part(handle: ArenaHandle, begin: number, byteLength: number): ArenaHandle;
    write(handle: ArenaHandle, data: ArrayBufferView): void;
    read(handle: ArenaHandle, into: ArrayBufferView): void;
    get pages(): PageDevice<ArenaHandle>;
    bind(work: Work<PreparedWeights>, operands: readonly (ArenaHandle | undefined)[]): Call<ArenaHandle>;
    ahead(call: Call<ArenaHandle>, changes?: Changes<ArenaHandle>): void;
    run(call: Call<ArenaHandle>, changes?: Changes<ArenaHandle>): void;
    isShared(work: OpWork): boolean;
    flush(): void;
    matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions & F32Result): Float32Array;
    matmul(x: Operand, prepared: PreparedWeights, options: MatmulOptions & BitsResult): Uint16Array;
    matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;
    matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions & {
        readonly each?: readonly (ProductOptions & F32Result)[] | undefined;
    }): Float32Array[];
    matmulMany(x: Operand, prepared: readonly PreparedWeights[], options?: MatmulManyOptions): Operand[];
    warmUp(prepared: PreparedWeights, M: number, options?: MatmulOptions): void;
    kernelFor(prepared: PreparedWeights, M: number, options?: DecompositionOptions): string;
    get carriers(): CarrierReport;
    autotune(prepared: PreparedWeights, M: number, options?: DecompositionOptions): TunedKernel[];
    memory(): MemoryReport;
    dispose(): void;
}

export interface WasmBackendOptions extends WasmOptions, ThreadOptions {
}

export interface WasmOptions extends ArenaOptions {
    readonly carrier?: CarrierChoice | undefined;
}

export interface WeightShape {
    readonly format: FormatId;
    readonly N: number;
    readonly K: number;
    readonly blockSize: number | null;
}

export type Work<Matrix extends PreparedMatrix = PreparedMatrix> = OpWork | ProductWork<Matrix> | AttentionWork;

export type WorkerFactory = () => ThreadWorker;

export declare function activationUlps(id: ActivationId, x: number): number;

export declare function attention(q: Float32Array, k: Float32Array | undefined, v: Float32Array | undefined, options: AttentionOptions): Float32Array;

export declare const attentionWork: (op: AttentionOp, run: () => AttentionRun<KvCache>, type?: KvType, isAlone?: boolean) => AttentionWork;

export declare function badScale(scales: ScaleArray): number;

export declare const codebooks: Readonly<Record<CodebookId, Codebook>>;

export declare function createBackend(device: 'wasm', options?: WasmBackendOptions): Promise<WasmBackend>;
export declare function createBackend(device: 'reference', options?: ReferenceBackendOptions): Promise<ReferenceBackend>;
export declare function createBackend(device: 'webgpu', options?: WebGpuOptions): Promise<WebGpuBackend>;

export declare const createKvCache: <H>(device: Device<H>, shape: KvShape) => KvCache;

export declare function createThreadedBackend(options?: WasmBackendOptions): Promise<WasmBackend>;

export declare function createWasmBackend(options?: WasmOptions): WasmBackend;

export declare function dequantizeWeights(weights: QuantizedWeights): Float32Array;

export declare function digits(q: number): [number, number];

export declare const effectiveBits: (sqnrDb: number) => number;

export declare function elementBound(blockMax: number, components: Components, decomposition?: DecompositionId, device?: DeviceName): number;

export declare function errorBound(x: Float32Array, weights: QuantizedWeights, options?: DecompositionOptions & {
    readonly bias?: Float32Array | undefined;
    readonly device?: DeviceName | undefined;
}): Float64Array;

export declare function floatsOfFp16(data: HalfArray): Float32Array<ArrayBuffer>;

export declare const formatIds: readonly FormatId[];

export declare function fp16Bits(data: ArrayLike<number>): Uint16Array<ArrayBuffer>;

export declare function fromFp16(bits: number): number;

export declare const headMajor: (heads: number, rows: number, size: number) => HeadStrides;

export declare function interleaveNibbles(data: Uint8Array, blockSize: number): Uint8Array;

export declare const limitOf: (components: Components) => number;

export declare function matmul(x: Operand, prepared: PreparedWeights, options?: MatmulOptions): Operand;

export declare function msdMatmul(x: Float32Array, weights: QuantizedWeights, options: ReferenceOptions): Float64Array;

export declare function packWeights(weights: QuantizedWeights): PackedWeights;

export declare function packedByteLength(shape: WeightShape, storedZeroPoints: boolean, scale?: ScaleId): number;

export declare function packedRows(shape: PackedShape, bytes: Uint8Array): (n: number, out: Float32Array, at?: number) => void;

export declare function packedShape(weights: QuantizedWeights): PackedShape;

export declare function quantizeWeights(w: Float32Array, options: QuantizeOptions): QuantizedWeights;

export declare function rowExtent(source: RowSource): {
    rows: number;
    columns: number;
    byteLength: number;
};

export declare const rowMajor: (rows: number, size: number, width: number) => HeadStrides;

export declare function rowReader(source: RowSource, bytes: Uint8Array): RowReader;

export declare function sqnr(expected: ArrayLike<number>, got: ArrayLike<number>): number;

export declare const tableCodes: readonly TableRows['codes'][];

export declare function toFp16(value: number): number;

export declare function upgradePacked(packed: PackedWeights): PackedWeights;

export declare function validateWeights(weights: QuantizedWeights, where?: string, whole?: boolean): void;


// @msd/core/program

export interface AttentionOp {
    readonly batch: number;
    readonly rows: number;
    readonly newKeys: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly valueSize: number;
    readonly scale?: number | undefined;
    readonly isCausal: boolean;
    readonly window?: number | undefined;
    readonly softcap?: number | undefined;
    readonly alibi?: readonly number[] | undefined;
    readonly bias?: ScoreDims | undefined;
    readonly mask?: ScoreDims | undefined;
    readonly q: HeadStrides;
    readonly k?: HeadStrides | undefined;
    readonly v?: HeadStrides | undefined;
    readonly out: HeadStrides;
}

export interface AttentionRun<Cache> {
    readonly cache: Cache;
    readonly isCausal?: boolean | undefined;
    readonly past?: readonly number[] | undefined;
    readonly counts?: readonly number[] | undefined;
    readonly queries?: readonly number[] | undefined;
    readonly positions?: readonly number[] | undefined;
    readonly starts?: readonly number[] | undefined;
    readonly bias?: ScoreArray<Float32Array> | undefined;
    readonly mask?: ScoreArray<Uint8Array> | undefined;
}

export interface AttentionWork {
    readonly kind: 'attention';
    readonly spec: AttentionSpec;
    readonly op: AttentionOp;
    readonly run: () => AttentionRun<KvCache>;
    readonly type?: KvType | undefined;
    readonly isAlone?: boolean | undefined;
}

export interface Call<H> {
    readonly work: Work;
    readonly operands: readonly (H | undefined)[];
    readonly kernels: readonly string[];
}

export interface Changes<H> {
    readonly operands?: Readonly<Record<number, H>> | undefined;
}

export interface Device<H, Matrix extends PreparedMatrix = PreparedMatrix> {
    readonly device: DeviceName;
    alloc(byteLength: number, label?: string): H;
    free(handle: H): void;
    part(handle: H, begin: number, byteLength: number): H;
    write(handle: H, data: ArrayBufferView): void;
    read(handle: H, into: ArrayBufferView): void | Promise<void>;
    prepare(weights: QuantizedWeights): Matrix | Promise<Matrix>;
    readonly pages?: PageDevice<H>;
    bind(work: Work<Matrix>, operands: readonly (H | undefined)[]): Call<H>;
    isShared?(work: OpWork): boolean;
    ahead?(call: Call<H>, changes?: Changes<H>): void;
    run(call: Call<H>, changes?: Changes<H>): void;
    flush(): void | Promise<void>;
    dispose(): void;
}

export interface HeadStrides {
    readonly batch: number;
    readonly row: number;
    readonly head: number;
}

export interface KvCache {
    readonly shape: ResolvedKvShape;
    readonly lengths: readonly number[];
    readonly byteLength: number;
    bytesFor(keys: number): number;
    reserve(keys: number): void;
    append(k: Float32Array, v: Float32Array, keys: number): void;
    keys(keys: number): Float32Array;
    values(keys: number): Float32Array;
    truncate(length: number | readonly number[]): void;
    reset(): void;
    branch(): KvCache;
    reorder(order: readonly number[]): void;
    dispose(): void;
}

export interface KvShape {
    readonly batch: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly valueSize?: number | undefined;
    readonly type?: KvType | undefined;
    readonly factors?: Float32Array | false | undefined;
    readonly rotarySize?: number | undefined;
    readonly isInterleaved?: boolean | undefined;
}

export type KvType = 'int16' | 'int8' | 'float';

export interface OpWork<O = unknown> {
    readonly kind: 'op';
    readonly spec: OpSpec<O>;
    readonly op: O;
    readonly inputs: readonly (TensorType | undefined)[];
}

export declare const PAGE_KEYS = 64;

export type PackKernels = typeof packKernels;

export interface PackRecipe {
    readonly rows: number;
    readonly stagingBytes: number;
    readonly parts: readonly PackPart[];
    readonly kernels: readonly PackKernel[];
    readonly calls: readonly {
        readonly kernel: number;
        readonly args: readonly number[];
    }[];
    readonly scaleBytes: number;
    readonly limit: number;
}

export type PackRecipes = typeof packRecipes;

export interface ProductEnd {
    readonly activation?: ActivationId | undefined;
    readonly outType?: FloatType | undefined;
}

export interface ProductWork<Matrix extends PreparedMatrix = PreparedMatrix> extends DecompositionOptions {
    readonly kind: 'product';
    readonly matrices: readonly Matrix[];
    readonly M: number;
    readonly xType?: FloatType | undefined;
    readonly each?: readonly ProductEnd[] | undefined;
}

export declare class Program<H> {
    #private;
    constructor(device: Device<H>, slots: readonly Slot<H>[], steps: readonly Step[]);
    get byteLength(): number;
    get kernels(): readonly (readonly string[])[];
    get works(): readonly (Work | undefined)[];
    bind(block: H): void;
    handle(slot: number): H;
    run(from?: number, to?: number): void;
}

export interface ReservedRows {
    readonly prepared: PreparedWeights;
    readonly handle: ArenaHandle;
    fill(rows: WeightRows['rows'], kernels?: PackKernels, range?: RowRange): void;
    recipe(recipes: PackRecipes): PackRecipe | undefined;
}

export interface ResolvedKvShape extends KvShape {
    readonly valueSize: number;
    readonly type: KvType;
    readonly factors: Float32Array | false | undefined;
    readonly rotarySize: number;
    readonly isInterleaved: boolean;
}

export interface RowRange {
    readonly first: number;
    readonly end: number;
}

export interface ScoreArray<Data extends Float32Array | Uint8Array> {
    readonly dims: ScoreDims;
    readonly data: Data;
}

export type ScoreDims = readonly [batch: number, heads: number, rows: number, keys: number];

export interface ScriptStep {
    readonly kind: 'script';
    readonly run: () => void;
    readonly reads: readonly number[];
    readonly writes: readonly number[];
    readonly kernels?: readonly string[] | undefined;
    readonly work?: Work | undefined;
}

export interface Slot<H> {
    readonly byteLength: number;
    readonly at?: H | undefined;
    readonly within?: {
        readonly slot: number;
        readonly begin: number;
    } | undefined;
    readonly isInput?: boolean | undefined;
    readonly isOutput?: boolean | undefined;
}

export type Step = WorkStep | ScriptStep;

export interface ThreadTask {
    readonly code: string;
    readonly most: number;
    given(i: number): unknown;
    ended(i: number): void;
}

export interface WeightRows extends Omit<PackedShape, 'version'> {
    rows(n: number, count: number, into: Uint8Array): QuantizedWeights;
}

export type WeightRowsShape = Omit<WeightRows, 'rows'>;

export type Work<Matrix extends PreparedMatrix = PreparedMatrix> = OpWork | ProductWork<Matrix> | AttentionWork;

export interface WorkStep {
    readonly kind: 'work';
    readonly work: Work;
    readonly operands: readonly (number | undefined)[];
    readonly writes: readonly number[];
}

export declare function askEngine(): (() => number) | undefined;

export declare const byteLength: ({ dtype, dims }: TensorType) => number;

export declare const byteSize: (dtype: DType) => 1 | 4;

export declare const elementCount: (dims: readonly number[]) => number;

export declare const headMajor: (heads: number, rows: number, size: number) => HeadStrides;

export declare function packKernels(backend: WasmBackend, shape: PackedShape, layout: PackedLayout, { rows, to }: Packing): Packer;

export declare function packRecipes(shape: PackedShape, layout: PackedLayout, rows: number, shared: boolean, pack: typeof packInto): PackRecipe | undefined;

export declare function prepareRows(backend: WasmBackend, source: WeightRows, kernels?: PackKernels): PreparedWeights;

export declare function preparedAs(backend: WasmBackend, prepared: PreparedWeights, format: FormatId): PreparedWeights;

export declare function preparedRows(prepared: PreparedWeights): (n: number, out: Float32Array, at?: number) => void;

export declare function reserveRows(backend: WasmBackend, source: WeightRowsShape): ReservedRows;

export declare const roundHalfEven: (x: number) => number;

export declare const rowMajor: (rows: number, size: number, width: number) => HeadStrides;


// @msd/core/nn

export interface ArgMaxOp {
    readonly kind: 'arg_max' | 'arg_min';
    readonly axis: number;
    readonly keepDims?: boolean | undefined;
    readonly last?: boolean | undefined;
}

export type Arithmetic = 'float64' | 'float32';

export interface BlockRows {
    readonly kind: 'blocks';
    readonly bits: 4 | 8;
    readonly signed: boolean;
    readonly blockSize: number;
    readonly scales: FloatType;
    readonly zeroPoints?: 'flat' | 'rows' | undefined;
    readonly zeroPoint?: number | undefined;
}

export type CompleteOp<O> = OpSpec<O> & Required<Pick<OpSpec<O>, 'reference'>>;

export interface Copy {
    readonly outputs: readonly (readonly number[])[];
    readonly parts: readonly CopyPart[];
}

export interface CopyPart {
    readonly dims: readonly number[];
    readonly from: Place | Fill;
    readonly to: Place;
}

export type DType = 'f32' | 'i32' | 'bool';

export interface Elementwise {
    readonly nodes: readonly ElementwiseNode[];
    readonly outputs: readonly number[];
}

export interface ElementwiseNode {
    readonly fn: FunctionId;
    readonly args: readonly number[];
    readonly values?: readonly number[];
}

export interface Fill {
    readonly value: number;
}

export type FunctionId = keyof typeof functions;

export interface Gather {
    readonly axis?: number | undefined;
}

export interface GatherRows {
    readonly table: Table;
}

export interface KernelCall extends KernelSource {
    readonly args: readonly Arg[];
    readonly share: {
        readonly rows: number;
        readonly macsPerRow: number;
    } | undefined;
}

export interface KernelFamily {
    readonly family: string;
    kernels(): Iterable<KernelSource>;
}

export interface KernelPlan {
    readonly calls: readonly KernelCall[];
    readonly scratchBytes: number;
}

export interface KernelSource {
    readonly id: string;
    emit(module: Module): void;
    trial(at: number, rows?: number): number[];
    fill?(words: Int32Array, at: number): void;
}

export interface NormOp {
    readonly kind: 'layer' | 'rms';
    readonly axes?: number | undefined;
    readonly epsilon: number;
    readonly mean?: boolean | undefined;
    readonly invStdDev?: boolean | undefined;
    readonly sum?: boolean | undefined;
}

export interface NormRow {
    readonly x: ArrayLike<number>;
    readonly scale?: ArrayLike<number> | undefined;
    readonly bias?: ArrayLike<number> | undefined;
    readonly skip?: ArrayLike<number> | undefined;
    readonly skipBias?: ArrayLike<number> | undefined;
}

export interface OpSpec<O> {
    readonly name: string;
    infer(op: O, inputs: readonly (TensorType | undefined)[]): readonly TensorType[];
    reference?(op: O, inputs: readonly (Tensor | undefined)[], outputs: readonly Tensor[], arithmetic: Arithmetic): void;
    wasm(op: O, inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[]): KernelPlan;
    wgsl?(op: O, inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[]): readonly WgslCall[];
    inPlace?(op: O, output: number, input: number): boolean;
}

export interface PadOptions {
    readonly before: Dims;
    readonly after: Dims;
    readonly mode?: 'constant' | 'edge' | 'reflect' | 'wrap' | undefined;
    readonly value?: number | undefined;
}

export interface Place {
    readonly operand: number;
    readonly offset: number;
    readonly strides: readonly number[];
}

export type ReadBytes = (offset: number, into: Uint8Array) => void;

export type ReduceKind = 'sum' | 'mean' | 'l1' | 'l2' | 'sum_square' | 'prod' | 'max' | 'min';

export interface ReduceOp {
    readonly kind: ReduceKind;
    readonly axes: readonly number[];
    readonly keepDims?: boolean | undefined;
}

export interface RotaryOp {
    readonly interleaved?: boolean | undefined;
    readonly heads?: number | undefined;
    readonly rotaryDim?: number | undefined;
}

export interface RotaryShape {
    readonly batch: number;
    readonly sequence: number;
    readonly heads: number;
    readonly size: number;
    readonly half: number;
    readonly headsFirst: boolean;
    readonly positions: 'ids' | 'first' | 'token';
    readonly cacheRows: number;
}

export interface SliceOptions {
    readonly starts: Dims;
    readonly ends: Dims;
    readonly axes?: Dims | undefined;
    readonly steps?: Dims | undefined;
}

export interface SoftmaxOp {
    readonly kind: 'softmax' | 'log_softmax';
    readonly axes?: number | undefined;
}

export interface Table {
    readonly rows: number;
    readonly columns: number;
    readonly format: FloatType | BlockRows;
}

export interface TableSources {
    readonly rows: ReadBytes;
    readonly scales?: ReadBytes | undefined;
    readonly zeroPoints?: ReadBytes | undefined;
}

export interface Tensor extends TensorType {
    readonly data: Float32Array | Float64Array | Int32Array | Uint8Array;
}

export interface TensorType {
    readonly dtype: DType;
    readonly dims: readonly number[];
}

export interface WgslCall {
    readonly id: string;
    readonly operands: Readonly<Record<string, number>>;
    readonly params: Readonly<Record<string, number>>;
    code(): string;
    readonly workgroups: number;
}

export interface WindowPlace {
    readonly out: number;
    readonly before: number;
    readonly after: number;
}

export interface WindowShape {
    readonly kernel: Dims;
    readonly strides: Dims;
    readonly dilations: Dims;
}

export interface WindowSlice {
    readonly image: number;
    readonly images: number;
    readonly line: number;
    readonly lines: number;
}

export interface WindowsOp {
    readonly kind: 'weighted' | 'mean' | 'max';
    readonly kernel: readonly [number, number];
    readonly strides: readonly [number, number];
    readonly dilations: readonly [number, number];
    readonly pads?: readonly [number, number, number, number] | undefined;
    readonly clamp?: readonly [number, number] | undefined;
}

export declare const argMax: import("../../ops/op.ts").CompleteOp<ArgMaxOp>;

export declare const argMaxOnWasm: OpSpec<ArgMaxOp>;

export declare function checkIndices(where: string, indices: ArrayLike<number | bigint>, rows: number): void;

export declare function checkPositions({ positions, sequence, cacheRows }: RotaryShape, values: Int32Array): void;

export declare function concat(shapes: readonly Dims[], axis: number): Copy;

export declare const copy: import("../../ops/op.ts").CompleteOp<Copy>;

export declare const copyOnWasm: OpSpec<Copy>;

export declare const elementwise: import("../../ops/op.ts").CompleteOp<Elementwise>;

export declare const elementwiseOnWasm: OpSpec<Elementwise>;

export declare function expand(dims: Dims, shape: Dims): Copy;

export declare const functionIds: FunctionId[];

export declare const gather: import("../../ops/op.ts").CompleteOp<Gather>;

export declare const gatherOnWasm: OpSpec<Gather>;

export declare const gatherRows: import("../../ops/op.ts").CompleteOp<GatherRows>;

export declare const gatherRowsOnWasm: OpSpec<GatherRows>;

export declare const matMul: import("../../ops/op.ts").CompleteOp<Readonly<Record<string, never>>>;

export declare const matMulOnWasm: OpSpec<MatMul>;

export declare const nnKernels: readonly KernelFamily[];

export declare const nnOps: readonly CompleteOp<unknown>[];

export declare const norm: import("../../ops/op.ts").CompleteOp<NormOp>;

export declare function normBound({ kind, epsilon }: Pick<NormOp, 'kind' | 'epsilon'>, { x, scale, bias, skip, skipBias }: NormRow, device?: DeviceName): number[];

export declare const normOnWasm: OpSpec<NormOp>;

export declare function pad(dims: Dims, { before, after, mode, value }: PadOptions): Copy;

export declare const readFrom: (bytes: Uint8Array) => ReadBytes;

export declare const reduce: import("../../ops/op.ts").CompleteOp<ReduceOp>;

export declare const reduceOnWasm: OpSpec<ReduceOp>;

export declare const rotary: import("../../ops/op.ts").CompleteOp<RotaryOp>;

export declare const rotaryOnWasm: OpSpec<RotaryOp>;

export declare function rotaryShape(op: RotaryOp, [x, cos, sin, positions]: Types): RotaryShape;

export declare function rowReader(table: Table, sources: TableSources): (indices: ArrayLike<number | bigint>, out: Float32Array) => void;

export declare function samePlace(size: number, stride: number, span: number, more?: 'after' | 'before'): WindowPlace;

export declare function slice(dims: Dims, { starts, ends, axes, steps }: SliceOptions): Copy;

export declare const softmax: import("../../ops/op.ts").CompleteOp<SoftmaxOp>;

export declare function softmaxBound(x: ArrayLike<number>, kind?: SoftmaxOp['kind']): number[];

export declare const softmaxOnWasm: OpSpec<SoftmaxOp>;

export declare function split(dims: Dims, axis: number, sizes: Dims): Copy;

export declare function tile(dims: Dims, repeats: Dims): Copy;

export declare function transpose(dims: Dims, perm?: Dims): Copy;

export declare function windowRows(dims: Dims, { kernel, strides, dilations }: WindowShape, places: Dims, first?: {
    readonly image: number;
    readonly line: number;
}): Copy;

export declare function windowSlices(batch: number, lines: number, perLine: number, rowBytes: number): WindowSlice[];

export declare const windowSpan: ({ kernel, dilations }: WindowShape, d: number) => number;

export declare const windows: import("../../ops/op.ts").CompleteOp<WindowsOp>;

export declare const windowsOnWasm: OpSpec<WindowsOp>;


// @msd/core/numerics

export interface Distribution {
    readonly deviation?: number;
    readonly sink?: number;
    readonly sinkValue?: number;
    readonly channels?: readonly number[];
    readonly values?: number;
    readonly mean?: number;
    readonly recent?: number;
}

export declare const E2M1_DOUBLED: readonly number[];

export declare const MXFP4_STEPS = 64;

export type Random = () => number;

export interface Sample {
    readonly q: Float32Array;
    readonly k: Float32Array;
    readonly v: Float32Array;
}

export declare function alphaOf(max: number): number;

export declare const distributions: Readonly<Record<string, Distribution>>;

export declare function floorLog2(x: number): number;

export declare const fromBf16: (bits: number) => number;

export declare function fromE4M3(bits: number): number;

export declare function fromFp16(bits: number): number;

export declare function gaussian(next: Random): number;

export declare function gaussians(next: Random, length: number): Float32Array;

export declare function random(seed: number): Random;

export declare const roundHalfEven: (x: number) => number;

export declare const roundToE2M1: (y: number) => number;

export declare function sample({ deviation, sink, sinkValue, channels, values, mean, recent }: Distribution, T: number, d: number, rows: number, seed: number): Sample;

export declare function toBf16(value: number): number;

export declare function toE2M1(value: number): number;

export declare function toE4M3(value: number): number;

export declare function toFp16(value: number): number;


// @msd/core/peaks

export interface MachinePeaks {
    readonly dotGmacs: number;
    readonly relaxedDotGmacs?: number;
    readonly readGigabytes: number;
}

export interface Peak {
    readonly name: string;
    readonly macs: number;
    run(): void;
}

export declare function dotPeak(memory: WebAssembly.Memory, scratch: number): Peak;

export declare function measurePeaks(ms?: number, readBytes?: number): MachinePeaks;

export declare function mulAddPeak(memory: WebAssembly.Memory, scratch: number): Peak;

export declare function readBandwidth(memory: WebAssembly.Memory, from: number, bytes: number, scratch: number, pieceBytes?: number): Peak;

export declare function relaxedDotPeak(memory: WebAssembly.Memory, scratch: number): Peak | undefined;


// @msd/core/theory

export interface Accelerator {
    readonly name: string;
    readonly source: string;
    readonly units: 'same' | 'coupled' | 'decoupled';
    readonly matrixTmacs: {
        readonly int8: number;
        readonly bf16: number;
        readonly fp8?: number;
        readonly fp4?: number;
    };
    readonly vectorTops: number;
    readonly memoryTerabytes: number;
    readonly tileRows: number;
}

export interface AttentionCall extends CachedAttention {
    readonly type: KvType;
}

export type AttentionKernel = 'float' | 'write-back' | 'fused' | 'passes' | 'shared';

export interface AttentionShape {
    readonly rows: number;
    readonly keys: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly rowsPerTile?: number;
}

export interface AttentionTraffic {
    readonly keysAndValues: number;
    readonly queries: number;
    readonly total: number;
}

export interface CachedAttention {
    readonly batch?: number;
    readonly heads: number;
    readonly kvHeads: number;
    readonly headSize: number;
    readonly rows: number;
    readonly keys: number;
    readonly newKeys?: number;
    readonly seesAll?: boolean;
    readonly threads?: number;
}

export type CallPart = 'decompose' | 'multiply' | 'read' | 'call';

export interface CallTime {
    readonly microseconds: number;
    readonly parts: Readonly<Record<CallPart, number>>;
}

export interface Forecast extends CallTime {
    readonly limit: CallPart;
    readonly why: string;
}

export interface Latency {
    readonly busy: Readonly<Record<Part, number>>;
    readonly seconds: number;
    readonly limit: Part;
    readonly bytes: number;
}

export interface LatencyOptions {
    readonly tiles?: number;
}

export interface PackedProduct extends ProductShape {
    readonly format: FormatId;
    readonly blockSize: number | null;
}

export type Part = 'memory' | 'vector' | 'matrix';

export interface ProductShape {
    readonly M: number;
    readonly N: number;
    readonly K: number;
}

export interface ProductWithWeights extends PackedProduct {
    readonly carrier?: 'i16' | 'i8' | undefined;
    readonly components?: 1 | 2 | undefined;
    readonly threads?: number | undefined;
    readonly nanoseconds?: number | undefined;
}

export interface StepWork {
    readonly written: number;
    readonly macs?: number | undefined;
    readonly kind?: 'matrix' | 'convolution' | 'window' | undefined;
    readonly gathered?: number | undefined;
}

export interface StoredKeys {
    readonly bytes?: number;
    readonly scaleBytes?: number;
    readonly passes?: number;
}

export interface WeightKind {
    readonly bytes: number;
    readonly unit: 'int8' | 'fp4';
}

export declare const accelerators: readonly Accelerator[];

export declare const attentionKernels: readonly AttentionKernel[];

export declare function attentionTraffic(kernel: AttentionKernel, shape: AttentionShape, stored?: StoredKeys): AttentionTraffic;

export declare const bitsOfBound: (max: number, bound: number) => number;

export declare function bytesPerElement(kernel: AttentionKernel, headSize: number, stored?: StoredKeys): number;

export declare function dequantizeFirst(machine: Accelerator, { M, N, K }: ProductShape, weights: WeightKind, options?: LatencyOptions): Latency;

export declare function floatBits(mantissaBits: number): number;

export declare const forecastAttention: (peaks: MachinePeaks, call: AttentionCall) => Forecast;

export declare function forecastProduct(peaks: MachinePeaks, product: ProductWithWeights): Forecast;

export declare function gaussianSqnr(block: number, passes: number): number;

export declare function int16Attention(peaks: MachinePeaks, call: CachedAttention, cost?: KvCost): CallTime;

export declare function int16Product(peaks: MachinePeaks, product: PackedProduct, each?: number): CallTime;

export declare const int8Bound: (max: number, passes: number) => number;

export declare function machineOf({ dotGmacs, relaxedDotGmacs, readGigabytes }: MachinePeaks): Accelerator;

export declare function mxfp4Bits(passes: number): number;

export declare function mxfp4Bound(max: number, passes: number): number;

export declare function pipelined(seconds: readonly number[], tiles: number): number;

export declare function severalPasses(machine: Accelerator, { M, N, K }: ProductShape, weights: WeightKind, passes: number, options?: LatencyOptions): Latency;

export declare function stepTime({ dotGmacs }: MachinePeaks, work: StepWork): number;


// @msd/core/thread

export declare function runThread(): void;

export declare const threadCode: () => string;


// @msd/core/webgpu

export interface Gpu {
    requestAdapter(options?: {
        powerPreference?: 'low-power' | 'high-performance';
    }): Promise<GpuAdapter | null>;
}

export interface GpuAdapter {
    readonly features: {
        has(name: string): boolean;
    };
    readonly limits: GpuLimits;
    readonly info: {
        readonly vendor: string;
        readonly architecture: string;
        readonly device: string;
    };
    requestDevice(descriptor?: {
        label?: string;
        requiredFeatures?: any[];
        requiredLimits?: Record<string, number>;
    }): Promise<GpuDevice>;
}

export interface GpuBinding {
    readonly buffer: GpuBuffer;
    readonly offset?: number | undefined;
    readonly byteLength: number;
}

export interface GpuBuffer {
    readonly size: number;
    readonly usage: number;
    getMappedRange(offset?: number, size?: number): ArrayBuffer;
    mapAsync(mode: number, offset?: number, size?: number): Promise<unknown>;
    unmap(): unknown;
    destroy(): unknown;
}

export interface GpuComputePass {
    setPipeline(pipeline: GpuPipeline): unknown;
    setBindGroup(index: number, group: GpuBindGroup | null | undefined, offsets?: Iterable<number>): unknown;
    dispatchWorkgroups(x: number, y?: number, z?: number): unknown;
    end(): unknown;
}

export interface GpuDevice {
    readonly features: {
        has(name: string): boolean;
    };
    readonly limits: GpuLimits;
    readonly queue: GpuQueue;
    readonly lost: Promise<GpuLostInfo>;
    createBuffer(descriptor: {
        label?: string;
        size: number;
        usage: number;
    }): GpuBuffer;
    createShaderModule(descriptor: {
        label?: string;
        code: string;
    }): GpuShaderModule;
    createBindGroupLayout(descriptor: {
        label?: string;
        entries: GpuLayoutEntry[];
    }): GpuBindGroupLayout;
    createPipelineLayout(descriptor: {
        label?: string;
        bindGroupLayouts: Iterable<GpuBindGroupLayout | null | undefined>;
    }): GpuPipelineLayout;
    createComputePipeline(descriptor: GpuPipelineDescriptor): GpuPipeline;
    createComputePipelineAsync(descriptor: GpuPipelineDescriptor): Promise<GpuPipeline>;
    createBindGroup(descriptor: {
        label?: string;
        layout: GpuBindGroupLayout;
        entries: Iterable<GpuBindEntry>;
    }): GpuBindGroup;
    createCommandEncoder(descriptor?: {
        label?: string;
    }): GpuCommandEncoder;
    pushErrorScope(filter: GpuErrorFilter): unknown;
    popErrorScope(): Promise<GpuErrorLike | null>;
    destroy(): unknown;
}

export interface GpuFeatures {
    readonly packedDot: boolean;
    readonly subgroups: boolean;
}

export interface GpuLostInfo {
    readonly reason: string;
    readonly message: string;
}

export type GpuMatmulOptions = Omit<MatmulOptions<GpuBinding>, 'xType' | 'out' | 'outType'> & {
    readonly out?: Float32Array | GpuBinding | undefined;
};

export interface GpuOffsetOptions {
    readonly out: GpuBinding;
    readonly M: number;
    readonly K: number;
    readonly N: number;
    readonly offset: number;
}

export type GpuRecordOptions = GpuMatmulOptions & GpuEnds & {
    readonly out: GpuBinding;
};

export interface GpuRowsOptions {
    readonly out: GpuBinding;
    readonly indices?: GpuBinding | undefined;
    readonly segments?: {
        readonly ids: GpuBinding;
        readonly count: number;
        readonly mean: boolean;
    } | undefined;
}

export declare class GpuWeights implements PreparedMatrix {
    #private;
    readonly version = 2;
    readonly backend: WebGpuBackend;
    readonly format: FormatId;
    readonly N: number;
    readonly K: number;
    readonly blockSize: number | null;
    readonly byteLength: number;
    readonly kernelFormat: WeightFormat;
    readonly variant: WeightVariant;
    readonly gpuDevice: GpuDevice;
    constructor(backend: WebGpuBackend, gpuDevice: GpuDevice, { format, N, K, blockSize }: WeightShape, variant: WeightVariant, pieces: readonly WeightPiece[], destroy?: (buffer: GpuBuffer) => void);
    get pieces(): readonly WeightPiece[] | undefined;
    dispose(): void;
}

export declare class WebGpuBackend implements BackendBase, Device<GpuBinding, GpuWeights> {
    #private;
    readonly device = "webgpu";
    private constructor();
    static create(options?: WebGpuOptions): Promise<WebGpuBackend>;
    get gpuDevice(): GpuDevice;
    get features(): GpuFeatures;
    get lost(): GpuLostInfo | undefined;
    prepare(weights: QuantizedWeights): Promise<GpuWeights>;
    adopt(packed: PackedShape, where: GpuBinding): GpuWeights;
    alloc(byteLength: number, label?: string): GpuBinding;
    free(handle: GpuBinding): void;
    part({ buffer, offset, byteLength: whole }: GpuBinding, begin: number, byteLength: number): GpuBinding;
    write(handle: GpuBinding, data: ArrayBufferView): void;
    read(handle: GpuBinding, into: ArrayBufferView): Promise<void>;
    bind(work: Work<GpuWeights>, operands: readonly (GpuBinding | undefined)[]): Call<GpuBinding>;
    run(call: Call<GpuBinding>, changes?: Changes<GpuBinding>, pass?: GpuComputePass): void;
    flush(): Promise<void>;
    matmul(x: Float32Array | GpuBinding, prepared: GpuWeights, options?: GpuMatmulOptions & {
        readonly out?: Float32Array | undefined;
    }): Promise<Float32Array>;
    matmul(x: Float32Array | GpuBinding, prepared: GpuWeights, options?: GpuMatmulOptions): Promise<Float32Array | GpuBinding>;
    record(pass: GpuComputePass, x: GpuBinding, prepared: GpuWeights, options: GpuRecordOptions): void;
    recordRows(pass: GpuComputePass, source: RowSource, where: GpuBinding, options: GpuRowsOptions): void;
    recordOffset(pass: GpuComputePass, x: GpuBinding, options: GpuOffsetOptions): void;
    warmUp(prepared: GpuWeights, M: number, options?: DecompositionOptions & {
        readonly bias?: boolean;
    }): Promise<void>;
    kernelFor(prepared: GpuWeights, M: number, options?: DecompositionOptions & Partial<WgslEnd>): string;
    memory(): MemoryReport;
    dispose(): void;
    release(prepared: GpuWeights): void;
}

export interface WebGpuOptions extends DeviceOptions {
    readonly device?: GpuDevice | undefined;
    readonly features?: Partial<GpuFeatures> | undefined;
    readonly pieceBytes?: number | undefined;
}

export interface WeightPiece {
    readonly n: number;
    readonly N: number;
    readonly layout: PackedLayout;
    readonly buffer: GpuBuffer;
    readonly offset: number;
}
