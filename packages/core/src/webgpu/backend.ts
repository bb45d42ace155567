/**
 * The WebGPU backend: decompose -> gemm (recombining in registers), two dispatches per piece of the matrix, on a device of
 * its own or a given one.
 *
 * Operands are GPU buffers or typed arrays. `record` puts the work into a caller's compute pass and returns at once; `matmul`
 * submits by itself and, where a typed array is asked for, answers when it has been read back. Both keep queue order, so a
 * result may be used by the next call without waiting.
 */
import type { BackendBase, MemoryReport } from '../backends/backend.ts';
import { type Plan, type PlanOptions, resolvePlan } from '../decompose/contract.ts';
import { wgslDecompose, wgslDecomposeId } from '../decompose/decompose.wgsl.ts';
import { BackendUnavailableError, GpuError } from '../errors.ts';
import { variantOf } from '../formats/layout.ts';
import { type PackedShape, validatePacked } from '../formats/packed.ts';
import { validateWeights } from '../formats/validate.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import type { RowSource } from '../lookup/contract.ts';
import type { WgslEnd } from '../recombine/end.wgsl.ts';
import { OFFSET_ID } from '../recombine/offset.wgsl.ts';
import {
  type GpuBinding,
  type GpuBuffer,
  type GpuComputePass,
  type GpuDevice,
  type GpuLostInfo,
  MAP_MODE_READ,
} from './api.ts';
import { checkBuffers, checkRecorded, checkShapes } from './arguments.ts';
import type { GpuScratchName } from './buffers.ts';
import { requestDevice } from './device.ts';
import { bindingLimit, forgetRefused, type Live, start, watch } from './live.ts';
import type { GpuMatmulOptions, GpuRecordOptions, WebGpuOptions } from './options.ts';
import { chooseGemm, decomposeOptions, recordSlice, SLICE_ROWS, type SliceOperands, sliceRows } from './record.ts';
import { type GpuOffsetOptions, type GpuRowsOptions, recordOffset, recordRows, rowsKernel } from './rows.ts';
import { GpuWeights, uploadWeights } from './weights.ts';
import type { GpuFeatures } from './wgsl.ts';

const PIECE_BYTES = 2 ** 26;

export class WebGpuBackend implements BackendBase {
  readonly device = 'webgpu';
  readonly #options: WebGpuOptions;
  readonly #matrices = new Set<GpuWeights>();
  #live: Live;
  #restoring: Promise<void> | undefined;
  /** What went wrong in work that nobody waited for. */
  #failure: Error | undefined;
  /** Settled once the device has answered for all that was recorded. */
  #answered: Promise<void> = Promise.resolve();
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
    const limit = bindingLimit(device);
    const scopes = watch(device);
    let pieces: ReturnType<typeof uploadWeights>;
    try {
      pieces = uploadWeights(device, weights, Math.min(this.#options.pieceBytes ?? PIECE_BYTES, limit));
    } catch (error) {
      await scopes.end();
      throw error;
    }
    const problem = await scopes.end();
    if (problem || this.#disposed) {
      for (const { buffer } of pieces) buffer.destroy();
      this.#checkDisposed();
      throw new BackendUnavailableError(
        `prepare: the GPU refused ${weights.format} [${weights.N},${weights.K}]: ${problem!.message}`,
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
    const scopes = watch(device);
    const pending: { buffer: GpuBuffer; at: number; values: number }[] = [];
    const rowsMax = sliceRows(device, N, K);
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
        recordSlice(live, pass, prepared, operands, rows, plan);
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
    if (problem) forgetRefused(live, problem);
    if (problem || failed || live.lost) {
      for (const { buffer } of pending) readbacks.drop(buffer);
      this.#checkDisposed();
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
    checkRecorded(x, options);
    const { out, bias, multiply, residual, activation } = options;
    const live = this.#live;
    const { N, K } = prepared;
    live.scratch.keepRetired = true;
    this.#watched(chooseId(live, prepared, M, plan), () => {
      const rowsMax = sliceRows(live.device, N, K);
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
        recordSlice(live, pass, prepared, operands, rows, plan);
      }
    });
  }

  /**
   * Records a look-up: rows of a packed matrix or a stored table as floats, all of them, those that indices name, or sums of
   * these over segments. As with {@link record}, what the device refuses is thrown later.
   *
   * @param source what the bytes are
   * @param where they are on {@link gpuDevice}; a matrix's offset is a multiple of 16
   * @throws {@link TypeError}, {@link RangeError} for operands that do not fit; nothing was recorded then
   */
  recordRows(pass: GpuComputePass, source: RowSource, where: GpuBinding, options: GpuRowsOptions): void {
    this.#checkRecording();
    this.#watched(rowsKernel(source, options), () => recordRows(this.#live, pass, source, where, options));
  }

  /**
   * Records y[m,n] += offset · Σ_k x[m,k]: what a constant in every weight adds to a product that was recorded before.
   *
   * @param x f32 [M,K]
   * @throws {@link RangeError} for operands that do not fit; nothing was recorded then
   */
  recordOffset(pass: GpuComputePass, x: GpuBinding, options: GpuOffsetOptions): void {
    this.#checkRecording();
    this.#watched(OFFSET_ID, () => recordOffset(this.#live, pass, x, options));
  }

  /** Resolves when everything that was submitted so far is done; rejects with the first thing that the device refused. */
  async finished(): Promise<void> {
    await Promise.all([this.#live.device.queue.onSubmittedWorkDone(), this.#answered]);
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
    const gemm = chooseGemm(this.#live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), plan, endOf(options));
    const decompose = decomposeOptions(plan, gemm, features);
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
    const { scratch: own, params, codeTables, readbacks } = this.#live;
    const paramBytes = params.byteLength + codeTables.byteLength;
    const scratch = { ...own.sizes, params: paramBytes, readback: readbacks.byteLength };
    return { packedBytes, scratch, scratchBytes: Object.values(scratch).reduce((a, b) => a + b, 0), wasmBytes: 0 };
  }

  /** Frees every buffer; destroys the device too if it is the backend's own. */
  dispose(): void {
    if (this.#disposed) return;
    for (const matrix of this.#matrices) matrix.dispose();
    const { device, scratch, params, codeTables, readbacks, pipelines } = this.#live;
    this.#disposed = true;
    pipelines.clear();
    for (const owner of [scratch, params, codeTables, readbacks]) owner.dispose();
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
    const checked = checkShapes(this, x, prepared, options);
    const { lost, device } = this.#live;
    if (lost) throw this.#lostError(lost);
    if (prepared.gpuDevice !== device)
      throw new BackendUnavailableError('matmul: the device of these weights was lost. Prepare them again.');
    checkBuffers(x, prepared, options);
    return checked;
  }

  #checkRecording(): void {
    this.#checkUsable();
    if (this.#live.lost) throw this.#lostError(this.#live.lost);
  }

  /** Records; what the device has to say about it is thrown by the next call. */
  #watched(id: string, record: () => void): void {
    const live = this.#live;
    const scopes = watch(live.device);
    try {
      record();
    } finally {
      const answer = scopes.end().then((problem) => {
        if (!problem) return;
        forgetRefused(live, problem);
        this.#failure ??= new GpuError(`record: the GPU refused ${id}: ${problem.message}`);
      });
      this.#answered = this.#answered.then(() => answer);
    }
  }

  #checkDisposed(): void {
    if (this.#disposed) throw new RangeError('matmul: the backend has been disposed of.');
  }

  #checkUsable(): void {
    this.#checkDisposed();
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
      const live = await start(await requestDevice(this.#options), this.#options.features ?? {});
      if (this.#disposed) live.device.destroy();
      this.#checkDisposed();
      this.#live = live;
    })().finally(() => {
      this.#restoring = undefined;
    });
    await this.#restoring;
  }

  #stage({ device, scratch }: Live, name: GpuScratchName, values: Float32Array): GpuBinding {
    const buffer = scratch.reserve(name, values.byteLength);
    // Queues take no views of shared memory everywhere: a shared WASM heap is copied first.
    const own = values.buffer instanceof ArrayBuffer ? (values as Float32Array<ArrayBuffer>) : values.slice();
    device.queue.writeBuffer(buffer, 0, own);
    return { buffer, byteLength: values.byteLength };
  }
}

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

const chooseId = (live: Live, prepared: GpuWeights, M: number, plan: Plan, end: WgslEnd = NO_END): string =>
  chooseGemm(live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), plan, end).id;
