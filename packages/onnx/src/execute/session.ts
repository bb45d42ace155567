/**
 * The session that ONNX Runtime's `InferenceSession` drives: a cut model, executed region by region.
 */
import type { WasmBackend } from '@msd/core';
import { SessionStateError } from '../errors.ts';
import type { OrtHandler, OrtMetadata, OrtModule, OrtRunOptions, OrtSession, OrtTensor } from '../ort.ts';
import { ortVersion } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import type { NodeReport, RegionReport, SessionReport } from '../report.ts';
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
  readonly components: 1 | 2;
  readonly plan: Plan;
  readonly sessions: readonly OrtSession[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  readonly fileBytes: number;
}

const NO_MEMORY = { packedBytes: 0, scratchBytes: 0, wasmBytes: 0 };

/** Runs a cut model. Calls of `run` are served one after the other. */
export class CutSession implements MsdHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly #specs: readonly InputSpec[];
  readonly #slots = new Slots();
  readonly #inputSlots: readonly number[];
  readonly #all: Schedule;
  readonly #schedules = new Map<string, Schedule>();
  readonly #packedBytes: number;
  #model: CutModel | undefined;
  #executor: Executor;
  #report: Omit<SessionReport, 'nodes' | 'bytesCopiedPerCall' | 'memory'>;
  #nodes: readonly NodeReport[];
  /** The last run that is not done, if any. */
  #busy: Promise<void> | undefined;
  #closed = false;

  constructor(model: CutModel) {
    this.#model = model;
    this.#nodes = model.nodes;
    this.inputNames = model.inputs.map((input) => input.name);
    this.outputNames = model.outputs.map((output) => output.name);
    this.inputMetadata = model.inputs.map(metadataOf);
    this.outputMetadata = model.outputs.map(metadataOf);
    this.#specs = model.inputs.map(inputSpec);
    this.#inputSlots = this.inputNames.map((name) => this.#slots.of(name));
    this.#all = makeSchedule(model.plan, this.#slots, new Set(this.outputNames));
    this.#packedBytes = model.backend.memory().packedBytes;
    this.#executor = new Executor(model.ort, model.backend, model.components, this.#slots.size);
    const version = ortVersion(model.ort);
    this.#report = {
      regions: model.regions,
      foreignRunsPerCall: this.#all.foreignRuns,
      foreignSessions: model.sessions.length,
      weights: { fileBytes: model.fileBytes, packedBytes: this.#packedBytes },
      ...(version !== undefined && { ortVersion: version }),
    };
  }

  get report(): SessionReport {
    const { backend, plan } = this.#model ?? {};
    const memory = backend?.memory() ?? NO_MEMORY;
    const { packedBytes, scratchBytes, wasmBytes } = memory;
    const kernels = new Map<string, string>();
    for (const region of plan ?? []) {
      if ('session' in region) continue;
      for (const { node, prepared } of region.nodes) {
        kernels.set(node, backend!.kernelFor(prepared, Math.max(1, this.#executor.rowsOf(node))));
      }
    }
    const nodes = this.#nodes.map((node) => {
      const kernel = kernels.get(node.name);
      return kernel === undefined ? node : { ...node, kernel };
    });
    const bytesCopiedPerCall = { ...this.#executor.copied };
    return { ...this.#report, nodes, bytesCopiedPerCall, memory: { packedBytes, scratchBytes, wasmBytes } };
  }

  async run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>> {
    if (this.#closed) throw new SessionStateError('run: session, expected a live one, got one after release().');
    this.#check(feeds);
    const names = Object.keys(fetches);
    const schedule = this.#scheduleFor(names);
    const targets = this.#targets(names, fetches);
    if (this.#busy === undefined && schedule.foreignRuns === 0) {
      this.#begin(feeds);
      this.#executor.runSync(schedule, targets);
      return this.#collect(names, targets);
    }
    return this.#inTurn(async () => {
      this.#begin(feeds);
      await this.#executor.run(schedule, targets, options);
      return this.#collect(names, targets);
    });
  }

  async dispose(): Promise<void> {
    this.#closed = true;
    await this.#inTurn(async () => {
      const model = this.#model;
      this.#model = undefined;
      if (!model) return;
      // The names of the last kernels stay readable, the memory goes.
      this.#schedules.clear();
      model.backend.dispose();
      await Promise.all(model.sessions.map((session) => session.release()));
    });
  }

  startProfiling(): void {
    for (const session of this.#model?.sessions ?? []) session.startProfiling();
  }

  endProfiling(): void {
    for (const session of this.#model?.sessions ?? []) session.endProfiling();
  }

  #check(feeds: Readonly<Record<string, OrtTensor>>): void {
    for (const spec of this.#specs) checkFeed(spec, feeds[spec.name]);
    checkExtraFeeds(this.#specs, feeds);
  }

  #begin(feeds: Readonly<Record<string, OrtTensor>>): void {
    this.#executor.begin();
    for (let i = 0; i < this.inputNames.length; i++) {
      this.#executor.feed(this.#inputSlots[i]!, feeds[this.inputNames[i]!]!);
    }
  }

  #scheduleFor(names: readonly string[]): Schedule {
    if (names.length === this.outputNames.length) return this.#all;
    const key = JSON.stringify(names);
    let schedule = this.#schedules.get(key);
    if (!schedule) {
      schedule = makeSchedule(this.#model!.plan, this.#slots, new Set(names));
      this.#schedules.set(key, schedule);
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

  #collect(names: readonly string[], targets: ReadonlyMap<number, OrtTensor> | undefined): Record<string, OrtTensor> {
    const results: Record<string, OrtTensor> = {};
    for (const name of names) {
      const slot = this.#slots.of(name);
      const result = this.#executor.take(slot);
      const target = targets?.get(slot);
      results[name] = target && target !== result ? fillTarget(name, target, result) : result;
    }
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
