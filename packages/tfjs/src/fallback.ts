/**
 * Backends that MSD has no kernels for (webgl, and others; webgpu until it is ready): weights become float once and stay so beside the packed ones,
 * until those are disposed of. Slow to start, full size, right: reports name it.
 */
import { UnsupportedError } from '@msd/core';
import { hostOf, isProbed, prepareHost } from './kernels/hosts.ts';
import { DEQUANTIZE } from './kernels/index.ts';
import type { QuantizedTensor } from './quantized-tensor.ts';
import { realValues } from './rows.ts';
import { realShape } from './spec.ts';
import type { Tensor, TfNamespace } from './tf.ts';
import { factorsOf, withoutPowers } from './weights/powers.ts';

/** Do MSD's kernels run on the current backend? On WebGPU from the moment on that its device has been probed. */
export function runsHere(tf: TfNamespace): boolean {
  const name = tf.getBackend();
  if (hostOf(tf.backend(), name)) return true;
  if (isProbed(name)) void prepareBackend(tf);
  return false;
}

/**
 * Makes the current backend ready: on WebGPU the device is probed. What was dequantized before that is given back.
 *
 * @throws `BackendUnavailableError` if the device cannot run MSD's kernels
 */
export async function prepare(tf: TfNamespace): Promise<void> {
  await tf.ready();
  if (await prepareHost(tf.backend(), tf.getBackend())) sweepFloats(true);
}

/** The same for those who can do without; `ready` says why. */
export const prepareBackend = (tf: TfNamespace): Promise<void> => prepare(tf).catch(() => {});

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
  const real = tf.keep(runsHere(tf) ? onDevice(tf, w) : fromInts(tf, w));
  floats.set(w.packed, real);
  return real;
}

function onDevice(tf: TfNamespace, { packed, spec }: QuantizedTensor): Tensor {
  const attrs = { spec: withoutPowers(spec) as never };
  const real = () => tf.engine().runKernel(DEQUANTIZE, { w: packed }, attrs) as Tensor;
  const factors = factorsOf(spec);
  return factors ? tf.tidy(() => tf.mul(real(), tf.tensor2d(factors, [factors.length, 1]))) : real();
}

function fromInts(tf: TfNamespace, { packed, spec }: QuantizedTensor): Tensor {
  const values = packed.dataSync<'int32'>();
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return tf.tensor(realValues(spec, bytes), realShape(spec), 'float32');
}

/** A fresh real tensor, the caller's. */
export function dequantized(tf: TfNamespace, w: QuantizedTensor): Tensor {
  if (runsHere(tf)) return onDevice(tf, w);
  return tf.clone(realTensor(tf, w));
}

/** @throws {@link UnsupportedError} where a fallback makes no sense */
export function requireMatrix(w: QuantizedTensor, where: string): void {
  if (w.spec.kind !== 'matrix')
    throw new UnsupportedError(`${where}: w, expected a matrix, got ${String(w)}. Quantize it with use: 'matMul'.`);
}
