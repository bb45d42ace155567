/** What a session of a cut model holds. */
import type { Choice } from '../inline/branches.ts';
import type { OrtModule, OrtSession } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import type { Workshop } from './plan.ts';
import type { Executor } from './run.ts';
import type { CutVariant, PlannedWays, Way } from './ways.ts';

/** What a cut session is made of. */
export interface CutModel {
  readonly ort: OrtModule;
  /** Ways through its branches: one, if nothing chooses. They share everything but types. */
  readonly variants: readonly CutVariant[];
  /** The same, planned. */
  readonly planned: PlannedWays;
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

/** What variants share is in each of their workshops. */
export const shopOf = ({ variants: [first] }: CutModel): Workshop => first!.shop;

/** All that `dispose` lets go of: whoever refers to a step, a plan or the executor keeps MSD's memory. */
export interface Live {
  readonly model: CutModel;
  readonly executor: Executor;
  readonly ways: readonly Way[];
}
