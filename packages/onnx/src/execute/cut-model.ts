/** The parts of a session of a cut model. */
import type { Choice } from '../inline/branches.ts';
import type { OrtModule, OrtSession } from '../ort.ts';
import type { ValueInfo } from '../read/types.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import type { Workshop } from './plan.ts';
import type { Executor } from './run.ts';
import type { CutVariant, PlannedWays, Way } from './ways.ts';

/** The parts of a cut session. */
export interface CutModel {
  readonly ort: OrtModule;
  /** Ways through its branches: one, if nothing chooses. They share everything but types. */
  readonly variants: readonly CutVariant[];
  /** The same, planned. */
  readonly planned: PlannedWays;
  /** How a run chooses one of them. */
  readonly choice: Choice;
  readonly sessions: readonly OrtSession[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  /** When its creation began, if it is profiled from then on. */
  readonly profiledFrom: number | undefined;
  /** The lower level that was used, if ONNX Runtime refused the requested one. */
  readonly graphOptimizationLevel: string | undefined;
  /** Closes files from which rows are read. */
  close(): void;
}

/** The workshop of the model; all variants share its contents. */
export const shopOf = ({ variants: [first] }: CutModel): Workshop => first!.shop;

/** Everything that `dispose` drops: a reference to a step, a plan or the executor would keep MSD's memory alive. */
export interface Live {
  readonly model: CutModel;
  readonly executor: Executor;
  readonly ways: readonly Way[];
}
