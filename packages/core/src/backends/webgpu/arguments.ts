/** Checks of what the WebGPU backend is given, beyond those that all backends share. */

import type { Decomposition } from '../../decompose/contract.ts';
import { BackendUnavailableError } from '../../errors.ts';
import { checkActivations, checkProduct, type OperandKind } from '../arguments.ts';
import type { GpuBinding, GpuDevice } from './api.ts';
import type { WebGpuBackend } from './backend.ts';
import { bindingLimit } from './live.ts';
import type { GpuMatmulOptions, GpuRecordOptions } from './options.ts';
import { GpuWeights } from './weights.ts';

export const gpuBinding: OperandKind<GpuBinding> = {
  name: 'a GPU buffer binding { buffer, offset, byteLength }',
  half: false,
  is: (operand): operand is GpuBinding =>
    'buffer' in operand && 'byteLength' in operand && !ArrayBuffer.isView(operand),
  place: ({ buffer, offset = 0 }) => ({ buffer, begin: offset }),
};

/** That a product can run on a device: shapes and kinds of operands, where they lie, and whose the matrix is. */
export function checkMatmul(
  backend: WebGpuBackend,
  device: GpuDevice,
  x: Float32Array | GpuBinding,
  prepared: GpuWeights,
  options: GpuMatmulOptions,
): { M: number; decomposition: Decomposition } {
  if (!(prepared instanceof GpuWeights))
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  const checked = checkActivations(backend, x, prepared, options, gpuBinding);
  checkProduct<GpuBinding>(prepared, checked.M, options, gpuBinding);
  checkThere(prepared, device);
  checkBuffers(device, x, prepared, options);
  return checked;
}

/** That a matrix is still there. */
export function checkThere({ pieces, gpuDevice }: GpuWeights, device: GpuDevice): void {
  if (!pieces) throw new RangeError('matmul: the weights have been disposed of.');
  if (gpuDevice !== device)
    throw new BackendUnavailableError('matmul: the device of these weights was lost. Prepare them again.');
}

/** That an operand lies inside its buffer, where shaders can find it. */
export function checkInside(name: string, { buffer, offset = 0, byteLength }: GpuBinding, align = 4): void {
  if (offset % align !== 0 || offset < 0 || offset + byteLength > buffer.size)
    throw new RangeError(
      `${name} expected an offset that is a multiple of ${align} inside its buffer of ${buffer.size} bytes, got bytes [${offset}, ${offset + byteLength}).`,
    );
}

/** That it fits one binding. */
export function checkBindable(name: string, { byteLength }: GpuBinding, device: GpuDevice): void {
  const limit = bindingLimit(device);
  if (byteLength > limit)
    throw new RangeError(`${name} of ${byteLength} bytes exceeds this device's bindings of ${limit}.`);
}

function checkBuffers(
  device: GpuDevice,
  x: Float32Array | GpuBinding,
  { N, K }: GpuWeights,
  options: GpuMatmulOptions,
): void {
  const { bias, multiply, residual, out } = options;
  for (const [name, operand] of Object.entries({ x, bias, multiply, residual, out }))
    if (operand !== undefined && !(operand instanceof Float32Array)) checkInside(`matmul: ${name}`, operand);
  if (bias && out && !(bias instanceof Float32Array) && !(out instanceof Float32Array)) {
    const [begin, its] = [bias.offset ?? 0, out.offset ?? 0];
    if (bias.buffer === out.buffer && begin < its + out.byteLength && its < begin + bias.byteLength)
      throw new RangeError('matmul: bias expected to lie apart from out, got overlapping memory.');
  }
  const limit = bindingLimit(device);
  if (4 * Math.max(N, K) > limit)
    throw new RangeError(`matmul: a row of ${Math.max(N, K)} values exceeds this device's bindings of ${limit} bytes.`);
}

/** What is recorded cannot be staged or read back: everything is on the GPU already. */
export function checkRecorded(x: GpuBinding, options: GpuRecordOptions): void {
  const { out, bias, multiply, residual } = options;
  for (const [name, operand] of Object.entries({ x, out, bias, multiply, residual }))
    if ((operand === undefined && name === 'out') || (operand as unknown) instanceof Float32Array)
      throw new TypeError(`record: ${name} expected ${gpuBinding.name}, got ${operand?.constructor.name}.`);
}
