/** Requests a device, and finds out what it can do. */
import { BackendUnavailableError } from '../../errors.ts';
import type { GpuFeatures } from '../../wgsl/wgsl.ts';
import type { Gpu, GpuDevice } from './api.ts';

export interface DeviceOptions {
  /** Where to request a device: default `navigator.gpu`. In Node, `create([])` of the npm package `webgpu`. */
  readonly gpu?: Gpu | undefined;
  readonly powerPreference?: 'low-power' | 'high-performance' | undefined;
}

/** @throws {@link BackendUnavailableError} where there is no WebGPU or no adapter */
export async function requestDevice({ gpu, powerPreference }: DeviceOptions): Promise<GpuDevice> {
  const entry = gpu ?? (globalThis as { navigator?: { gpu?: Gpu } }).navigator?.gpu;
  if (!entry)
    throw new BackendUnavailableError(
      "createBackend: this engine has no WebGPU. Use device 'wasm', or pass gpu (in Node: create([]) of the npm package webgpu).",
    );
  const adapter = await entry.requestAdapter(powerPreference && { powerPreference });
  if (!adapter)
    throw new BackendUnavailableError(
      "createBackend: WebGPU found no adapter. Use device 'wasm'; on Linux look for libvulkan1 and a Vulkan driver.",
    );
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  return await adapter.requestDevice({
    label: 'msd',
    requiredFeatures: ['subgroups', 'timestamp-query'].filter((name) => adapter.features.has(name)),
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
  });
}

/** Compiles a shader that needs nothing but what it is asked for. */
async function compiles(device: GpuDevice, code: string): Promise<boolean> {
  device.pushErrorScope('validation');
  device.createShaderModule({ label: 'msd probe', code });
  return (await device.popErrorScope()) === null;
}

/**
 * Finds out with test shaders what the device can do: a given device does not say which language features it compiles.
 */
export async function probeFeatures(device: GpuDevice): Promise<GpuFeatures> {
  const main = (builtin: string, body: string) => `@compute @workgroup_size(1) fn main(${builtin}) { ${body} }`;
  const [packedDot, subgroups] = await Promise.all([
    compiles(device, `requires packed_4x8_integer_dot_product; ${main('', '_ = dot4I8Packed(1u, 1u);')}`),
    device.features.has('subgroups') &&
      compiles(
        device,
        `enable subgroups; requires subgroup_id; ${main('@builtin(subgroup_id) s: u32', '_ = subgroupAdd(s);')}`,
      ),
  ]);
  return { packedDot, subgroups };
}
