/** Matrices of the WASM backend, and what was found out about multiplying with them. */
import type { Plan } from '../decompose/contract.ts';
import type { WeightFormat, WeightVariant } from '../formats/format.ts';
import { formats } from '../formats/index.ts';
import type { PackedLayout } from '../formats/layout.ts';
import { PACKED_VERSION, type PackedShape } from '../formats/packed.ts';
import type { FormatId } from '../formats/weights.ts';
import type { GemmShape } from '../gemm/registry.ts';
import type { ArenaHandle } from './arena.ts';
import type { PreparedWeights } from './backend.ts';
import type { Kernel } from './kernels.ts';
import type { Route } from './routes.ts';
import type { ScratchSizes } from './scratch.ts';
import type { Job } from './threads/job.ts';
import type { WasmBackend } from './wasm.ts';

/**
 * A call of one row that read and wrote whole panels in the arena, planned to the end. Programs multiply with the same matrices over
 * and over; planning anew takes 2 µs of a matrix's 20, most of it cache misses, since its weights have flushed the cache.
 */
export interface Repeat {
  readonly hasBias: boolean;
  readonly plan: Plan;
  /** Of the backend at that time: it is planned again once one has changed. */
  readonly memory: WebAssembly.Memory;
  readonly scratch: ScratchSizes;
  readonly threads: number;
  readonly decompose: Kernel;
  readonly gemm: Job;
}

/** A matrix in the arena. */
export class WasmWeights implements PreparedWeights {
  readonly version = PACKED_VERSION;
  readonly backend: WasmBackend;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;
  readonly layout: PackedLayout;
  readonly kernelFormat: WeightFormat;
  readonly variant: WeightVariant;
  /** Where the panels lie; `undefined` once disposed. */
  handle: ArenaHandle | undefined;
  /** Kernels, found on first use. */
  readonly routes = new Map<Plan, Partial<Record<GemmShape, Route>>>();
  /** The memory that they work on. */
  routesOn: WebAssembly.Memory | undefined;
  /** The last call, if it can be repeated. */
  repeat: Repeat | undefined;

  constructor(backend: WasmBackend, shape: PackedShape, layout: PackedLayout, handle: ArenaHandle) {
    this.backend = backend;
    this.format = shape.format;
    this.N = shape.N;
    this.K = shape.K;
    this.blockSize = shape.blockSize;
    this.kernelFormat = formats[shape.format];
    this.variant = shape;
    this.layout = layout;
    this.byteLength = layout.byteLength;
    this.handle = handle;
  }

  dispose(): void {
    if (this.handle) this.backend.release(this, this.handle);
    this.handle = undefined;
    this.repeat = undefined;
  }
}
