/** What a run leaves behind: one JSON file per environment. Figures are medians of the samples beside them. */
import type { Phase } from './cases.ts';
import type { EngineId } from './engines/engine.ts';
import { type Summary, summarize } from './samples.ts';

export interface Measured extends Summary {
  readonly samples: readonly number[];
}

/** GMAC/s or GB/s. By number of workers: index 0 is one, index 1 two. */
export interface Peaks {
  /** `i32x4.dot_i16x8_s` and an addition, in registers. */
  readonly dot: readonly Measured[];
  /** `i32x4.relaxed_dot_i8x16_i7x16_add_s`, in registers; empty where the engine lacks it. */
  readonly relaxedDot: readonly Measured[];
  /** Reading `readBytes` again and again. */
  readonly read: readonly Measured[];
  readonly readBytes: number;
}

export interface VariantHead {
  readonly id: string;
  readonly engine: EngineId;
  readonly label: string;
  readonly weights: string;
  readonly threads: number;
  readonly components?: 1 | 2;
}

export interface VariantResult extends VariantHead {
  /** Why there are no figures; the rest is absent then. */
  readonly notMeasured?: string;
  /** Of the whole chain against float64 on the same weights, checked before timing. */
  readonly sqnrDb?: number;
  readonly kernel?: string;
  /** As the kernel's id says. */
  readonly carrier?: string;
  /** As the engine tells. */
  readonly weightBytes?: number;
  /** Milliseconds per call. */
  readonly time?: Measured;
  readonly gmacs?: number;
}

export interface CaseResult {
  readonly id: string;
  readonly phase: Phase;
  readonly shape: string;
  readonly chain: string;
  readonly M: number;
  readonly macs: number;
  readonly peaks: Peaks;
  readonly variants: readonly VariantResult[];
}

/** One activation matrix through one layer, 1000 rows: aggregated SQNR in dB against float64 on the same weights. */
export interface AccuracyResult extends VariantHead {
  readonly notMeasured?: string;
  readonly gaussian?: number;
  /** One element of each row is 100 times as large as the others are on average. */
  readonly outlier?: number;
  /** The same error, against the part of the result that does not come from that element. */
  readonly outlierRest?: number;
}

/** Weights far beyond every cache, beside the same K in cache. */
export interface BeyondCacheResult {
  readonly label: string;
  readonly weights: string;
  readonly threads: number;
  readonly kernel: string;
  readonly bytes: number;
  readonly bytesPerMac: number;
  readonly gmacs: number;
  readonly time: Measured;
  readonly inCacheBytes: number;
  readonly inCacheGmacs: number;
  readonly inCacheTime: Measured;
}

export interface ActivationBlockResult {
  readonly weights: string;
  readonly components: 1 | 2;
  readonly activationBlock: 'row' | 256 | 32;
  readonly kernel: string;
  /** By M. */
  readonly gmacs: Readonly<Record<string, number>>;
  readonly time: Readonly<Record<string, Measured>>;
  readonly gaussian: number;
  /** One element of each row 1000 times as large; error against the rest. */
  readonly outlierRest: number;
}

export interface MemoryResult {
  readonly label: string;
  /** Bytes of all WebAssembly memories of the page. */
  readonly start: number;
  readonly loaded: number;
  readonly afterDecode: number;
  readonly afterPrefill: number;
}

/** Whole generated decoders in llama.cpp. */
export interface WholeModelResult {
  readonly label: string;
  readonly engine: EngineId;
  readonly weights: string;
  readonly threads: number;
  readonly notMeasured?: string;
  /** Of the linear layers, per token. */
  readonly macsPerToken: number;
  readonly decode?: Measured;
  readonly decodeGmacs?: number;
  readonly prefill?: Measured;
  readonly prefillGmacs?: number;
  readonly prefillTokens?: number;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
}

export interface EnvironmentResult {
  /** `chromium`, `node`. */
  readonly platform: 'node' | 'chromium';
  /** Threads that peers were started with. */
  readonly threads: number;
  readonly flags: readonly string[];
  readonly date: string;
  readonly machine: Machine;
  /** 1-minute load average before the run. */
  readonly load: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly sampleMs: number;
  /** Engines that cannot run here, and why. */
  readonly absent: Readonly<Record<string, string>>;
  readonly cases: readonly CaseResult[];
  readonly accuracy: readonly AccuracyResult[];
  readonly beyondCache: { readonly peaks: Peaks; readonly results: readonly BeyondCacheResult[] } | undefined;
  readonly activationBlocks: readonly ActivationBlockResult[];
  readonly wholeModels: readonly WholeModelResult[];
  readonly memory: readonly MemoryResult[];
}

const round = (value: number): number => Number(value.toPrecision(4));

export function measured(samples: readonly number[]): Measured {
  const { median, spread } = summarize(samples);
  return { median: round(median), spread: round(spread), samples: samples.map(round) };
}

export { round };
