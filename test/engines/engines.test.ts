/**
 * The same bits in every engine: core's tests and the story model's logits, each in a fresh process of each engine.
 *
 * `npm test` takes Node 20 and the recorded hashes only; MSD_ENGINES=all (.ci/run) all but other browsers, MSD_ENGINES=firefox,webkit
 * those, and `npm run test:all` everything.
 */
import { describe, expect, it } from 'vitest';
import { gemmId } from '../../packages/core/src/gemm/options.ts';
import { gemmVariants } from '../../packages/core/src/gemm/registry.ts';
import { nnKernels } from '../../packages/core/src/nn/registry.ts';
import { RECORDED_ATTENTION } from '../../packages/core/test/attention-bits.ts';
import { RECORDED_BITS } from '../../packages/core/test/bits.ts';
import { carrierRuns, cutsOf, runName } from './carrier-runs.ts';
import { ENGINES } from './engines.ts';
import type { Job, Result } from './jobs.ts';
import { storyJob } from './story-job.ts';

/** What story.ts gave, in every engine of the list, since attention is MSD's own, on a cache of int16, and no node is ONNX Runtime's. */
const RECORDED_LOGITS = '03fea84c';

const { MSD_ENGINES: asked = '' } = process.env;
const isLongTier = process.env.MSD_TEST_ALL === '1';
const isWhole = isLongTier || asked !== '';
const engines = ENGINES.filter(({ name, onRequest }) => {
  if (isLongTier || asked.split(',').includes(name)) return true;
  return asked === 'all' ? !onRequest : asked === '' && name === 'node20';
});

const registered = [
  ...Array.from(gemmVariants(), gemmId),
  ...nnKernels.flatMap(({ kernels }) => Array.from(kernels(), ({ id }) => id)),
];

describe.each(engines)('$name ($about)', ({ name, only, relaxedSimd, hasThreads, run }) => {
  async function resultOf(job: Job, skip: (note: string) => never): Promise<Result> {
    const result = await run(job);
    if (!('unavailable' in result)) return result;
    console.log(`${name}: SKIPPED, ${result.unavailable}`);
    return skip(result.unavailable);
  }

  it('passes core’s tests, with every kernel, and gives the recorded bits', { timeout: 1_000_000 }, async ({
    skip,
  }) => {
    const { engine, suite } = await resultOf({ name: 'suite', only: isWhole ? only : 'recorded bits' }, skip);
    const { passed, failed, skipped, kernels, bits, attention, relaxedDot, elapsedMs } = suite!;
    console.log(
      `${name} (${engine}): ${passed} tests passed, ${failed.length} failed, ${skipped.length} left out, ` +
        `${kernels.length} kernels, relaxed dot ${relaxedDot}, bits ${JSON.stringify(bits)}, ${(elapsedMs / 1000).toFixed(1)} s`,
    );
    expect(failed, failed.join('\n')).toEqual([]);
    expect(passed).toBeGreaterThan(0);
    expect(relaxedDot !== 'none').toBe(relaxedSimd);
    const recorded = carrierRuns(relaxedSimd, hasThreads).map((options) => [runName(options), RECORDED_BITS] as const);
    expect(bits).toEqual(Object.fromEntries(recorded));
    const cuts = carrierRuns(relaxedSimd, hasThreads).flatMap((options) =>
      cutsOf(options).map((cut) => [`${runName(options)}, ${cut}`, RECORDED_ATTENTION] as const),
    );
    expect(attention).toEqual(Object.fromEntries(cuts));
    const possible = registered.filter((id) => relaxedSimd || !id.startsWith('gemm_i8'));
    if (isWhole) expect(kernels).toEqual(expect.arrayContaining(possible));
  });

  it('gives the story model’s recorded logits', { timeout: 1_000_000 }, async ({ skip }) => {
    const { story } = await resultOf(storyJob(carrierRuns(relaxedSimd, hasThreads)), skip);
    for (const { options, hash, logits, threads, kernels } of story!) {
      console.log(
        `${name}, ${JSON.stringify(options)}: ${threads} threads, ${logits} logits, ${hash}, ${kernels.join(' ')}`,
      );
      expect(logits).toBe(5 * 40 * 480);
      expect(kernels).not.toEqual([]);
      if (options.threads) expect(threads).toBe(options.threads);
      const products = kernels.flatMap((ids) => ids.split(' ')).filter((id) => id.startsWith('gemm_'));
      if (options.carrier) expect(products.every((id) => id.startsWith(`gemm_${options.carrier}`))).toBe(true);
      expect(hash).toBe(RECORDED_LOGITS);
    }
  });
});
