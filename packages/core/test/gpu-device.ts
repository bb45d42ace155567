/** Real devices with one thing changed, or watched. */
import type { Gpu, GpuBuffer, GpuDevice, GpuLimits } from '../src/backends/webgpu/api.ts';

/** A device with the limits and features that every WebGPU device has, and a list of what it complained about. */
export async function minimalDevice(gpu: Gpu): Promise<{ device: GpuDevice; complaints: string[] }> {
  const adapter = await gpu.requestAdapter();
  const device = await adapter!.requestDevice();
  return { device, complaints: complaintsOf(device) };
}

/** What no error scope catches. */
export function complaintsOf(device: GpuDevice): string[] {
  const complaints: string[] = [];
  (device as unknown as EventTarget).addEventListener('uncapturederror', (event) => {
    complaints.push((event as unknown as { error: { message: string } }).error.message);
  });
  return complaints;
}

/** Lets the device report other limits than it has. */
export function withLimits(device: GpuDevice, changed: Partial<GpuLimits>): GpuDevice {
  const { limits } = device;
  const all: GpuLimits = {
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxBufferSize: limits.maxBufferSize,
    maxComputeWorkgroupsPerDimension: limits.maxComputeWorkgroupsPerDimension,
    minStorageBufferOffsetAlignment: limits.minStorageBufferOffsetAlignment,
    minUniformBufferOffsetAlignment: limits.minUniformBufferOffsetAlignment,
    ...changed,
  };
  Object.defineProperty(device, 'limits', { value: all });
  return device;
}

/** Counts the bytes of all buffers that were made on the device from now on and not destroyed, whoever made them. */
export function liveBytes(device: GpuDevice): () => number {
  let bytes = 0;
  const createBuffer = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer: GpuBuffer = createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let isLive = true;
    bytes += buffer.size;
    buffer.destroy = () => {
      if (isLive) bytes -= buffer.size;
      isLive = false;
      return destroy();
    };
    return buffer;
  };
  return () => bytes;
}
