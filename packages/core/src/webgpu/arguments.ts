/** Checks of what the WebGPU backend is given, beyond those that all backends share. */
import { checkActivations, checkProduct, type OperandKind } from '../backends/arguments.ts';
import type { Plan } from '../decompose/contract.ts';
import type { GpuBinding } from './api.ts';
import type { WebGpuBackend } from './backend.ts';
import { bindingLimit } from './live.ts';
import type { GpuMatmulOptions, GpuRecordOptions } from './options.ts';
import { GpuWeights } from './weights.ts';

const gpuBinding: OperandKind<GpuBinding> = {
  name: 'a GPU buffer binding { buffer, offset, byteLength }',
  half: false,
  is: (operand): operand is GpuBinding =>
    'buffer' in operand && 'byteLength' in operand && !ArrayBuffer.isView(operand),
  place: ({ buffer, offset = 0 }) => ({ buffer, begin: offset }),
};

/** Shapes and kinds of operands, and that the matrix is this backend's and still there. @returns M and the plan */
export function checkShapes(
  backend: WebGpuBackend,
  x: Float32Array | GpuBinding,
  prepared: GpuWeights,
  options: GpuMatmulOptions,
): { M: number; plan: Plan } {
  if (!(prepared instanceof GpuWeights))
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  const checked = checkActivations(backend, x, prepared, options, gpuBinding);
  checkProduct<GpuBinding>(prepared, checked.M, options, gpuBinding);
  if (!prepared.pieces) throw new RangeError('matmul: the weights have been disposed of.');
  return checked;
}

/** That every buffer can be bound where it is, and none is read by the dispatch that writes it. */
export function checkBuffers(x: Float32Array | GpuBinding, prepared: GpuWeights, options: GpuMatmulOptions): void {
  const limit = bindingLimit(prepared.gpuDevice);
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
}

/** What is recorded cannot be staged or read back: everything is on the GPU already. */
export function checkRecorded(x: GpuBinding, options: GpuRecordOptions): void {
  const { out, bias, multiply, residual } = options;
  for (const [name, operand] of Object.entries({ x, out, bias, multiply, residual }))
    if ((operand === undefined && name === 'out') || (operand as unknown) instanceof Float32Array)
      throw new TypeError(`record: ${name} expected ${gpuBinding.name}, got ${operand?.constructor.name}.`);
}
