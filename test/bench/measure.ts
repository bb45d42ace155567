/**
 * Timing that compares: all variants warmed, then interleaved round by round in changing order, fixed call counts,
 * medians with their spread. A figure means something only next to the others of its own run.
 */

export interface Variant {
  readonly name: string;
  /** Work of one call, M·N·K counted once. */
  readonly macs: number;
  run(): void;
}

export interface Timing {
  readonly name: string;
  readonly medianMs: number;
  /** First and third quartile. */
  readonly quartilesMs: readonly [number, number];
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

const quantile = (sorted: readonly number[], q: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

export function summarize(name: string, macs: number, samplesMs: readonly number[]): Timing {
  const sorted = [...samplesMs].sort((a, b) => a - b);
  const medianMs = quantile(sorted, 0.5);
  return {
    name,
    medianMs,
    quartilesMs: [quantile(sorted, 0.25), quantile(sorted, 0.75)],
    gmacs: macs / medianMs / 1e6,
  };
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
      const { variant, calls, samples } = plans[(i + round) % plans.length];
      const start = performance.now();
      for (let call = 0; call < calls; call++) variant.run();
      samples.push((performance.now() - start) / calls);
    }
  return plans.map(({ variant, samples }) => summarize(variant.name, variant.macs, samples));
}
