/** Options of the WebGPU backend. */

import type { GpuFeatures } from '../../wgsl/wgsl.ts';
import type { MatmulOptions } from '../backend.ts';
import type { GpuBinding, GpuDevice } from './api.ts';
import type { DeviceOptions } from './request.ts';

export interface WebGpuOptions extends DeviceOptions {
  /**
   * A device to work on, e.g. a framework's. It stays the caller's: `dispose` does not destroy it. Default: an own one. In Node pass
   * `gpu` too, or keep it: Dawn crashes once what `create([])` returned is collected.
   */
  readonly device?: GpuDevice | undefined;
  /** Leaves a feature unused although the device has it. */
  readonly features?: Partial<GpuFeatures> | undefined;
  /** Largest GPU buffer for weights; larger matrices take several. Default 64 MiB: packing takes as much memory, once. */
  readonly pieceBytes?: number | undefined;
}

/** As the other backends take them; x and `out` are f32. */
export type GpuMatmulOptions = Omit<MatmulOptions<GpuBinding>, 'xType' | 'out' | 'outType'> & {
  readonly out?: Float32Array | GpuBinding | undefined;
};

/** As `matmul` takes them, all in GPU buffers, and `out` is one. */
export type GpuRecordOptions = GpuMatmulOptions & GpuEnds & { readonly out: GpuBinding };

/** Operands of the fused end, besides y. */
export interface GpuEnds {
  readonly bias?: GpuBinding | undefined;
  readonly multiply?: GpuBinding | undefined;
  readonly residual?: GpuBinding | undefined;
}
