/** One kernel in a pass: its pipeline, its parameters, what it binds. */
import type { GpuBinding, GpuComputePass, GpuDevice } from './api.ts';
import type { Live } from './live.ts';
import type { BoundRange } from './pipelines.ts';
import type { WgslKernel } from './wgsl.ts';

/** @param words of the parameter block; `ranges` in the order of the kernel's bindings */
export function dispatch(
  { device, pipelines, params }: Live,
  pass: GpuComputePass,
  id: string,
  kernel: () => WgslKernel,
  words: readonly number[],
  ranges: readonly BoundRange[],
  workgroups: number,
): void {
  const pipeline = pipelines.get(id, kernel);
  const block = params.get(words);
  pass.setPipeline(pipeline.pipeline);
  pass.setBindGroup(0, pipelines.bindGroup(pipeline, block.buffer, ranges), [block.offset]);
  const width = Math.min(workgroups, device.limits.maxComputeWorkgroupsPerDimension);
  pass.dispatchWorkgroups(width, Math.ceil(workgroups / width));
}

/** Bindings start at multiples of the device's alignment: the rest of an offset, `at` words, is the shader's business. */
export function bind(
  { limits }: GpuDevice,
  { buffer, offset = 0, byteLength }: GpuBinding,
): { range: BoundRange; at: number } {
  const base = alignDown(offset, limits.minStorageBufferOffsetAlignment);
  return { range: { buffer, offset: base, size: offset - base + byteLength }, at: (offset - base) / 4 };
}

export const alignDown = (value: number, multiple: number): number => value - (value % multiple);
