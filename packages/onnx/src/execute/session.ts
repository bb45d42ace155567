/**
 * The session that ONNX Runtime's `InferenceSession` drives: a cut model, executed region by region.
 */
import { SessionStateError } from '../errors.ts';
import { NotFetched } from '../ops/late.ts';
import type { OrtFeeds, OrtHandler, OrtMetadata, OrtRunOptions, OrtTensor } from '../ort.ts';
import { ortVersion } from '../ort.ts';
import { type CopiedBytes, NO_MEMORY, type NodeReport, type SessionReport } from '../report.ts';
import {
  checkExtraFeeds,
  checkFeed,
  completed,
  feedOf,
  fillTarget,
  type InputSpec,
  inputSpec,
  metadataOf,
} from './bind.ts';
import { chooseVariant } from './choose.ts';
import { type CutModel, type Live, shopOf } from './cut-model.ts';
import type { expectationOf } from './expected.ts';
import { liveReport, weightsOf } from './live-report.ts';
import { passedTensors } from './passed.ts';
import { Profile, type ProfileEvent } from './profile.ts';
import { Executor } from './run.ts';
import { type MsdRunOptions, parseRunOptions } from './run-options.ts';
import { makeSchedule, type Schedule, type Slots } from './schedule.ts';
import { snapshot } from './snapshot.ts';
import { type Value, valueOfTensor } from './value.ts';
import { warmedMilliseconds } from './warming.ts';
import { bodiesOn, forgetButLast, tidy, type Way } from './ways.ts';

/** A handler that can report. */
export interface MsdHandler extends OrtHandler {
  readonly report: SessionReport;
  /** The report, from now on with what its runs are expected to take. Absent: nothing is to be expected. */
  explain?(): Promise<SessionReport | undefined>;
}

const NOTHING: CopiedBytes = { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 };

/** Runs a cut model. Calls of `run` are served one after the other. */
export class CutSession implements MsdHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly #specs: readonly InputSpec[];
  readonly #known: ReadonlySet<string>;
  /** Names of outputs: a file may list one twice. */
  readonly #outputCount: number;
  readonly #slots: Slots;
  readonly #inputSlots: readonly number[];
  readonly #report: Omit<SessionReport, 'nodes' | 'bytesCopiedPerCall' | 'memory'>;
  readonly #nodes: readonly NodeReport[];
  #live: Live | undefined;
  /** Of the last run. */
  #copied = NOTHING;
  /** The last run that is not done, if any. */
  #busy: Promise<void> | undefined;
  #closed = false;
  /** Of a profile that is under way. */
  #profile: Profile | undefined;
  /** Of the last one that ended. */
  #profiled: readonly ProfileEvent[] | undefined;
  /** Of the last run. */
  #milliseconds: number | undefined;
  #expectationOf: typeof expectationOf | undefined;

  constructor(model: CutModel) {
    this.#nodes = model.nodes;
    this.inputNames = model.inputs.map((input) => input.name);
    this.outputNames = model.outputs.map((output) => output.name);
    this.inputMetadata = model.inputs.map(metadataOf);
    const { infos } = model.variants[0]!.shop.typed;
    this.outputMetadata = model.outputs.map((output) => metadataOf(completed(output, infos.get(output.name))));
    this.#specs = model.inputs.map(inputSpec);
    this.#known = new Set(this.inputNames);
    this.#outputCount = new Set(this.outputNames).size;
    const { slots, ways } = model.planned;
    this.#slots = slots;
    this.#inputSlots = this.inputNames.map((name) => slots.of(name));
    const executor = new Executor(model.ort, model.variants[0]!.shop, slots.size);
    this.#live = { model, executor, ways };
    if (model.profiledFrom !== undefined) {
      this.#profile = new Profile(model.profiledFrom);
      this.#profile.add('Session', 'session_initialization', model.profiledFrom, {});
    }
    const version = ortVersion(model.ort);
    const warmed = warmedMilliseconds();
    this.#report = {
      regions: model.regions,
      foreignRunsPerCall: Math.max(...ways.map(({ all }) => all.foreignRuns)),
      ...(ways.length > 1 && {
        branches: ways.map(({ variant: { taken }, all }) => ({ taken, foreignRunsPerCall: all.foreignRuns })),
      }),
      foreignSessions: model.sessions.length,
      weights: weightsOf(model),
      ...(model.graphOptimizationLevel !== undefined && { graphOptimizationLevel: model.graphOptimizationLevel }),
      ...(version !== undefined && { ortVersion: version }),
      ...(warmed !== undefined && { warmedMilliseconds: warmed }),
    };
  }

  get report(): SessionReport {
    const now = this.#live ? liveReport(this.#live, this.#nodes) : { nodes: this.#nodes, memory: NO_MEMORY };
    const profile = this.#profiled && { profile: this.#profiled };
    const lastRunMilliseconds = this.#milliseconds;
    const last = lastRunMilliseconds !== undefined && { lastRunMilliseconds };
    const expected = this.#live && this.#expectationOf?.(this.#live, lastRunMilliseconds, this.#profiled);
    return {
      ...{ ...this.#report, ...now, bytesCopiedPerCall: { ...this.#copied } },
      ...{ ...last, ...profile, ...(expected && { expected }) },
    };
  }

  async explain(): Promise<SessionReport> {
    ({ expectationOf: this.#expectationOf } = await import('./expected.ts'));
    return this.report;
  }

  async run(
    feeds: OrtFeeds,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>> {
    const live = this.#live;
    if (this.#closed || !live) {
      throw new SessionStateError('run: session, expected a live one, got one after release().');
    }
    const { ort, watch } = parseRunOptions(options as MsdRunOptions);
    const inputs = this.#specs.map((spec) => checkFeed(spec, feedOf(feeds, spec.name)));
    checkExtraFeeds(this.#known, feeds);
    const { executor, model } = live;
    const fed = (name: string): OrtTensor => inputs[this.inputNames.indexOf(name)]!;
    const way = live.ways[chooseVariant(model.choice, fed, shopOf(model).device)]!;
    const schedule = this.#scheduleFor(way, Object.keys(fetches));
    const { keeper } = shopOf(model).kv;
    const passed = passedTensors(way.variant.passed, fed, fetches, model.ort);
    const profile = this.#profile;
    const begun = performance.now();
    let isAtOnce = this.#busy === undefined && !keeper.isDue && !watch && !profile;
    if (isAtOnce && schedule.isSync) {
      try {
        this.#begin(live, inputs.map(valueOfTensor));
        executor.runSync(schedule);
        return this.#collect(live, passed, fetches, begun);
      } catch (error) {
        if (!(error instanceof NotFetched)) throw error;
        // Rare: sizes that need a kernel which none before did. It is waited for.
        isAtOnce = false;
      } finally {
        executor.end();
      }
    }
    const given = snapshot(live.model.ort, inputs, (i) => !isAtOnce || schedule.late.has(this.#inputSlots[i]!));
    const done = this.#inTurn(async () => {
      const start = performance.now();
      try {
        watch?.check();
        if (keeper.isDue) await keeper.turn();
        this.#begin(live, given.values);
        await executor.run(schedule, ort, watch, profile);
        return this.#collect(live, passed, fetches, start);
      } finally {
        executor.end();
        given.release();
        profile?.add('Session', 'model_run', start, {});
      }
    });
    return watch ? watch.orAborted(done) : done;
  }

  async dispose(): Promise<void> {
    this.#closed = true;
    await this.#inTurn(async () => {
      const model = this.#live?.model;
      if (!model) return;
      this.endProfiling();
      for (const { shop } of bodiesOn(this.#live!.ways)) shop.kv.keeper.close();
      this.#live = undefined;
      shopOf(model).kv.keeper.close();
      shopOf(model).residents.backend.dispose();
      model.close();
      await Promise.all(model.sessions.map((session) => session.release()));
    });
  }

  /** As if it had not run: plans of the last run's sizes stay. */
  forgetRuns(): void {
    this.#milliseconds = undefined;
    forgetButLast(this.#live?.ways ?? []);
    this.#copied = NOTHING;
  }

  startProfiling(): void {
    if (!this.#live) return;
    this.#profile = new Profile();
    for (const session of this.#live.model.sessions) session.startProfiling();
  }

  endProfiling(): void {
    if (!this.#profile) return;
    this.#profiled = this.#profile.events;
    // As ONNX Runtime Web does, which has no files.
    console.log(`${this.#profile}`);
    this.#profile = undefined;
    for (const session of this.#live?.model.sessions ?? []) session.endProfiling();
  }

  #begin({ model, executor, ways }: Live, inputs: readonly Value[]): void {
    const { space, kv } = shopOf(model);
    tidy(ways, space, kv.keeper);
    executor.begin();
    for (let i = 0; i < inputs.length; i++) executor.feed(this.#inputSlots[i]!, inputs[i]!);
  }

  #scheduleFor({ variant, all, schedules }: Way, names: readonly string[]): Schedule {
    if (names.length === this.#outputCount) return all;
    const key = JSON.stringify(names);
    let schedule = schedules.get(key);
    if (!schedule) {
      schedule = makeSchedule(variant.plan, this.#slots, new Set(names), variant.shop);
      schedules.set(key, schedule);
    }
    return schedule;
  }

  #collect(
    { executor }: Live,
    passed: ReadonlyMap<string, OrtTensor>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    begun: number,
  ): Record<string, OrtTensor> {
    const results: Record<string, OrtTensor> = Object.create(null); // any name, also __proto__
    for (const [name, target] of Object.entries(fetches)) {
      const tensor = passed.get(name);
      if (tensor) results[name] = target ? fillTarget(name, target, tensor) : tensor;
      else results[name] = executor.take(name, this.#slots.of(name), target);
    }
    this.#copied = executor.copied;
    this.#milliseconds = performance.now() - begun;
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
