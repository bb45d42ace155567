import type { Backend, Device } from './backend.ts';
import { requireCarrier, requireSimd } from './features.ts';
import { ReferenceBackend, type ReferenceBackendOptions } from './reference.ts';
import { WasmBackend, type WasmOptions } from './wasm.ts';

/**
 * Creates a backend. Asynchronous, since devices are: a later one has to be asked for.
 *
 * @param device 'wasm' (SIMD128, one thread) or 'reference' (the specification, slow)
 * @returns the caller's: dispose it
 * @throws {@link BackendUnavailableError} if the engine lacks SIMD128, memory, or the carrier asked for
 * @example
 * const backend = await createBackend('wasm');
 * const prepared = backend.prepare(quantizeWeights(w, { N, K, format: 'int4' }));
 * const y = backend.matmul(x, prepared);
 */
export async function createBackend(device: 'wasm', options?: WasmOptions): Promise<WasmBackend>;
export async function createBackend(device: 'reference', options?: ReferenceBackendOptions): Promise<ReferenceBackend>;
export async function createBackend(
  device: Device,
  options: WasmOptions & ReferenceBackendOptions = {},
): Promise<Backend> {
  switch (device) {
    case 'wasm':
      return createWasmBackend(options);
    case 'reference':
      return new ReferenceBackend(options);
    default:
      throw new RangeError(`createBackend: device expected 'wasm' or 'reference', got ${String(device)}.`);
  }
}

/**
 * The WASM backend at once, for callers that cannot wait: kernels inside another library.
 *
 * @returns the caller's: dispose it
 * @throws {@link BackendUnavailableError} if the engine lacks SIMD128 or memory
 */
export function createWasmBackend(options: WasmOptions = {}): WasmBackend {
  requireSimd();
  requireCarrier(options.carrier);
  return new WasmBackend(options);
}
