/** What a session of a cut model holds. */
import type { Choice } from '../inline/branches.ts';
import type { OrtModule, OrtSession } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import type { PassedValue } from './passed.ts';
import type { Workshop } from './plan.ts';
import type { Executor } from './run.ts';
import type { RegionPlan, Schedule } from './schedule.ts';

/** What a cut session is made of. */
export interface CutModel {
  readonly ort: OrtModule;
  /** Ways through its branches: one, if nothing chooses. They share everything but types. */
  readonly variants: readonly CutVariant[];
  /** Which one a run takes. */
  readonly choice: Choice;
  readonly sessions: readonly OrtSession[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  /** When its creation began, if it is profiled from then on. */
  readonly profiledFrom: number | undefined;
  /** What ONNX Runtime would not do as it was asked. */
  readonly graphOptimizationLevel: string | undefined;
  /** Gives back files that rows are read from. */
  close(): void;
}

/** One way through a model. */
export interface CutVariant {
  readonly shop: Workshop;
  readonly plan: RegionPlan;
  /** Outputs that no region makes. */
  readonly passed: ReadonlyMap<string, PassedValue>;
  /** The branches on it. */
  readonly taken: readonly string[];
}

/** What variants share is in each of their workshops. */
export const shopOf = ({ variants: [first] }: CutModel): Workshop => first!.shop;

/** All that `dispose` lets go of: whoever refers to a step, a plan or the executor keeps MSD's memory. */
export interface Live {
  readonly model: CutModel;
  readonly executor: Executor;
  readonly ways: readonly Way[];
}

/** A variant with what it runs. */
export interface Way {
  readonly variant: CutVariant;
  /** For all outputs. */
  readonly all: Schedule;
  /** For subsets of them, by their names. */
  readonly schedules: Map<string, Schedule>;
}

export const schedulesOf = ({ all, schedules }: Way): readonly Schedule[] => [all, ...schedules.values()];
