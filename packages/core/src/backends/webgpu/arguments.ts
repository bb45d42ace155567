/** Checks of arguments of the WebGPU backend, beyond those that all backends share. */

import { BackendUnavailableError } from '../../errors.ts';
import type { OperandKind } from '../arguments.ts';
import type { GpuBinding, GpuDevice } from './api.ts';
import { bindingLimit } from './live.ts';
import type { GpuMatmulOptions } from './options.ts';
import type { GpuWeights } from './weights.ts';

export const gpuBinding: OperandKind<GpuBinding> = {
  name: 'a GPU buffer binding { buffer, offset, byteLength }',
  half: false,
  is: (operand): operand is GpuBinding =>
    'buffer' in operand && 'byteLength' in operand && !ArrayBuffer.isView(operand),
  place: ({ buffer, offset = 0 }) => ({ buffer, begin: offset }),
};

/** Checks that a product can run on a device: its matrix is there, and so are its operands. */
export function checkResident(
  device: GpuDevice,
  x: Float32Array | GpuBinding,
  matrix: GpuWeights,
  operands: GpuMatmulOptions,
): void {
  checkThere(matrix, device);
  checkBuffers(device, x, matrix, operands);
}

/** Checks that a matrix is still there. */
export function checkThere({ pieces, gpuDevice }: GpuWeights, device: GpuDevice): void {
  if (!pieces) throw new RangeError('matmul: the weights have been disposed of.');
  if (gpuDevice !== device)
    throw new BackendUnavailableError('matmul: the device of these weights was lost. Prepare them again.');
}

/** Checks that an operand lies inside its buffer, at an offset that shaders can use. */
export function checkInside(name: string, { buffer, offset = 0, byteLength }: GpuBinding, align = 4): void {
  if (offset % align !== 0 || offset < 0 || offset + byteLength > buffer.size)
    throw new RangeError(
      `${name} expected an offset that is a multiple of ${align} inside its buffer of ${buffer.size} bytes, got bytes [${offset}, ${offset + byteLength}).`,
    );
}

/** Checks that it fits into one binding. */
export function checkBindable(name: string, { byteLength }: GpuBinding, device: GpuDevice): void {
  const limit = bindingLimit(device);
  if (byteLength > limit)
    throw new RangeError(`${name} of ${byteLength} bytes exceeds this device's bindings of ${limit}.`);
}

function checkBuffers(
  device: GpuDevice,
  x: Float32Array | GpuBinding,
  { N, K }: GpuWeights,
  { bias, multiply, residual, out }: GpuMatmulOptions,
): void {
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
