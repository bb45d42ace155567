/**
 * The session that ONNX Runtime's `InferenceSession` drives: a cut model, executed region by region.
 */
import type { MemoryReport, PlanOptions, WasmBackend } from '@msd/core';
import { SessionStateError } from '../errors.ts';
import type { OrtHandler, OrtMetadata, OrtModule, OrtRunOptions, OrtSession, OrtTensor } from '../ort.ts';
import { ortVersion } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import { type CopiedBytes, NO_MEMORY, type NodeReport, type RegionReport, type SessionReport } from '../report.ts';
import { checkExtraFeeds, checkFeed, fillTarget, type InputSpec, inputSpec, metadataOf } from './bind.ts';
import { Executor } from './run.ts';
import { makeSchedule, type Plan, type Schedule, Slots } from './schedule.ts';

/** A handler that can report. */
export interface MsdHandler extends OrtHandler {
  readonly report: SessionReport;
}

/** What a cut session is made of. */
export interface CutModel {
  readonly ort: OrtModule;
  readonly backend: WasmBackend;
  /** How activations become integers. */
  readonly split: PlanOptions;
  readonly plan: Plan;
  readonly sessions: readonly OrtSession[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  readonly fileBytes: number;
}

/** All that `dispose` lets go of: whoever refers to a step, a plan or the executor keeps MSD's memory. */
interface Live {
  readonly model: CutModel;
  readonly executor: Executor;
  /** For all outputs. */
  readonly all: Schedule;
  /** For subsets of them, by their names. */
  readonly schedules: Map<string, Schedule>;
}

/** Runs a cut model. Calls of `run` are served one after the other. */
export class CutSession implements MsdHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly #specs: readonly InputSpec[];
  readonly #slots = new Slots();
  readonly #inputSlots: readonly number[];
  readonly #report: Omit<SessionReport, 'nodes' | 'bytesCopiedPerCall' | 'memory'>;
  readonly #nodes: readonly NodeReport[];
  #live: Live | undefined;
  /** Of the last run. */
  #copied: CopiedBytes = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };
  /** The last run that is not done, if any. */
  #busy: Promise<void> | undefined;
  #closed = false;

  constructor(model: CutModel) {
    this.#nodes = model.nodes;
    this.inputNames = model.inputs.map((input) => input.name);
    this.outputNames = model.outputs.map((output) => output.name);
    this.inputMetadata = model.inputs.map(metadataOf);
    this.outputMetadata = model.outputs.map(metadataOf);
    this.#specs = model.inputs.map(inputSpec);
    this.#inputSlots = this.inputNames.map((name) => this.#slots.of(name));
    const all = makeSchedule(model.plan, this.#slots, new Set(this.outputNames));
    const executor = new Executor(model.ort, model.backend, model.split, this.#slots.size);
    this.#live = { model, executor, all, schedules: new Map() };
    const version = ortVersion(model.ort);
    this.#report = {
      regions: model.regions,
      foreignRunsPerCall: all.foreignRuns,
      foreignSessions: model.sessions.length,
      weights: { fileBytes: model.fileBytes, packedBytes: model.backend.memory().packedBytes },
      ...(version !== undefined && { ortVersion: version }),
    };
  }

  get report(): SessionReport {
    const kernels = this.#live ? kernelsOf(this.#live) : undefined;
    const nodes = this.#nodes.map((node) => {
      const kernel = kernels?.get(node.name);
      return kernel === undefined ? node : { ...node, kernel };
    });
    const memory = this.#live ? memoryOf(this.#live) : NO_MEMORY;
    const threads = this.#live && { threads: this.#live.model.backend.threads };
    return { ...this.#report, nodes, bytesCopiedPerCall: { ...this.#copied }, memory, ...threads };
  }

  async run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>> {
    const live = this.#live;
    if (this.#closed || !live) {
      throw new SessionStateError('run: session, expected a live one, got one after release().');
    }
    for (const spec of this.#specs) checkFeed(spec, feeds[spec.name]);
    checkExtraFeeds(this.#specs, feeds);
    const names = Object.keys(fetches);
    const schedule = this.#scheduleFor(live, names);
    const targets = this.#targets(names, fetches);
    if (this.#busy === undefined && schedule.foreignRuns === 0) {
      this.#begin(live, feeds);
      live.executor.runSync(schedule, targets);
      return this.#collect(live, names, targets);
    }
    return this.#inTurn(async () => {
      this.#begin(live, feeds);
      await live.executor.run(schedule, targets, options);
      return this.#collect(live, names, targets);
    });
  }

  async dispose(): Promise<void> {
    this.#closed = true;
    await this.#inTurn(async () => {
      const model = this.#live?.model;
      this.#live = undefined;
      if (!model) return;
      model.backend.dispose();
      await Promise.all(model.sessions.map((session) => session.release()));
    });
  }

  startProfiling(): void {
    for (const session of this.#live?.model.sessions ?? []) session.startProfiling();
  }

  endProfiling(): void {
    for (const session of this.#live?.model.sessions ?? []) session.endProfiling();
  }

  #begin({ executor }: Live, feeds: Readonly<Record<string, OrtTensor>>): void {
    executor.begin();
    for (let i = 0; i < this.inputNames.length; i++) {
      executor.feed(this.#inputSlots[i]!, feeds[this.inputNames[i]!]!);
    }
  }

  #scheduleFor({ model, all, schedules }: Live, names: readonly string[]): Schedule {
    if (names.length === this.outputNames.length) return all;
    const key = JSON.stringify(names);
    let schedule = schedules.get(key);
    if (!schedule) {
      schedule = makeSchedule(model.plan, this.#slots, new Set(names));
      schedules.set(key, schedule);
    }
    return schedule;
  }

  /** The pre-allocated outputs by slot, if there are any. */
  #targets(
    names: readonly string[],
    fetches: Readonly<Record<string, OrtTensor | null>>,
  ): Map<number, OrtTensor> | undefined {
    let targets: Map<number, OrtTensor> | undefined;
    for (const name of names) {
      const target = fetches[name];
      if (!target) continue;
      targets ??= new Map();
      targets.set(this.#slots.of(name), target);
    }
    return targets;
  }

  #collect(
    { executor }: Live,
    names: readonly string[],
    targets: ReadonlyMap<number, OrtTensor> | undefined,
  ): Record<string, OrtTensor> {
    this.#copied = executor.copied;
    const results: Record<string, OrtTensor> = {};
    for (const name of names) {
      const slot = this.#slots.of(name);
      const result = executor.take(slot);
      const target = targets?.get(slot);
      results[name] = target && target !== result ? fillTarget(name, target, result) : result;
    }
    executor.end();
    return results;
  }

  /** Runs when everything before is done. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#busy;
    let done!: () => void;
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#busy = mine;
    try {
      if (before) await before;
      return await work();
    } finally {
      if (this.#busy === mine) this.#busy = undefined;
      done();
    }
  }
}

/** The backend's memory; what runs put between the nodes is scratch, too. */
function memoryOf({ model, executor }: Live): MemoryReport {
  const { scratch, scratchBytes, ...rest } = model.backend.memory();
  const intermediates = executor.peakIntermediateBytes;
  return { ...rest, scratch: { ...scratch, intermediates }, scratchBytes: scratchBytes + intermediates };
}

/** Kernel ids by node, for the rows of each node's last call. */
function kernelsOf({ model, executor }: Live): Map<string, string> {
  const kernels = new Map<string, string>();
  for (const region of model.plan) {
    if ('session' in region) continue;
    for (const { node, prepared } of region.nodes) {
      kernels.set(node, model.backend.kernelFor(prepared, Math.max(1, executor.rowsOf(node)), model.split));
    }
  }
  return kernels;
}
