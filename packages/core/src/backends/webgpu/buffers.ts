/** The backend's own buffers: parameter blocks, working buffers, and buffers that results are read back through. */
import { codeValues } from '../../lookup/rows.ts';
import { PARAM_WORDS } from '../../wgsl/wgsl.ts';
import { BufferUsage, type GpuBuffer, type GpuDevice } from './api.ts';
import type { BoundRange } from './pipelines.ts';
import type { Recorder } from './recorder.ts';

const { MAP_READ, COPY_SRC, COPY_DST, UNIFORM, STORAGE } = BufferUsage;

/** Blocks per page of parameters, and pages that are kept. */
const PAGE_BLOCKS = 64;
const MAX_PAGES = 64;

export interface ParamBlock {
  readonly buffer: GpuBuffer;
  readonly offset: number;
}

/**
 * Parameter blocks by content. A block is written once and never again, since a pass that uses it may not have been submitted
 * yet; layers of a model call with the same few shapes, so there are few.
 */
export class Params {
  readonly #device: GpuDevice;
  readonly #stride: number;
  #blocks = new Map<string, ParamBlock>();
  #pages: GpuBuffer[] = [];

  constructor(device: GpuDevice) {
    this.#device = device;
    this.#stride = Math.max(4 * PARAM_WORDS, device.limits.minUniformBufferOffsetAlignment);
  }

  get(words: readonly number[]): ParamBlock {
    const key = words.join();
    const known = this.#blocks.get(key);
    if (known) return known;
    const index = this.#blocks.size;
    if (index === PAGE_BLOCKS * MAX_PAGES) {
      this.clear();
      return this.get(words);
    }
    if (index % PAGE_BLOCKS === 0)
      this.#pages.push(
        this.#device.createBuffer({ label: 'msd params', size: PAGE_BLOCKS * this.#stride, usage: UNIFORM | COPY_DST }),
      );
    const block = { buffer: this.#pages.at(-1)!, offset: (index % PAGE_BLOCKS) * this.#stride };
    const data = new Uint32Array(PARAM_WORDS);
    data.set(words);
    this.#device.queue.writeBuffer(block.buffer, block.offset, data);
    this.#blocks.set(key, block);
    return block;
  }

  /** Its pages go when the last bind group and pass that hold them do: nothing here may destroy them. */
  clear(): void {
    this.#blocks = new Map();
    this.#pages = [];
  }

  get byteLength(): number {
    return this.#pages.length * PAGE_BLOCKS * this.#stride;
  }

  dispose(): void {
    for (const page of this.#pages) page.destroy();
    this.clear();
  }
}

const CODE_TABLE_BYTES = 4 * 256;
const MAX_CODE_TABLES = 256;

/**
 * The 256 real values that the codes of a uint8 table stand for, rounded once; found by content, since a model has few.
 */
export class CodeTables {
  readonly #device: GpuDevice;
  #tables = new Map<string, GpuBuffer>();

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  get({ scale, min }: { readonly scale: number; readonly min: number }): BoundRange {
    const key = `${scale} ${min}`;
    let buffer = this.#tables.get(key);
    if (!buffer) {
      if (this.#tables.size === MAX_CODE_TABLES) this.clear();
      buffer = this.#device.createBuffer({ label: 'msd codes', size: CODE_TABLE_BYTES, usage: STORAGE | COPY_DST });
      this.#device.queue.writeBuffer(buffer, 0, codeValues({ scale, min }));
      this.#tables.set(key, buffer);
    }
    return { buffer, offset: 0, size: CODE_TABLE_BYTES };
  }

  /** As with parameters: passes may hold them still. */
  clear(): void {
    this.#tables = new Map();
  }

  get byteLength(): number {
    return this.#tables.size * CODE_TABLE_BYTES;
  }

  dispose(): void {
    for (const buffer of this.#tables.values()) buffer.destroy();
    this.clear();
  }
}

export const GPU_SCRATCH = ['x', 'digits', 'scales', 'y', 'bias', 'multiply', 'residual'] as const;
export type GpuScratchName = (typeof GPU_SCRATCH)[number];

/**
 * Working buffers by name. They grow in powers of two and stay; queue order keeps one call's contents from the next one's, so one
 * of each is enough.
 */
export class GpuScratch {
  readonly #device: GpuDevice;
  readonly #recorder: Recorder;
  readonly #buffers = new Map<GpuScratchName, GpuBuffer>();
  /** Outgrown, but perhaps part of a pass that its recorder has not submitted. Together smaller than those in use. */
  #retired: GpuBuffer[] = [];
  #generation = 0;
  /** Set while callers record into passes of their own. */
  keepRetired = false;

  /** @param recorder whose passes they are part of */
  constructor(device: GpuDevice, recorder: Recorder) {
    this.#device = device;
    this.#recorder = recorder;
  }

  /** Another number once a buffer has been replaced. */
  get generation(): number {
    return this.#generation;
  }

  reserve(name: GpuScratchName, byteLength: number): GpuBuffer {
    const have = this.#buffers.get(name);
    if (have && have.size >= byteLength) return have;
    const size = Math.min(2 ** Math.ceil(Math.log2(Math.max(256, byteLength))), Math.max(this.#limit, byteLength));
    const buffer = this.#device.createBuffer({
      label: `msd scratch ${name}`,
      size,
      usage: STORAGE | COPY_SRC | COPY_DST,
    });
    this.#buffers.set(name, buffer);
    if (have) this.#retire(have);
    return buffer;
  }

  /** Forgets all of them: they are made again when they are needed. */
  clear(): void {
    for (const buffer of this.#buffers.values()) this.#retire(buffer);
    this.#buffers.clear();
  }

  #retire(buffer: GpuBuffer): void {
    this.#generation++;
    if (this.keepRetired) this.#retired.push(buffer);
    else this.#recorder.destroy(buffer);
  }

  get #limit(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.#device.limits;
    return Math.min(maxStorageBufferBindingSize, maxBufferSize);
  }

  /** Bytes by name. */
  get sizes(): Record<string, number> {
    const sizes: Record<string, number> = {};
    for (const name of GPU_SCRATCH) sizes[name] = this.#buffers.get(name)?.size ?? 0;
    sizes.retired = this.#retired.reduce((sum, { size }) => sum + size, 0);
    return sizes;
  }

  dispose(): void {
    for (const buffer of [...this.#buffers.values(), ...this.#retired]) buffer.destroy();
    this.#buffers.clear();
    this.#retired = [];
  }
}

/** Buffers for reading back, used again once unmapped. */
export class Readbacks {
  readonly #device: GpuDevice;
  #idle: GpuBuffer[] = [];
  #all = new Set<GpuBuffer>();

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  take(byteLength: number): GpuBuffer {
    const at = this.#idle.findIndex(({ size }) => size >= byteLength && size <= 4 * Math.max(byteLength, 4096));
    if (at >= 0) return this.#idle.splice(at, 1)[0];
    const { maxBufferSize } = this.#device.limits;
    const size = Math.min(2 ** Math.ceil(Math.log2(Math.max(256, byteLength))), Math.max(maxBufferSize, byteLength));
    const buffer = this.#device.createBuffer({ label: 'msd readback', size, usage: MAP_READ | COPY_DST });
    this.#all.add(buffer);
    return buffer;
  }

  /** @param buffer unmapped. The eight last ones stay. */
  give(buffer: GpuBuffer): void {
    this.#idle.push(buffer);
    if (this.#idle.length > 8) this.drop(this.#idle.shift()!);
  }

  drop(buffer: GpuBuffer): void {
    this.#all.delete(buffer);
    buffer.destroy();
  }

  get byteLength(): number {
    let sum = 0;
    for (const { size } of this.#all) sum += size;
    return sum;
  }

  dispose(): void {
    for (const buffer of this.#all) buffer.destroy();
    this.#all.clear();
    this.#idle = [];
  }
}
