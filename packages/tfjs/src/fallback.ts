/**
 * Backends that MSD has no kernels for (webgl, and others): weights become float once and stay so beside the packed ones,
 * until those are disposed of. Slow to start, full size, right: reports name it.
 */
import { UnsupportedError } from '@msd/core';
import { DEQUANTIZE, GPU_BACKEND, HOST_BACKENDS } from './kernels/index.ts';
import { gpuTakes, prepareGpu } from './kernels/webgpu.ts';
import type { QuantizedTensor } from './quantized-tensor.ts';
import { realValues } from './rows.ts';
import { type MatrixSpec, realShape } from './spec.ts';
import type { Tensor, TfNamespace } from './tf.ts';

/** Has the current backend MSD's kernels? */
export const hasKernels = (tf: TfNamespace): boolean => HOST_BACKENDS.includes(tf.getBackend());

/** Does `matMul` run in integers on the current backend? On WebGPU from the moment on that {@link ready} has resolved. */
export function multipliesHere(tf: TfNamespace, spec: MatrixSpec): boolean {
  if (hasKernels(tf)) return true;
  if (tf.getBackend() !== GPU_BACKEND) return false;
  void prepareGpu(tf.backend()).catch(() => {}); // `ready` says why
  return gpuTakes(tf.backend(), spec);
}

/** For those who may wait anyway: on WebGPU the device is probed before the first product. `status` tells if it failed. */
export async function prepareBackend(tf: TfNamespace): Promise<void> {
  await tf.ready();
  if (tf.getBackend() === GPU_BACKEND) await prepareGpu(tf.backend()).catch(() => {});
}

const floats = /* @__PURE__ */ new Map<Tensor, Tensor>();

/** Drops float copies whose packed tensor is gone; all of them if `every`. */
export function sweepFloats(every = false): void {
  for (const [packed, real] of floats)
    if (every || packed.isDisposed) {
      real.dispose();
      floats.delete(packed);
    }
}

/** Bytes of float copies that a fallback keeps now. */
export const fallbackBytes = (): number => {
  sweepFloats();
  return [...floats.values()].reduce((sum, { size }) => sum + 4 * size, 0);
};

/** The real tensor; the fallback's to dispose of. */
export function realTensor(tf: TfNamespace, w: QuantizedTensor): Tensor {
  sweepFloats();
  const known = floats.get(w.packed);
  if (known) return known;
  const values = w.packed.dataSync<'int32'>();
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const real = tf.keep(tf.tensor(realValues(w.spec, bytes), realShape(w.spec), 'float32'));
  floats.set(w.packed, real);
  return real;
}

/** A fresh real tensor, the caller's. */
export function dequantized(tf: TfNamespace, w: QuantizedTensor): Tensor {
  if (hasKernels(tf)) return tf.engine().runKernel(DEQUANTIZE, { w: w.packed }, { spec: w.spec as never }) as Tensor;
  return tf.clone(realTensor(tf, w));
}

/** @throws {@link UnsupportedError} where a fallback makes no sense */
export function requireMatrix(w: QuantizedTensor, where: string): void {
  if (w.spec.kind !== 'matrix')
    throw new UnsupportedError(`${where}: w, expected a matrix, got ${String(w)}. Quantize it with use: 'matMul'.`);
}
