/**
 * Timing that compares: all variants warmed, then interleaved round by round in changing order, fixed call counts,
 * medians with their spread. A figure means something only next to the others of its own run.
 */
import { type Summary, summarize } from './samples.ts';

export interface Variant {
  readonly name: string;
  /** Work of one call, M·N·K counted once. */
  readonly macs: number;
  run(): void;
}

export interface Timing extends Summary {
  readonly name: string;
  /** M·N·K / median, in 10⁹ per second. */
  readonly gmacs: number;
}

export interface MeasureOptions {
  readonly rounds?: number;
  /** V8 optimises a kernel after some milliseconds of calls, and never within one. */
  readonly warmMs?: number;
  /** Calls per sample are fixed so that a sample takes about this long. */
  readonly sampleMs?: number;
}

export function interleave(
  variants: readonly Variant[],
  { rounds = 15, warmMs = 60, sampleMs = 4 }: MeasureOptions = {},
): Timing[] {
  const plans = variants.map((variant) => {
    for (const start = performance.now(); performance.now() - start < warmMs; ) variant.run();
    const start = performance.now();
    let calls = 0;
    for (; performance.now() - start < sampleMs; calls++) variant.run();
    return { variant, calls, samples: [] as number[] };
  });
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < plans.length; i++) {
      const { variant, calls, samples } = plans[(i + round) % plans.length]!;
      const start = performance.now();
      for (let call = 0; call < calls; call++) variant.run();
      samples.push((performance.now() - start) / calls);
    }
  return plans.map(({ variant: { name, macs }, samples }) => {
    const summary = summarize(samples);
    return { ...summary, name, gmacs: macs / summary.median / 1e6 };
  });
}
