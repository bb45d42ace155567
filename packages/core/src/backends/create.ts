import type { DeviceName } from '../device-name.ts';
import { createTeam, type ThreadOptions } from '../threads/team.ts';
import { requireCarrier, requireSimd } from '../wasm/features.ts';
import type { BackendBase } from './backend.ts';
import type { ReferenceBackend, ReferenceBackendOptions } from './reference/backend.ts';
import { WasmBackend, type WasmOptions } from './wasm/backend.ts';
import type { WebGpuBackend } from './webgpu/backend.ts';
import type { WebGpuOptions } from './webgpu/options.ts';

/** Options of the wasm backend. */
export interface WasmBackendOptions extends WasmOptions, ThreadOptions {}

/**
 * Creates a backend. Asynchronous, because a GPU has to be asked for, and workers have to start.
 *
 * @param device 'wasm' (SIMD128, with threads if the page allows them), 'webgpu' (its code is loaded on demand) or 'reference' (the
 *   specification, slow)
 * @returns a backend that you own: call `dispose()` when you are done
 * @throws {@link BackendUnavailableError} if the engine lacks SIMD128, WebGPU, memory, or the carrier asked for
 * @example
 * const backend = await createBackend('wasm');
 * const prepared = backend.prepare(quantizeWeights(w, { N, K, format: 'int4' }));
 * const y = backend.matmul(x, prepared);
 */
export async function createBackend(device: 'wasm', options?: WasmBackendOptions): Promise<WasmBackend>;
export async function createBackend(device: 'reference', options?: ReferenceBackendOptions): Promise<ReferenceBackend>;
export async function createBackend(device: 'webgpu', options?: WebGpuOptions): Promise<WebGpuBackend>;
export async function createBackend(
  device: DeviceName,
  options: WasmBackendOptions & ReferenceBackendOptions & WebGpuOptions = {},
): Promise<BackendBase> {
  switch (device) {
    case 'wasm':
      return options.heap ? createWasmBackend(options) : createThreadedBackend(options);
    case 'webgpu':
      return await (await import('./webgpu/backend.ts')).WebGpuBackend.create(options);
    case 'reference':
      return new (await import('./reference/backend.ts')).ReferenceBackend(options);
    default:
      throw new RangeError(`createBackend: device expected 'wasm', 'webgpu' or 'reference', got ${String(device)}.`);
  }
}

/**
 * The WASM backend at once, on one thread: for callers that cannot await, like kernels of another library.
 *
 * @returns the caller's: dispose it
 * @throws {@link BackendUnavailableError} if the engine lacks SIMD128 or memory
 */
export function createWasmBackend(options: WasmOptions = {}): WasmBackend {
  requireSimd();
  requireCarrier(options.carrier);
  return new WasmBackend(options);
}

/**
 * The WASM backend with its threads, as from `createBackend('wasm')`, with nothing else in the bundle.
 *
 * @returns the caller's: dispose it
 * @throws {@link BackendUnavailableError} if the engine lacks SIMD128, memory, or the carrier asked for
 */
export async function createThreadedBackend(options: WasmBackendOptions = {}): Promise<WasmBackend> {
  requireSimd();
  requireCarrier(options.carrier);
  const team = await createTeam(options);
  try {
    return new WasmBackend(options, team);
  } catch (error) {
    team.release();
    throw error;
  }
}
