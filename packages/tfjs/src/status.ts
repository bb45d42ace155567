/** Where MSD runs now, and waiting until it is ready there. */

import { convolutionsPending } from './convolution/kernels.ts';
import { fallbackBytes, prepare } from './fallback.ts';
import { hostOf } from './kernels/hosts.ts';
import { recurrentPending } from './recurrent/layer.ts';
import { requireRegistration } from './state.ts';
import { loadersTaught } from './teachers.ts';

export interface Status {
  readonly backend: string;
  /**
   * Where products and look-ups run: 'tfjs heap' (wasm), 'copied per call' (cpu, and wasm builds that hide their memory), 'webgpu pass',
   * or 'dequantized' (float weights on a backend without MSD's kernels, or before `ready()`).
   */
  readonly weights: 'tfjs heap' | 'copied per call' | 'webgpu pass' | 'dequantized';
  /** Bytes of float copies that dequantizing keeps. */
  readonly dequantizedBytes: number;
}

/**
 * Resolves when MSD is ready on tfjs's current backend: at once on cpu and wasm; on webgpu the device is probed first, and
 * until then weights are dequantized. The functions that load or accelerate models wait for it by themselves. tfjs's own
 * loaders know MSD's ops and layers from then on.
 *
 * @throws `BackendUnavailableError` if the device cannot run MSD's kernels
 * @example
 * ```ts
 * await tf.setBackend('webgpu');
 * register(tf);
 * await ready();
 * ```
 */
export async function ready(): Promise<Status> {
  const { tf } = requireRegistration('ready');
  await Promise.all([prepare(tf), loadersTaught()]);
  await Promise.all([recurrentPending(), convolutionsPending()]); // of layers that wait for them
  return status();
}

/** Where MSD runs on tfjs's current backend. */
export function status(): Status {
  const { tf } = requireRegistration('status');
  const backend = tf.getBackend();
  const weights = hostOf(tf.backend(), backend)?.weights ?? 'dequantized';
  return { backend, weights, dequantizedBytes: fallbackBytes() };
}
