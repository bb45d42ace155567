/** One kernel in a pass: its pipeline, its parameters, what it binds. Described once, recorded any number of times. */

import type { WgslKernel } from '../../wgsl/wgsl.ts';
import type { GpuBindGroup, GpuBinding, GpuComputePass, GpuDevice, GpuPipeline } from './api.ts';
import type { Live } from './live.ts';
import type { BoundRange } from './pipelines.ts';

export interface Dispatch {
  readonly id: string;
  readonly pipeline: GpuPipeline;
  readonly group: GpuBindGroup;
  /** Of the parameter block, as WebGPU wants it. */
  readonly offsets: readonly number[];
  readonly width: number;
  readonly height: number;
}

/** @param words of the parameter block; `ranges` in the order of the kernel's bindings */
export function describe(
  { device, pipelines, params }: Live,
  id: string,
  kernel: () => WgslKernel,
  words: readonly number[],
  ranges: readonly BoundRange[],
  workgroups: number,
): Dispatch {
  const pipeline = pipelines.get(id, kernel);
  const block = params.get(words);
  const width = Math.min(workgroups, device.limits.maxComputeWorkgroupsPerDimension);
  return {
    id,
    pipeline: pipeline.pipeline,
    group: pipelines.bindGroup(pipeline, block.buffer, ranges),
    offsets: [block.offset],
    width,
    height: Math.ceil(workgroups / width),
  };
}

export function record(pass: GpuComputePass, dispatches: readonly Dispatch[]): void {
  for (const { pipeline, group, offsets, width, height } of dispatches) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, offsets);
    pass.dispatchWorkgroups(width, height);
  }
}

/** Bindings start at multiples of the device's alignment: the rest of an offset, `at` words, is the shader's business. */
export function bind(
  { limits }: GpuDevice,
  { buffer, offset = 0, byteLength }: GpuBinding,
): { range: BoundRange; at: number } {
  const base = alignDown(offset, limits.minStorageBufferOffsetAlignment);
  return { range: { buffer, offset: base, size: offset - base + byteLength }, at: (offset - base) / 4 };
}

/** Several operands of one buffer through one binding. @returns `at`: the first word of one of them */
export function bindTogether(
  device: GpuDevice,
  operands: readonly GpuBinding[],
): { range: BoundRange; at(operand: GpuBinding): number } {
  const begin = Math.min(...operands.map(({ offset = 0 }) => offset));
  const end = Math.max(...operands.map(({ offset = 0, byteLength }) => offset + byteLength));
  const { range } = bind(device, { buffer: operands[0].buffer, offset: begin, byteLength: end - begin });
  return { range, at: ({ offset = 0 }) => (offset - range.offset) / 4 };
}

export const alignDown = (value: number, multiple: number): number => value - (value % multiple);
