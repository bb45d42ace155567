/**
 * Runs a schedule. Results of claimed nodes stay in MSD's arena until their last use; what the caller wants lands in
 * JavaScript memory; what ONNX Runtime needs is handed over as a view, which it copies before it does anything else.
 */
import type { ArenaHandle, PlanOptions, WasmBackend } from '@msd/core';
import { createOrtTensor, type OrtModule, type OrtRunOptions, type OrtTensor, usesProxy } from '../ort.ts';
import type { CopiedBytes } from '../report.ts';
import { checkTarget } from './bind.ts';
import { foreignError } from './foreign.ts';
import type { ForeignStep, MatmulStep, Schedule } from './schedule.ts';

/** A value during a run: in the arena (`handle`), in JavaScript memory (`floats`), or any tensor (`tensor`). */
interface Value {
  readonly dims: readonly number[];
  readonly handle: ArenaHandle | undefined;
  readonly floats: Float32Array | undefined;
  tensor: OrtTensor | undefined;
}

type Copied = { -readonly [Key in keyof CopiedBytes]: CopiedBytes[Key] };

/** Executes schedules over one backend. Runs must not overlap: the session sees to that. */
export class Executor {
  /** Of the last run. */
  copied: Copied = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
  readonly #ort: OrtModule;
  readonly #backend: WasmBackend;
  readonly #split: PlanOptions;
  readonly #values: (Value | undefined)[];
  /** Rows of the last call, by matmul step. */
  readonly #rows = new Map<string, number>();
  #intermediateBytes = 0;
  #peakIntermediateBytes = 0;

  constructor(ort: OrtModule, backend: WasmBackend, split: PlanOptions, slots: number) {
    this.#ort = ort;
    this.#backend = backend;
    this.#split = split;
    this.#values = new Array<Value | undefined>(slots).fill(undefined);
  }

  /** Rows of a node's last call; 1 before the first. */
  rowsOf(node: string): number {
    return this.#rows.get(node) ?? 1;
  }

  /** The most that results in the arena have taken at once. */
  get peakIntermediateBytes(): number {
    return this.#peakIntermediateBytes;
  }

  /** Begins a run. */
  begin(): void {
    this.copied = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
  }

  /** Puts an input into its slot. */
  feed(slot: number, tensor: OrtTensor): void {
    this.#values[slot] = valueOfTensor(tensor);
  }

  /** Ends a run: lets go of what it computed. */
  end(): void {
    this.#values.fill(undefined);
  }

  /** A result, from its slot. */
  take(slot: number): OrtTensor {
    return this.#tensorOf(this.#values[slot]!);
  }

  /**
   * Runs a schedule without foreign steps, synchronously.
   *
   * @param targets arrays to fill, by slot.
   */
  runSync(schedule: Schedule, targets: ReadonlyMap<number, OrtTensor> | undefined): void {
    try {
      for (const step of schedule.steps) this.#matmul(step as MatmulStep, targets);
    } catch (error) {
      this.#abandon();
      throw error;
    }
  }

  /** Runs any schedule. */
  async run(
    schedule: Schedule,
    targets: ReadonlyMap<number, OrtTensor> | undefined,
    options: OrtRunOptions,
  ): Promise<void> {
    try {
      for (const step of schedule.steps) {
        if (step.kind === 'matmul') this.#matmul(step, targets);
        else await this.#foreign(step, options);
      }
    } catch (error) {
      this.#abandon();
      throw error;
    }
  }

  #matmul(step: MatmulStep, targets: ReadonlyMap<number, OrtTensor> | undefined): void {
    const x = this.#values[step.x]!;
    const { dims } = x;
    const source = x.handle ?? x.floats;
    if (source === undefined) {
      throw new TypeError(`run: ${step.node}: A, expected float32, got ${x.tensor?.type}.`);
    }
    const last = dims.length - 1;
    if (last < 0 || dims[last] !== step.K) {
      throw new RangeError(`run: ${step.node}: A, expected [..., ${step.K}], got [${dims.join(', ')}].`);
    }
    const outDims = dims.slice();
    outDims[last] = step.N;
    let rows = 1;
    for (let i = 0; i < last; i++) rows *= dims[i]!;
    const bias = typeof step.bias === 'number' ? this.#biasOf(step, step.bias) : step.bias;
    const target = targets?.get(step.y);
    if (target) checkTarget(step.node, target, 'float32', outDims);
    const floats = target ? (target.data as Float32Array) : step.wanted ? new Float32Array(rows * step.N) : undefined;
    const handle = floats ? undefined : this.#alloc(4 * rows * step.N);
    this.#values[step.y] = { dims: outDims, handle, floats, tensor: target };
    if (rows > 0) {
      const out = floats ?? handle;
      this.#backend.matmul(source, step.weights, { ...this.#split, bias, out, M: rows });
    }
    this.#rows.set(step.node, rows);
    if (x.floats) this.copied.intoMsd += 4 * rows * step.K;
    if (floats) this.copied.outOfMsd += 4 * rows * step.N;
    this.#free(step.frees);
  }

  #biasOf(step: MatmulStep, slot: number): Float32Array | ArenaHandle {
    const bias = this.#values[slot]!;
    const source = bias.handle ?? bias.floats;
    if (source === undefined)
      throw new TypeError(`run: ${step.node}: bias, expected float32, got ${bias.tensor?.type}.`);
    if (bias.dims.length !== 1 || bias.dims[0] !== step.N) {
      throw new RangeError(`run: ${step.node}: bias, expected [${step.N}], got [${bias.dims.join(', ')}].`);
    }
    return source;
  }

  async #foreign(step: ForeignStep, options: OrtRunOptions): Promise<void> {
    const copies = usesProxy(this.#ort);
    const feeds: Record<string, OrtTensor> = {};
    for (const { name, slot } of step.inputs) {
      const tensor = this.#tensorOf(this.#values[slot]!);
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? this.#copyOf(tensor) : tensor;
    }
    for (const { name, tensor } of step.constants) {
      this.copied.intoOrt += byteLengthOf(tensor);
      feeds[name] = copies ? this.#copyOf(tensor) : tensor;
    }
    let results: Readonly<Record<string, OrtTensor>>;
    try {
      results = await step.session.run(feeds, step.fetches, options);
    } catch (error) {
      throw foreignError(`region ${step.region}`, error);
    }
    for (let i = 0; i < step.fetches.length; i++) {
      const tensor = results[step.fetches[i]!]!;
      this.copied.outOfOrt += byteLengthOf(tensor);
      this.#values[step.outputs[i]!] = valueOfTensor(tensor);
    }
    this.#free(step.frees);
  }

  /** The value as a tensor; one in the arena becomes a view that is good until the arena is touched again. */
  #tensorOf(value: Value): OrtTensor {
    if (value.tensor) return value.tensor;
    if (value.handle) {
      return createOrtTensor(this.#ort, 'float32', this.#backend.arena.float32(value.handle), value.dims);
    }
    value.tensor = createOrtTensor(this.#ort, 'float32', value.floats!, value.dims);
    return value.tensor;
  }

  /** In proxy mode ONNX Runtime takes buffers away; it gets its own. */
  #copyOf(tensor: OrtTensor): OrtTensor {
    const { data } = tensor;
    if (!ArrayBuffer.isView(data)) return tensor;
    const copy = (data as Uint8Array).slice();
    return createOrtTensor(this.#ort, tensor.type, copy, tensor.dims);
  }

  #alloc(byteLength: number): ArenaHandle {
    const handle = this.#backend.arena.alloc(byteLength, 'intermediate');
    this.#intermediateBytes += byteLength;
    this.#peakIntermediateBytes = Math.max(this.#peakIntermediateBytes, this.#intermediateBytes);
    return handle;
  }

  #release(handle: ArenaHandle): void {
    this.#backend.arena.free(handle);
    this.#intermediateBytes -= handle.byteLength;
  }

  #free(slots: readonly number[]): void {
    for (const slot of slots) {
      const handle = this.#values[slot]?.handle;
      if (handle) this.#release(handle);
      this.#values[slot] = undefined;
    }
  }

  /** After an error: gives back what the run still held. */
  #abandon(): void {
    for (const value of this.#values) if (value?.handle) this.#release(value.handle);
    this.#values.fill(undefined);
  }
}

function valueOfTensor(tensor: OrtTensor): Value {
  const floats = tensor.type === 'float32' ? (tensor.data as Float32Array) : undefined;
  return { dims: tensor.dims, handle: undefined, floats, tensor };
}

function byteLengthOf({ data }: OrtTensor): number {
  return ArrayBuffer.isView(data) ? data.byteLength : 0;
}
