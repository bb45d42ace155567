/** One kernel on buffers of its own, without the backend's caches around it: for tests and benchmarks. */
import { BufferUsage, type GpuBuffer, type GpuDevice, MAP_MODE_READ } from '../src/backends/webgpu/api.ts';
import { Params } from '../src/backends/webgpu/buffers.ts';
import { Pipelines } from '../src/backends/webgpu/pipelines.ts';
import type { WgslKernel } from '../src/wgsl/wgsl.ts';

const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = BufferUsage;

export function gpuBuffer(device: GpuDevice, contents: number | ArrayBufferView<ArrayBuffer>): GpuBuffer {
  const bytes = typeof contents === 'number' ? contents : contents.byteLength;
  const buffer = device.createBuffer({ size: Math.max(4, bytes), usage: STORAGE | COPY_SRC | COPY_DST });
  if (typeof contents !== 'number') device.queue.writeBuffer(buffer, 0, contents);
  return buffer;
}

export async function readBuffer(device: GpuDevice, buffer: GpuBuffer): Promise<ArrayBuffer> {
  const copy = device.createBuffer({ size: buffer.size, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(MAP_MODE_READ);
  const bytes = copy.getMappedRange().slice(0);
  copy.destroy();
  return bytes;
}

/** @param buffers in the order of the kernel's bindings */
export function dispatch(
  device: GpuDevice,
  kernel: WgslKernel,
  words: readonly number[],
  buffers: readonly GpuBuffer[],
  workgroups: number,
): void {
  const pipelines = new Pipelines(device);
  const block = new Params(device).get(words);
  const pipeline = pipelines.get(kernel.id, () => kernel);
  const ranges = buffers.map((buffer) => ({ buffer, offset: 0, size: buffer.size }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline.pipeline);
  pass.setBindGroup(0, pipelines.bindGroup(pipeline, block.buffer, ranges), [block.offset]);
  pass.dispatchWorkgroups(workgroups);
  pass.end();
  device.queue.submit([encoder.finish()]);
}
