/**
 * The WebGPU backend: decompose -> gemm (recombining in registers), two dispatches per piece of the matrix, on a device of
 * its own or a given one.
 *
 * Operands are GPU buffers or typed arrays. `record` puts the work into a caller's compute pass and returns at once; `matmul`
 * submits by itself and, where a typed array is asked for, answers when it has been read back. Both keep queue order, so a
 * result may be used by the next call without waiting.
 */

import { type DecompositionOptions, resolveDecomposition } from '../../decompose/contract.ts';
import { wgslDecompose, wgslDecomposeId } from '../../decompose/decompose.wgsl.ts';
import { GpuError, UnsupportedError } from '../../errors.ts';
import type { PackedShape } from '../../formats/packed.ts';
import type { QuantizedWeights } from '../../formats/weights.ts';
import type { RowSource } from '../../lookup/contract.ts';
import type { WgslEnd } from '../../recombine/end.wgsl.ts';
import { OFFSET_ID } from '../../recombine/offset.wgsl.ts';
import type { GpuFeatures } from '../../wgsl/wgsl.ts';
import { checkActivations, checkProduct } from '../arguments.ts';
import type { BackendBase, MemoryReport } from '../backend.ts';
import type { Call, Changes, Device, Work } from '../device.ts';
import type { GpuBinding, GpuComputePass, GpuDevice, GpuLostInfo } from './api.ts';
import { checkResident, checkThere, gpuBinding } from './arguments.ts';
import { GpuCall } from './calls.ts';
import { record } from './dispatch.ts';
import type { Live } from './live.ts';
import { submitMatmul } from './matmul.ts';
import { Matrices } from './matrices.ts';
import { bindOp } from './op.ts';
import type { GpuMatmulOptions, GpuRecordOptions, WebGpuOptions } from './options.ts';
import { bindProduct, chooseGemm, decomposeOptions, gemmId, SLICE_ROWS } from './product.ts';
import { describeOffset, describeRows, type GpuOffsetOptions, type GpuRowsOptions, rowsKernel } from './rows.ts';
import { Session } from './session.ts';
import { Storage } from './storage.ts';
import type { GpuWeights } from './weights.ts';

export class WebGpuBackend implements BackendBase, Device<GpuBinding, GpuWeights> {
  readonly device = 'webgpu';
  readonly #session: Session;
  readonly #matrices: Matrices;
  readonly #storage: Storage;

  private constructor(session: Session) {
    this.#session = session;
    this.#matrices = new Matrices(this, session);
    this.#storage = new Storage(session);
    session.onLoss(() => {
      this.#matrices.dispose();
      this.#storage.dispose();
    });
  }

  /** @throws {@link BackendUnavailableError} if there is no WebGPU, no adapter or no device */
  static async create(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
    return new WebGpuBackend(await Session.open(options));
  }

  /** The device that it works on: buffers from here are what it takes. After a loss and a `prepare`, another one. */
  get gpuDevice(): GpuDevice {
    return this.#session.live.device;
  }

  /** The features of the device that are used. */
  get features(): GpuFeatures {
    return this.#session.live.features;
  }

  /** Why the device was lost, once it is. Preparing again asks for a new one, unless the device was given. */
  get lost(): GpuLostInfo | undefined {
    return this.#session.live.lost;
  }

  /**
   * Validates, packs and uploads a matrix, in pieces that the device can bind.
   * @returns the caller's: dispose it
   * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape
   * @throws {@link BackendUnavailableError} if the device has no memory left for it, or is lost and was given; nothing is kept then
   */
  prepare(weights: QuantizedWeights): Promise<GpuWeights> {
    return this.#matrices.prepare(weights);
  }

  /**
   * Takes packed bytes that are on this device already, e.g. as a framework's tensor: the whole matrix in one piece.
   *
   * @param packed what the bytes are: as `packWeights` describes them
   * @param where stays the caller's, and has to live as long as it is used; its offset a multiple of 16
   * @throws {@link RangeError} if the bytes do not fit the shape
   */
  adopt(packed: PackedShape, where: GpuBinding): GpuWeights {
    return this.#matrices.adopt(packed, where);
  }

  alloc(byteLength: number, label = 'buffer'): GpuBinding {
    return this.#storage.alloc(byteLength, label);
  }

  /** @throws {@link RangeError} for what `alloc` of this backend did not give, or twice */
  free(handle: GpuBinding): void {
    this.#storage.free(handle);
  }

  part({ buffer, offset = 0, byteLength: whole }: GpuBinding, begin: number, byteLength: number): GpuBinding {
    if (begin % 4 !== 0 || begin < 0 || byteLength < 0 || begin + byteLength > whole)
      throw new RangeError(
        `part: begin expected a multiple of 4, and an end inside of ${whole} bytes, got [${begin}, ${begin + byteLength}).`,
      );
    return { buffer, offset: offset + begin, byteLength };
  }

  /** What was run before it still reads the old bytes, what is run after it the new ones. */
  write(handle: GpuBinding, data: ArrayBufferView): void {
    this.#storage.write(handle, data);
  }

  /** Waits for what was run so far. */
  read(handle: GpuBinding, into: ArrayBufferView): Promise<void> {
    return this.#storage.read(handle, into);
  }

  /**
   * Checks and decides everything about work on operands of this device: kernels, parameters, bind groups. What the device refuses
   * is thrown by the next call, or by {@link flush}.
   *
   * Working buffers are shared by all calls: one that has been outgrown is bound anew by the next run.
   * @throws {@link TypeError}, {@link RangeError} for work and operands that do not fit, {@link UnsupportedError} for an op without WGSL,
   * and for attention
   */
  bind(work: Work<GpuWeights>, operands: readonly (GpuBinding | undefined)[]): Call<GpuBinding> {
    const live = this.#recording();
    if (work.kind === 'attention')
      throw new UnsupportedError("bind: attention does not run on WebGPU yet. Use the device 'wasm'.");
    const describe = work.kind === 'op' ? bindOp(live, work) : bindProduct(this, live, work);
    return this.#session.watched(
      () => new GpuCall(work, operands, live, describe),
      refusal(() => nameOf(live, work)),
    );
  }

  /**
   * Records a call.
   *
   * @param pass a caller's, which begins, ends and submits it; default: the backend's own, which {@link flush} submits
   */
  run(call: Call<GpuBinding>, changes?: Changes<GpuBinding>, pass?: GpuComputePass): void {
    const live = this.#recording();
    if (!(call instanceof GpuCall) || call.live !== live)
      throw new RangeError('run: the call was bound by another backend, or to a device that was lost. Bind it again.');
    if (call.work.kind === 'product') for (const matrix of call.work.matrices) checkThere(matrix, live.device);
    if (pass) live.scratch.keepRetired = true;
    const operands = changes?.operands;
    if (operands || !call.isCurrent)
      this.#session.watched(
        () => (operands ? call.change(operands) : call.renew()),
        refusal(() => nameOf(live, call.work)),
      );
    if (call.dispatches.length) record(pass ?? live.recorder.pass, call.dispatches);
  }

  /** Submits what was run, and resolves once it and all else on the device is done; rejects with the first thing that was refused. */
  flush(): Promise<void> {
    return this.#session.finished();
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
    this.#session.checkUsable();
    const { device } = this.#session.checkLive();
    const checked = checkActivations(this, x, prepared, options, gpuBinding);
    checkProduct<GpuBinding>(prepared, checked.M, options, gpuBinding);
    checkResident(device, x, prepared, options);
    return await submitMatmul(this.#session, x, prepared, options, checked);
  }

  /**
   * Records the work of {@link matmul} into a compute pass that the caller began, ends and submits, on {@link gpuDevice}. What the
   * device refuses is thrown by the next call, or by {@link flush}.
   *
   * @param x f32 [M,K] row-major
   * @param options `out` f32 [M,N], overwritten. `multiply` and `residual` may be `out` itself; else no operand lies in its buffer
   * @throws {@link TypeError}, {@link RangeError} for shapes that do not fit; nothing was recorded then
   */
  record(pass: GpuComputePass, x: GpuBinding, prepared: GpuWeights, options: GpuRecordOptions): void {
    const { M = x.byteLength / 4 / prepared.K, bias, multiply, residual, out } = options;
    const work = { ...options, kind: 'product', matrices: [prepared], M, each: [options] } as const;
    this.run(this.bind(work, [x, bias, multiply, residual, out]), undefined, pass);
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
    const live = this.#recording();
    const describe = () => describeRows(live, source, where, options);
    record(
      pass,
      this.#session.watched(
        describe,
        refusal(() => rowsKernel(source, options)),
      ),
    );
  }

  /**
   * Records y[m,n] += offset · Σ_k x[m,k]: what a constant in every weight adds to a product that was recorded before.
   *
   * @param x f32 [M,K]
   * @throws {@link RangeError} for operands that do not fit; nothing was recorded then
   */
  recordOffset(pass: GpuComputePass, x: GpuBinding, options: GpuOffsetOptions): void {
    const live = this.#recording();
    record(
      pass,
      this.#session.watched(
        () => describeOffset(live, x, options),
        refusal(() => OFFSET_ID),
      ),
    );
  }

  /** Compiles what `matmul` takes for this matrix at M rows, beside other work. */
  async warmUp(
    prepared: GpuWeights,
    M: number,
    options: DecompositionOptions & { readonly bias?: boolean } = {},
  ): Promise<void> {
    const decomposition = resolveDecomposition(options, 'warmUp');
    this.#session.checkUsable();
    const { live } = this.#session;
    const { pipelines, features } = live;
    const gemm = chooseGemm(live, prepared, Math.max(1, Math.min(M, SLICE_ROWS)), decomposition, endOf(options));
    const decompose = decomposeOptions(decomposition, gemm.together, features);
    await Promise.all([
      pipelines.warm(wgslDecomposeId(decompose), () => wgslDecompose(decompose)),
      pipelines.warm(gemm.id, gemm.kernel),
    ]);
  }

  /** Id of the gemm kernel that `matmul` takes for this matrix at M rows. */
  kernelFor(prepared: GpuWeights, M: number, options: DecompositionOptions & Partial<WgslEnd> = {}): string {
    return gemmId(this.#session.live, prepared, M, resolveDecomposition(options, 'kernelFor'), endOf(options));
  }

  memory(): MemoryReport {
    const packedBytes = this.#matrices.byteLength;
    const { scratch: own, params, codeTables, readbacks } = this.#session.live;
    const paramBytes = params.byteLength + codeTables.byteLength;
    const scratch = { ...own.sizes, params: paramBytes, readback: readbacks.byteLength };
    return { packedBytes, scratch, scratchBytes: Object.values(scratch).reduce((a, b) => a + b, 0), wasmBytes: 0 };
  }

  /** Frees every buffer; also destroys the device if the backend made it. */
  dispose(): void {
    if (this.#session.disposed) return;
    this.#matrices.dispose();
    this.#storage.dispose();
    this.#session.dispose();
  }

  /** @internal by {@link GpuWeights.dispose} */
  release(prepared: GpuWeights): void {
    this.#matrices.release(prepared);
  }

  #recording(): Live {
    this.#session.checkUsable();
    return this.#session.checkLive();
  }
}

/** The name of work in errors of the device. */
function nameOf(live: Live, work: Work<GpuWeights>): string {
  if (work.kind === 'op') return work.spec.name;
  if (work.kind === 'attention') return work.kind;
  const { matrices, M } = work;
  return gemmId(live, matrices[0], M, resolveDecomposition(work, 'matmul'));
}

const refusal = (name: () => string) => (message: string) =>
  new GpuError(`record: the GPU refused ${name()}: ${message}`);

const endOf = ({ bias = false, activation, multiply, residual }: Partial<WgslEnd>): WgslEnd => ({
  bias,
  activation,
  multiply,
  residual,
});
