/**
 * The part of WebGPU that the backend uses, as structural types: a real GPUDevice fits, whichever version of the WebGPU types
 * it comes from, and the declarations of this package compile without any.
 *
 * Flags are numbers here because Node has no `GPUBufferUsage` until somebody installs it.          (WebGPU, §5.1, §5.2, §9.1)
 */
export const BufferUsage = {
  MAP_READ: 0x1,
  COPY_SRC: 0x4,
  COPY_DST: 0x8,
  UNIFORM: 0x40,
  STORAGE: 0x80,
} as const;
export const MAP_MODE_READ = 1;
export const SHADER_STAGE_COMPUTE = 4;

export interface GpuBuffer {
  readonly size: number;
  readonly usage: number;
  getMappedRange(offset?: number, size?: number): ArrayBuffer;
  mapAsync(mode: number, offset?: number, size?: number): Promise<unknown>;
  unmap(): unknown;
  destroy(): unknown;
}

export interface GpuPipeline {
  readonly label: string;
}

export interface GpuShaderModule {
  readonly label: string;
}

export interface GpuBindGroup {
  readonly label: string;
}

export interface GpuBindGroupLayout {
  readonly label: string;
}

export interface GpuPipelineLayout {
  readonly label: string;
}

/** A compute pass that is being recorded: the backend's own, or a caller's. */
export interface GpuComputePass {
  setPipeline(pipeline: GpuPipeline): unknown;
  setBindGroup(index: number, group: GpuBindGroup | null | undefined, offsets?: Iterable<number>): unknown;
  dispatchWorkgroups(x: number, y?: number, z?: number): unknown;
  end(): unknown;
}

export interface GpuCommandBuffer {
  readonly label: string;
}

export interface GpuCommandEncoder {
  beginComputePass(descriptor?: { label?: string }): GpuComputePass;
  copyBufferToBuffer(from: GpuBuffer, fromOffset: number, to: GpuBuffer, toOffset: number, size: number): unknown;
  finish(): GpuCommandBuffer;
}

export interface GpuQueue {
  writeBuffer(
    buffer: GpuBuffer,
    bufferOffset: number,
    data: ArrayBufferView<ArrayBuffer> | ArrayBuffer,
    dataOffset?: number,
    size?: number,
  ): unknown;
  submit(buffers: Iterable<GpuCommandBuffer>): unknown;
  onSubmittedWorkDone(): Promise<unknown>;
}

export interface GpuLimits {
  readonly maxStorageBufferBindingSize: number;
  readonly maxBufferSize: number;
  readonly maxComputeWorkgroupsPerDimension: number;
  readonly minStorageBufferOffsetAlignment: number;
  readonly minUniformBufferOffsetAlignment: number;
}

export interface GpuErrorLike {
  readonly message: string;
}

export interface GpuLostInfo {
  readonly reason: string;
  readonly message: string;
}

export type GpuErrorFilter = 'validation' | 'out-of-memory' | 'internal';

/** The part of `GPUDevice` that is used. */
export interface GpuDevice {
  readonly features: { has(name: string): boolean };
  readonly limits: GpuLimits;
  readonly queue: GpuQueue;
  readonly lost: Promise<GpuLostInfo>;
  createBuffer(descriptor: { label?: string; size: number; usage: number }): GpuBuffer;
  createShaderModule(descriptor: { label?: string; code: string }): GpuShaderModule;
  createBindGroupLayout(descriptor: { label?: string; entries: GpuLayoutEntry[] }): GpuBindGroupLayout;
  createPipelineLayout(descriptor: {
    label?: string;
    bindGroupLayouts: Iterable<GpuBindGroupLayout | null | undefined>;
  }): GpuPipelineLayout;
  createComputePipeline(descriptor: GpuPipelineDescriptor): GpuPipeline;
  createComputePipelineAsync(descriptor: GpuPipelineDescriptor): Promise<GpuPipeline>;
  createBindGroup(descriptor: {
    label?: string;
    layout: GpuBindGroupLayout;
    entries: Iterable<GpuBindEntry>;
  }): GpuBindGroup;
  createCommandEncoder(descriptor?: { label?: string }): GpuCommandEncoder;
  pushErrorScope(filter: GpuErrorFilter): unknown;
  popErrorScope(): Promise<GpuErrorLike | null>;
  destroy(): unknown;
}

export interface GpuLayoutEntry {
  binding: number;
  visibility: number;
  buffer: { type: 'uniform' | 'storage' | 'read-only-storage'; hasDynamicOffset?: boolean; minBindingSize?: number };
}

export interface GpuBufferRange {
  buffer: GpuBuffer;
  offset?: number;
  size?: number;
}

export interface GpuBindEntry {
  binding: number;
  /** A buffer's range, from us; devices take more. */
  resource: GpuBufferRange | object;
}

export interface GpuPipelineDescriptor {
  label?: string;
  layout: GpuPipelineLayout | 'auto';
  compute: { module: GpuShaderModule; entryPoint?: string };
}

export interface GpuAdapter {
  readonly features: { has(name: string): boolean };
  readonly limits: GpuLimits;
  readonly info: { readonly vendor: string; readonly architecture: string; readonly device: string };
  requestDevice(descriptor?: {
    label?: string;
    // biome-ignore lint/suspicious/noExplicitAny: the WebGPU types name the features, and differ in which
    requiredFeatures?: any[];
    requiredLimits?: Record<string, number>;
  }): Promise<GpuDevice>;
}

/** `navigator.gpu`, or what `create([])` of the npm package `webgpu` returns. */
export interface Gpu {
  requestAdapter(options?: { powerPreference?: 'low-power' | 'high-performance' }): Promise<GpuAdapter | null>;
}

/** Bytes [offset, offset + byteLength) of a GPU buffer, `offset` a multiple of 4. The buffer stays its owner's. */
export interface GpuBinding {
  readonly buffer: GpuBuffer;
  /** Default 0. */
  readonly offset?: number | undefined;
  readonly byteLength: number;
}
