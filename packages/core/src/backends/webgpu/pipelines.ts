/** Pipelines by kernel id, bind groups by what they bind: both are made once. */

import { PARAM_WORDS, type WgslKernel } from '../../wgsl/wgsl.ts';
import {
  type GpuBindGroup,
  type GpuBindGroupLayout,
  type GpuBuffer,
  type GpuDevice,
  type GpuPipeline,
  SHADER_STAGE_COMPUTE,
} from './api.ts';

export interface Pipeline {
  readonly id: string;
  readonly pipeline: GpuPipeline;
  readonly layout: GpuBindGroupLayout;
  /** Of all with the same bindings. */
  readonly layoutId: string;
}

/** A piece of a buffer that a shader sees. */
export interface BoundRange {
  readonly buffer: GpuBuffer;
  readonly offset: number;
  readonly size: number;
}

/** Bind groups keep what they bind alive: the oldest go. */
const MAX_BIND_GROUPS = 512;

export class Pipelines {
  readonly #device: GpuDevice;
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #layouts = new Map<string, GpuBindGroupLayout>();
  readonly #bindGroups = new Map<string, GpuBindGroup>();
  readonly #bufferIds = new WeakMap<GpuBuffer, number>();
  #nextBufferId = 0;
  #generation = 0;

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  /** Another number once pipelines have been forgotten. */
  get generation(): number {
    return this.#generation;
  }

  /** Made at once: the caller is recording. `warm` compiles beforehand, beside other work. */
  get(id: string, kernel: () => WgslKernel): Pipeline {
    const known = this.#pipelines.get(id);
    if (known) return known;
    const { descriptor, layout, layoutId } = this.#describe(kernel());
    const made = { id, pipeline: this.#device.createComputePipeline(descriptor), layout, layoutId };
    this.#pipelines.set(id, made);
    return made;
  }

  /** Compiles without holding up the queue; errors of the compiler reject. */
  async warm(id: string, kernel: () => WgslKernel): Promise<void> {
    if (this.#pipelines.has(id)) return;
    const { descriptor, layout, layoutId } = this.#describe(kernel());
    const pipeline = await this.#device.createComputePipelineAsync(descriptor);
    if (!this.#pipelines.has(id)) this.#pipelines.set(id, { id, pipeline, layout, layoutId });
  }

  /** @param params the uniform block, bound with a dynamic offset */
  bindGroup({ id, layout, layoutId }: Pipeline, params: GpuBuffer, ranges: readonly BoundRange[]): GpuBindGroup {
    const key = [
      layoutId,
      this.#idOf(params),
      ...ranges.map((r) => `${this.#idOf(r.buffer)}:${r.offset}:${r.size}`),
    ].join(' ');
    const known = this.#bindGroups.get(key);
    if (known) {
      this.#bindGroups.delete(key); // and to the end: the map is in the order of use
      this.#bindGroups.set(key, known);
      return known;
    }
    const group = this.#device.createBindGroup({
      label: id,
      layout,
      entries: [
        { binding: 0, resource: { buffer: params, offset: 0, size: 4 * PARAM_WORDS } },
        ...ranges.map((resource, i) => ({ binding: i + 1, resource })),
      ],
    });
    this.#bindGroups.set(key, group);
    if (this.#bindGroups.size > MAX_BIND_GROUPS) {
      const [oldest] = this.#bindGroups.keys();
      this.#bindGroups.delete(oldest);
    }
    return group;
  }

  /** Forgets pipelines and bind groups, and with them the buffers that these hold. */
  clear(): void {
    this.#generation++;
    this.#pipelines.clear();
    this.#bindGroups.clear();
  }

  #describe(kernel: WgslKernel) {
    const device = this.#device;
    const layoutId = kernel.buffers.join();
    let layout = this.#layouts.get(layoutId);
    if (!layout) {
      layout = device.createBindGroupLayout({
        label: `msd ${layoutId}`,
        entries: [
          {
            binding: 0,
            visibility: SHADER_STAGE_COMPUTE,
            buffer: { type: 'uniform', hasDynamicOffset: true, minBindingSize: 4 * PARAM_WORDS },
          },
          ...kernel.buffers.map((use, i) => ({
            binding: i + 1,
            visibility: SHADER_STAGE_COMPUTE,
            buffer: { type: use === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
          })),
        ],
      });
      this.#layouts.set(layoutId, layout);
    }
    const descriptor = {
      label: kernel.id,
      layout: device.createPipelineLayout({ label: `msd ${layoutId}`, bindGroupLayouts: [layout] }),
      compute: { module: device.createShaderModule({ label: kernel.id, code: kernel.code }), entryPoint: 'main' },
    };
    return { descriptor, layout, layoutId };
  }

  #idOf(buffer: GpuBuffer): number {
    let id = this.#bufferIds.get(buffer);
    if (id === undefined) {
      id = this.#nextBufferId++;
      this.#bufferIds.set(buffer, id);
    }
    return id;
  }
}
