/**
 * The WebGPU backend: decompose -> gemm (recombining in registers), two dispatches per piece of the matrix, on a device of
 * its own or a given one.
 *
 * Operands are GPU buffers or typed arrays. `record` puts the work into a caller's compute pass and returns at once; `matmul`
 * submits by itself and, where a typed array is asked for, answers when it has been read back. Both keep queue order, so a
 * result may be used by the next call without waiting.
 */
import type { ActivationId } from '../activations/contract.ts';
import { checkActivations, checkProduct, type OperandKind } from '../backends/arguments.ts';
import type { BackendBase, MatmulOptions, MemoryReport } from '../backends/backend.ts';
import { type Plan, type PlanOptions, resolvePlan } from '../decompose/contract.ts';
import { wgslDecompose, wgslDecomposeId } from '../decompose/decompose.wgsl.ts';
import { BackendUnavailableError, GpuError } from '../errors.ts';
import { K_BLOCK, K_STEP } from '../formats/format.ts';
import { roundUp, variantOf } from '../formats/layout.ts';
import { type PackedShape, validatePacked } from '../formats/packed.ts';
import { validateWeights } from '../formats/validate.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import { wgslFormats } from '../formats/wgsl.ts';
import { digitsOf } from '../gemm/carriers.ts';
import { chooseWgslGemm, type WgslGemmChoice } from '../gemm/registry.wgsl.ts';
import type { WgslEnd } from '../recombine/end.wgsl.ts';
import {
  type GpuBinding,
  type GpuBuffer,
  type GpuComputePass,
  type GpuDevice,
  type GpuLostInfo,
  MAP_MODE_READ,
} from './api.ts';
import { GpuScratch, type GpuScratchName, Params, Readbacks } from './buffers.ts';
import { type DeviceOptions, probeFeatures, requestDevice } from './device.ts';
import { type BoundRange, type Pipeline, Pipelines } from './pipelines.ts';
import { GpuWeights, uploadWeights } from './weights.ts';
import type { GpuFeatures, WgslKernel } from './wgsl.ts';

export interface WebGpuOptions extends DeviceOptions {
  /**
   * A device to work on, e.g. a framework's. It stays the caller's: `dispose` does not destroy it. Default: an own one. In Node pass
   * `gpu` too, or keep it: Dawn crashes once what `create([])` returned is collected.
   */
  readonly device?: GpuDevice | undefined;
  /** Leaves a feature unused although the device has it. */
  readonly features?: Partial<GpuFeatures> | undefined;
  /** Largest GPU buffer for weights; larger matrices take several. Default 64 MiB: packing takes as much memory, once. */
  readonly pieceBytes?: number | undefined;
}

/** As the other backends take them; x and `out` are f32. */
export type GpuMatmulOptions = Omit<MatmulOptions<GpuBinding>, 'xType' | 'out' | 'outType'> & {
  readonly out?: Float32Array | GpuBinding | undefined;
};

/** As `matmul` takes them, all in GPU buffers, and `out` is one. */
export type GpuRecordOptions = GpuMatmulOptions & Ends<GpuBinding> & { readonly out: GpuBinding };

/** Operands of the fused end, besides y. */
interface Ends<Operand> {
  readonly bias?: Operand | undefined;
  readonly multiply?: Operand | undefined;
  readonly residual?: Operand | undefined;
}
const END_NAMES = ['bias', 'multiply', 'residual'] as const;

/** One slice of rows, all of it on the GPU. */
interface SliceOperands extends Ends<GpuBinding> {
  readonly x: GpuBinding;
  readonly out: GpuBinding;
  readonly activation: ActivationId | undefined;
}

const PIECE_BYTES = 2 ** 26;
/** Rows per slice: bounds the digits' buffer. */
const SLICE_ROWS = 1024;

const gpuBinding: OperandKind<GpuBinding> = {
  name: 'a GPU buffer binding { buffer, offset, byteLength }',
  half: false,
  is: (operand): operand is GpuBinding =>
    'buffer' in operand && 'byteLength' in operand && !ArrayBuffer.isView(operand),
  place: ({ buffer, offset = 0 }) => ({ buffer, begin: offset }),
};

/** All that lives and dies with one device. */
interface Live {
  readonly device: GpuDevice;
  readonly features: GpuFeatures;
  readonly pipelines: Pipelines;
  readonly params: Params;
  readonly scratch: GpuScratch;
  readonly readbacks: Readbacks;
  lost: GpuLostInfo | undefined;
}

async function start(device: GpuDevice, wanted: Partial<GpuFeatures>): Promise<Live> {
  const has = await probeFeatures(device);
  const live: Live = {
    device,
    features: {
      packedDot: has.packedDot && wanted.packedDot !== false,
      subgroups: has.subgroups && wanted.subgroups !== false,
    },
    pipelines: new Pipelines(device),
    params: new Params(device),
    scratch: new GpuScratch(device),
    readbacks: new Readbacks(device),
    lost: undefined,
  };
  void device.lost.then((info) => {
    live.lost = info;
  });
  return live;
}

export class WebGpuBackend implements BackendBase {
  readonly device = 'webgpu';
  readonly #options: WebGpuOptions;
  readonly #matrices = new Set<GpuWeights>();
  #live: Live;
  #restoring: Promise<void> | undefined;
  /** What went wrong in work that nobody waited for. */
  #failure: Error | undefined;
  #disposed = false;

  private constructor(options: WebGpuOptions, live: Live) {
    this.#options = options;
    this.#live = live;
  }

  /** @throws {@link BackendUnavailableError} where there is no WebGPU, no adapter or no device */
  static async create(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
    const device = options.device ?? (await requestDevice(options));
    return new WebGpuBackend(options, await start(device, options.features ?? {}));
  }

  /** The device that it works on: buffers from here are what it takes. After a loss and a `prepare`, another one. */
  get gpuDevice(): GpuDevice {
    return this.#live.device;
  }

  /** What is used of the device. */
  get features(): GpuFeatures {
    return this.#live.features;
  }

  /** Why the device was lost, once it is. Preparing again asks for a new one, unless the device was given. */
  get lost(): GpuLostInfo | undefined {
    return this.#live.lost;
  }

  /**
   * Validates, packs and uploads a matrix, in pieces that the device can bind.
   * @returns the caller's: dispose it
   * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape
   * @throws {@link BackendUnavailableError} if the device has no memory left for it, or is lost and was given; nothing is kept then
   */
  async prepare(weights: QuantizedWeights): Promise<GpuWeights> {
    validateWeights(weights);
    this.#checkUsable();
    if (this.#live.lost) await this.#restore();
    const { device } = this.#live;
    const limit = this.#bindingLimit(device);
    const scopes = watch(device, ['validation', 'out-of-memory']);
    let pieces: ReturnType<typeof uploadWeights>;
    try {
      pieces = uploadWeights(device, weights, Math.min(this.#options.pieceBytes ?? PIECE_BYTES, limit));
    } catch (error) {
      await scopes.end();
      throw error;
    }
    const problem = await scopes.end();
    if (problem) {
      for (const { buffer } of pieces) buffer.destroy();
      throw new BackendUnavailableError(
        `prepare: the GPU refused ${weights.format} [${weights.N},${weights.K}]: ${problem.message}`,
      );
    }
    return this.#keep(new GpuWeights(this, device, weights, variantOf(weights), pieces, true));
  }

  /**
   * Takes packed bytes that are on this device already, e.g. as a framework's tensor: the whole matrix in one piece.
   *
   * @param packed what the bytes are: as `packWeights` describes them
   * @param where stays the caller's, and has to live as long as it is used; its offset a multiple of 16
   * @throws {@link RangeError} if the bytes do not fit the shape
   */
  adopt(packed: PackedShape, where: GpuBinding): GpuWeights {
    this.#checkUsable();
    const { buffer, offset = 0, byteLength } = where;
    const layout = validatePacked(packed, byteLength, 'adopt');
    if (offset % 16 !== 0 || offset + byteLength > buffer.size)
      throw new RangeError(
        `adopt: expected an offset that is a multiple of 16 inside its buffer of ${buffer.size} bytes, got ${offset}.`,
      );
    const piece = { n: 0, N: packed.N, layout, buffer, offset };
    return this.#keep(new GpuWeights(this, this.#live.device, packed, packed, [piece], false));
  }

  /**
   * y[m,n] = Σ_k x[m,k] · W[n,k] (+ bias[n], and the fused end). Submits to the device's queue before it returns.
   *
   * A row with NaN or Inf gives NaN in that row, and in no other.
   *
   * @param x f32 [M,K] row-major
   * @returns `options.out`, or a fresh Float32Array [M,N]: typed arrays once they are filled, buffers once the device took the work
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was written then
   * @throws {@link BackendUnavailableError} if the device is lost; {@link GpuError} if it refuses the work
   */
  matmul(
    x: Float32Array | GpuBinding,
    prepared: GpuWeights,
    options?: GpuMatmulOptions & { readonly out?: Float32Array | undefined },
  ): Promise<Float32Array>;
  matmul(
    x: Float32Array | GpuBinding,
    prepared: GpuWeights,
    options?: GpuMatmulOptions,
  ): Promise<Float32Array | GpuBinding>;
  async matmul(
    x: Float32Array | GpuBinding,
    prepared: GpuWeights,
    options: GpuMatmulOptions = {},
  ): Promise<Float32Array | GpuBinding> {
    const { M, plan } = this.#check(x, prepared, options);
    const { N, K } = prepared;
    const { out } = options;
    const into = out instanceof Float32Array ? undefined : out;
    const array = into ? undefined : ((out as Float32Array | undefined) ?? new Float32Array(M * N));
    if (M === 0) return into ?? array!;
    const live = this.#live;
    const { device, scratch, readbacks } = live;
    const scopes = watch(device, ['validation', 'out-of-memory']);
    const pending: { buffer: GpuBuffer; at: number; values: number }[] = [];
    const rowsMax = this.#sliceRows(device, N, K);
    try {
      for (let m = 0; m < M; m += rowsMax) {
        const rows = Math.min(rowsMax, M - m);
        // Each slice stages its own: the queue puts the writes between the submissions.
        const staged = (name: 'x' | 'multiply' | 'residual', first: number, count: number) => {
          const operand = name === 'x' ? x : options[name];
          if (operand === undefined) return undefined;
          if (!(operand instanceof Float32Array)) return slice(operand, first, count);
          return this.#stage(live, name, operand.subarray(first, first + count));
        };
        const { bias, activation } = options;
        const operands: SliceOperands = {
          x: staged('x', m * K, rows * K)!,
          out: into
            ? slice(into, m * N, rows * N)
            : { buffer: scratch.reserve('y', 4 * rows * N), byteLength: 4 * rows * N },
          bias: bias instanceof Float32Array ? this.#stage(live, 'bias', bias) : bias,
          multiply: staged('multiply', m * N, rows * N),
          residual: staged('residual', m * N, rows * N),
          activation,
        };
        const encoder = device.createCommandEncoder({ label: 'msd matmul' });
        const pass = encoder.beginComputePass({ label: 'msd matmul' });
        this.#recordSlice(live, pass, prepared, operands, rows, plan);
        pass.end();
        if (!into) {
          const readback = readbacks.take(4 * rows * N);
          encoder.copyBufferToBuffer(operands.out.buffer, 0, readback, 0, 4 * rows * N);
          pending.push({ buffer: readback, at: m * N, values: rows * N });
        }
        device.queue.submit([encoder.finish()]);
      }
    } catch (error) {
      await scopes.end();
      for (const { buffer } of pending) readbacks.drop(buffer);
      throw error;
    }
    const mapped = pending.map(({ buffer, values }) => buffer.mapAsync(MAP_MODE_READ, 0, 4 * values));
    const ended = scopes.end(); // scopes nest: they are taken down before anything else can run
    const results = await Promise.allSettled(mapped);
    const problem = await ended;
    const failed = results.find((result) => result.status === 'rejected');
    if (problem || failed || live.lost) {
      for (const { buffer } of pending) readbacks.drop(buffer);
      if (live.lost) throw this.#lostError(live.lost);
      throw new GpuError(
        `matmul: the GPU refused ${chooseId(live, prepared, M, plan)}: ${problem?.message ?? failed?.reason}`,
      );
    }
    for (const { buffer, at, values } of pending) {
      array!.set(new Float32Array(buffer.getMappedRange(0, 4 * values)), at);
      buffer.unmap();
      readbacks.give(buffer);
    }
    return into ?? array!;
  }

  /**
   * Records the work of {@link matmul} into a compute pass that the caller began, ends and submits, on {@link gpuDevice}. What the
   * device refuses is thrown by the next call, or by {@link finished}.
   *
   * @param x f32 [M,K] row-major
   * @param options `out` f32 [M,N], overwritten. `multiply` and `residual` may be `out` itself; else no operand lies in its buffer
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was recorded then
   */
  record(pass: GpuComputePass, x: GpuBinding, prepared: GpuWeights, options: GpuRecordOptions): void {
    const { M, plan } = this.#check(x, prepared, options);
    const { out, bias, multiply, residual, activation } = options;
    for (const [name, operand] of Object.entries({ x, out, bias, multiply, residual }))
      if ((operand === undefined && name === 'out') || (operand as unknown) instanceof Float32Array)
        throw new TypeError(`record: ${name} expected ${gpuBinding.name}, got ${operand?.constructor.name}.`);
    const live = this.#live;
    const { N, K } = prepared;
    live.scratch.keepRetired = true;
    const scopes = watch(live.device, ['validation', 'out-of-memory']);
    try {
      const rowsMax = this.#sliceRows(live.device, N, K);
      for (let m = 0; m < M; m += rowsMax) {
        const rows = Math.min(rowsMax, M - m);
        const rowsOf = (operand: GpuBinding) => slice(operand, m * N, rows * N);
        const operands: SliceOperands = {
          x: slice(x, m * K, rows * K),
          out: rowsOf(out),
          bias,
          multiply: multiply && rowsOf(multiply),
          residual: residual && rowsOf(residual),
          activation,
        };
        this.#recordSlice(live, pass, prepared, operands, rows, plan);
      }
    } finally {
      const id = chooseId(live, prepared, M, plan);
      void scopes.end().then((problem) => {
        if (problem) this.#failure ??= new GpuError(`record: the GPU refused ${id}: ${problem.message}`);
      });
    }
  }

  /** Resolves when everything that was submitted so far is done; rejects with the first thing that the device refused. */
  async finished(): Promise<void> {
    await this.#live.device.queue.onSubmittedWorkDone();
    this.#checkUsable();
    if (this.#live.lost) throw this.#lostError(this.#live.lost);
  }

  /** Compiles what `matmul` takes for this matrix at M rows, beside other work. */
  async warmUp(
    prepared: GpuWeights,
    M: number,
    options: PlanOptions & { readonly bias?: boolean } = {},
  ): Promise<void> {
    const plan = resolvePlan(options, 'warmUp');
    this.#checkUsable();
    const { pipelines, features } = this.#live;
    const gemm = choose(this.#live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), plan, endOf(options));
    const decompose = decomposeOptions(prepared, plan, gemm, features);
    await Promise.all([
      pipelines.warm(wgslDecomposeId(decompose), () => wgslDecompose(decompose)),
      pipelines.warm(gemm.id, gemm.kernel),
    ]);
  }

  /** Id of the gemm kernel that `matmul` takes for this matrix at M rows. */
  kernelFor(prepared: GpuWeights, M: number, options: PlanOptions & Partial<WgslEnd> = {}): string {
    return chooseId(this.#live, prepared, M, resolvePlan(options, 'kernelFor'), endOf(options));
  }

  memory(): MemoryReport {
    const packedBytes = [...this.#matrices].reduce((sum, { byteLength }) => sum + byteLength, 0);
    const { scratch: own, params, readbacks } = this.#live;
    const scratch = { ...own.sizes, params: params.byteLength, readback: readbacks.byteLength };
    return { packedBytes, scratch, scratchBytes: Object.values(scratch).reduce((a, b) => a + b, 0), wasmBytes: 0 };
  }

  /** Frees every buffer; destroys the device too if it is the backend's own. */
  dispose(): void {
    if (this.#disposed) return;
    for (const matrix of this.#matrices) matrix.dispose();
    const { device, scratch, params, readbacks, pipelines } = this.#live;
    this.#disposed = true;
    pipelines.clearBindGroups();
    for (const owner of [scratch, params, readbacks]) owner.dispose();
    if (!this.#options.device) device.destroy();
  }

  /** @internal by {@link GpuWeights.dispose} */
  release(prepared: GpuWeights): void {
    this.#matrices.delete(prepared);
  }

  #keep(matrix: GpuWeights): GpuWeights {
    this.#matrices.add(matrix);
    return matrix;
  }

  #check(x: Float32Array | GpuBinding, prepared: GpuWeights, options: GpuMatmulOptions): { M: number; plan: Plan } {
    this.#checkUsable();
    if (!(prepared instanceof GpuWeights))
      throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
    const checked = checkActivations(this, x, prepared, options, gpuBinding);
    checkProduct<GpuBinding>(prepared, checked.M, options, gpuBinding);
    if (!prepared.pieces) throw new RangeError('matmul: the weights have been disposed of.');
    const { lost, device } = this.#live;
    if (lost) throw this.#lostError(lost);
    if (prepared.gpuDevice !== device)
      throw new BackendUnavailableError('matmul: the device of these weights was lost. Prepare them again.');
    const limit = this.#bindingLimit(device);
    const { bias, multiply, residual, out } = options;
    for (const [name, operand] of Object.entries({ x, bias, multiply, residual, out })) {
      if (operand === undefined || operand instanceof Float32Array) continue;
      const { buffer, offset = 0, byteLength } = operand;
      if (offset % 4 !== 0 || offset < 0 || offset + byteLength > buffer.size)
        throw new RangeError(
          `matmul: ${name} expected an offset that is a multiple of 4 inside its buffer of ${buffer.size} bytes, got bytes [${offset}, ${offset + byteLength}).`,
        );
    }
    if (out && !(out instanceof Float32Array))
      for (const [name, operand] of Object.entries({ bias, multiply, residual })) {
        if (!operand || operand instanceof Float32Array || operand.buffer !== out.buffer) continue;
        if (name === 'bias' || (operand.offset ?? 0) !== (out.offset ?? 0))
          throw new RangeError(
            `matmul: ${name} and out expected different GPU buffers: a dispatch may not read what it writes.`,
          );
      }
    if (4 * Math.max(prepared.N, prepared.K) > limit)
      throw new RangeError(
        `matmul: a row of ${Math.max(prepared.N, prepared.K)} values exceeds this device's bindings of ${limit} bytes.`,
      );
    return checked;
  }

  #checkUsable(): void {
    if (this.#disposed) throw new RangeError('matmul: the backend has been disposed of.');
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
  }

  #lostError({ reason, message }: GpuLostInfo): BackendUnavailableError {
    const next = this.#options.device ? 'Create a backend with a new device' : 'Prepare the weights again';
    return new BackendUnavailableError(`matmul: the GPU device was lost (${reason}): ${message} ${next}.`);
  }

  /** After a loss: a new device. Matrices of the old one are gone. */
  async #restore(): Promise<void> {
    if (this.#options.device) throw this.#lostError(this.#live.lost!);
    this.#restoring ??= (async () => {
      for (const matrix of this.#matrices) matrix.dispose();
      this.#live = await start(await requestDevice(this.#options), this.#options.features ?? {});
    })().finally(() => {
      this.#restoring = undefined;
    });
    await this.#restoring;
  }

  #bindingLimit({ limits }: GpuDevice): number {
    return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  }

  /** Rows whose inputs and outputs can be bound, alignment and padding to 64 included. */
  #sliceRows(device: GpuDevice, N: number, K: number): number {
    const rows = Math.floor((this.#bindingLimit(device) - 256) / (4 * Math.max(N, roundUp(K, K_STEP))));
    return Math.max(1, Math.min(SLICE_ROWS, rows >= 64 ? 64 * Math.floor(rows / 64) : rows));
  }

  #stage({ device, scratch }: Live, name: GpuScratchName, values: Float32Array): GpuBinding {
    const buffer = scratch.reserve(name, values.byteLength);
    // Queues take no views of shared memory everywhere: a shared WASM heap is copied first.
    const own = values.buffer instanceof ArrayBuffer ? (values as Float32Array<ArrayBuffer>) : values.slice();
    device.queue.writeBuffer(buffer, 0, own);
    return { buffer, byteLength: values.byteLength };
  }

  #recordSlice(
    live: Live,
    pass: GpuComputePass,
    prepared: GpuWeights,
    operands: SliceOperands,
    M: number,
    plan: Plan,
  ): void {
    const { device, scratch, features } = live;
    const { x, out } = operands;
    const from = (operand: GpuBinding | undefined) =>
      operand && (operand.buffer === out.buffer ? ('out' as const) : ('buffer' as const));
    const end: WgslEnd = {
      bias: operands.bias !== undefined,
      activation: operands.activation,
      multiply: from(operands.multiply),
      residual: from(operands.residual),
    };
    const gemm = choose(live, prepared, M, plan, end);
    const K = roundUp(prepared.K, K_STEP);
    const rows = roundUp(M, gemm.together);
    const blocks = Math.ceil(K / (plan.activationBlock === 32 ? K_STEP : K_BLOCK));
    const words = K / 4;
    const digitBytes = 4 * digitsOf(plan) * rows * words;
    const digits = whole(scratch.reserve('digits', digitBytes), digitBytes);
    const scales = whole(scratch.reserve('scales', 4 * rows * blocks), 4 * rows * blocks);

    const source = this.#bind(device, x);
    const decompose = decomposeOptions(prepared, plan, gemm, features);
    this.#dispatch(
      live,
      pass,
      wgslDecomposeId(decompose),
      () => wgslDecompose(decompose),
      [M, prepared.K, source.at, words, rows, blocks],
      [source.range, digits, scales],
      plan.activationBlock === 'row' ? rows : rows * Math.ceil(words / (K_BLOCK / 4)),
    );
    const target = this.#bind(device, out);
    const added = END_NAMES.map((name) => {
      const operand = operands[name];
      return operand && operand.buffer !== out.buffer ? this.#bind(device, operand) : undefined;
    });
    const at = (i: number, n: number) => (added[i] ? added[i].at + n : 0);
    for (const { n, N, layout, buffer, offset } of prepared.pieces!) {
      const base = alignDown(offset, device.limits.minStorageBufferOffsetAlignment);
      const weights = { buffer, offset: base, size: offset - base + layout.byteLength };
      this.#dispatch(
        live,
        pass,
        gemm.id,
        gemm.kernel,
        [
          M,
          N,
          K,
          layout.panels,
          (offset - base) / 16,
          layout.panelBytes / 16,
          blocks,
          (rows * words) / gemm.together,
          target.at + n,
          prepared.N,
          ...END_NAMES.map((_, i) => at(i, n)),
        ],
        [digits, scales, weights, target.range, ...added.flatMap((operand) => (operand ? [operand.range] : []))],
        gemm.workgroups(M, layout.panels),
      );
    }
  }

  #dispatch(
    { device, pipelines, params }: Live,
    pass: GpuComputePass,
    id: string,
    kernel: () => WgslKernel,
    words: readonly number[],
    ranges: readonly BoundRange[],
    workgroups: number,
  ): void {
    const pipeline: Pipeline = pipelines.get(id, kernel);
    const block = params.get(words);
    pass.setPipeline(pipeline.pipeline);
    pass.setBindGroup(0, pipelines.bindGroup(pipeline, block.buffer, ranges), [block.offset]);
    const width = Math.min(workgroups, device.limits.maxComputeWorkgroupsPerDimension);
    pass.dispatchWorkgroups(width, Math.ceil(workgroups / width));
  }

  /** Bindings start at multiples of the device's alignment: the rest of an offset is the shader's business. */
  #bind({ limits }: GpuDevice, { buffer, offset = 0, byteLength }: GpuBinding): { range: BoundRange; at: number } {
    const base = alignDown(offset, limits.minStorageBufferOffsetAlignment);
    return { range: { buffer, offset: base, size: offset - base + byteLength }, at: (offset - base) / 4 };
  }
}

const alignDown = (value: number, multiple: number): number => value - (value % multiple);

const whole = (buffer: GpuBuffer, size: number): BoundRange => ({ buffer, offset: 0, size });

const slice = ({ buffer, offset = 0 }: GpuBinding, first: number, count: number): GpuBinding => ({
  buffer,
  offset: offset + 4 * first,
  byteLength: 4 * count,
});

const NO_END: WgslEnd = { bias: false };
const endOf = ({ bias = false, activation, multiply, residual }: Partial<WgslEnd>): WgslEnd => ({
  bias,
  activation,
  multiply,
  residual,
});

const choose = ({ features }: Live, prepared: GpuWeights, M: number, plan: Plan, end: WgslEnd): WgslGemmChoice =>
  chooseWgslGemm(M, { format: prepared.kernelFormat, variant: prepared.variant, plan, end, features });

const chooseId = (live: Live, prepared: GpuWeights, M: number, plan: Plan, end: WgslEnd = NO_END): string =>
  choose(live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), plan, end).id;

const decomposeOptions = (prepared: GpuWeights, plan: Plan, { together }: WgslGemmChoice, { subgroups }: GpuFeatures) =>
  ({ plan, rows: together, order: wgslFormats[prepared.format].order, subgroups }) as const;

/** Error scopes around what happens until `end`, which gives the first error. */
function watch(device: GpuDevice, filters: readonly ('validation' | 'out-of-memory')[]) {
  for (const filter of filters) device.pushErrorScope(filter);
  let ended: Promise<{ message: string } | undefined> | undefined;
  return {
    end() {
      ended ??= Promise.all(filters.map(() => device.popErrorScope())).then(
        (errors) => errors.find((error) => error !== null) ?? undefined,
        () => undefined, // a lost device: reported as that
      );
      return ended;
    },
  };
}
