/**
 * The tests of @msd/core in one engine, without vitest: the same files, and a record of the kernels that ran.
 *
 * Bundled by build.ts, with `vitest` from vitest.ts and core's source replaced by its dist.
 */

import { type File, startTests, type Task, type VitestRunner } from '@vitest/runner';
import fc from 'fast-check';
import { createBackend } from '../../packages/core/src/index.ts';
import { threadPool } from '../../packages/core/src/threads/pool.ts';
import type { ByteOperand } from '../../packages/core/src/wasm/features.ts';
import { relaxedDot } from '../../packages/core/src/wasm/features.ts';
import { attentionBits } from '../../packages/core/test/attention-bits.ts';
import { bitsOf } from '../../packages/core/test/bits.ts';
import { canShare, waitForItsThreads } from '../../packages/core/test/patience.ts';
import { carrierRuns, cutsOf, runName, usePoolForTests } from './carrier-runs.ts';
import { recordKernels } from './kernels.ts';

export interface SuiteOptions {
  /** Only tests whose full name matches; the others are left out. */
  readonly only?: string | undefined;
}

export interface SuiteReport {
  readonly passed: number;
  /** Full name and message of each. */
  readonly failed: readonly string[];
  /** Full name and reason of each; tests that `only` leaves out are not among them. */
  readonly skipped: readonly string[];
  /** Hash of the results of `bitsOf` by carrier and number of threads. */
  readonly bits: Readonly<Record<string, string>>;
  /** Hash of the results of `attentionBits` by carrier, number of threads and the tokens of a run. */
  readonly attention: Readonly<Record<string, string>>;
  /** How the engine's relaxed dot takes bytes; 'saturates': not exactly, 'none': there is no relaxed SIMD. */
  readonly relaxedDot: ByteOperand | 'saturates' | 'none';
  /**
   * Ids of all kernels that were called, sorted. Kernels of the i8 carrier whose bytes the dot does not take multiply with
   * SIMD128 in the tests.
   */
  readonly kernels: readonly string[];
  readonly elapsedMs: number;
}

/** Random cases differ from run to run under vitest; here all engines get the same ones. */
const SEED = 20261124;

/** All but files about byte layouts and vectors on disk, about shaders, about figures, those with processes of their own, gigabytes of addresses, and what is asked for below. */
const files: Readonly<Record<string, () => Promise<unknown>>> = import.meta.glob([
  '../../packages/core/{src,test}/**/*.test.ts',
  '!../../packages/core/**/*.browser.test.ts',
  '!../../packages/core/**/{accuracy,attention-bits,formats,high-addresses,layers,lookup,memory,mx,numerics,threads,webgpu,webgpu-calls,webgpu-device,wgsl,*.wgsl}.test.ts',
]);

export async function runSuite({ only }: SuiteOptions = {}): Promise<SuiteReport> {
  const start = performance.now();
  const kernels = recordKernels();
  fc.configureGlobal({ seed: SEED });
  waitForItsThreads();
  const { passed, failed, skipped } = summarize(await startTests(Object.keys(files), runner(only)));
  const dot = relaxedDot();
  const bits: Record<string, string> = {};
  const attention: Record<string, string> = {};
  usePoolForTests(threadPool);
  for (const options of carrierRuns(dot !== null, canShare())) {
    const backend = await createBackend('wasm', options);
    const { count, warnings } = backend.threads;
    if (count !== (options.threads ?? count))
      failed.push(`bits: ${runName(options)}: ${count} threads. ${warnings.join(' ')}`);
    bits[runName(options)] = bitsOf(backend);
    for (const cut of cutsOf(options)) attention[`${runName(options)}, ${cut}`] = attentionBits(backend, cut);
    backend.dispose();
  }
  return {
    passed,
    failed,
    skipped,
    bits,
    attention,
    relaxedDot: dot ? (dot.byteOperand ?? 'saturates') : 'none',
    kernels: [...kernels].sort(),
    elapsedMs: Math.round(performance.now() - start),
  };
}

function runner(only: string | undefined): VitestRunner {
  return {
    config: {
      root: '../../packages/core',
      setupFiles: [],
      name: undefined,
      passWithNoTests: true,
      testNamePattern: only === undefined ? undefined : new RegExp(only),
      allowOnly: false,
      sequence: { seed: SEED, hooks: 'stack', setupFiles: 'list' },
      chaiConfig: undefined,
      maxConcurrency: 1,
      testTimeout: 600_000,
      hookTimeout: 600_000,
      retry: 0,
      includeTaskLocation: false,
      tags: [],
      tagsFilter: undefined,
      strictTags: false,
    },
    importFile: (path) => files[path]!(),
  };
}

function summarize(collected: readonly File[]): { passed: number; failed: string[]; skipped: string[] } {
  const failed: string[] = [];
  const skipped: string[] = [];
  let passed = 0;
  const visit = (task: Task, name: string): void => {
    const { mode, result } = task;
    if (result?.errors?.length) failed.push(`${name}: ${result.errors.map((error) => error.message).join('; ')}`);
    if (task.type === 'suite') for (const child of task.tasks) visit(child, `${name} > ${child.name}`);
    else if (result?.state === 'pass') passed++;
    else if (result?.state !== 'fail')
      skipped.push(`${name}: ${(result as { note?: string } | undefined)?.note ?? mode}`);
  };
  for (const file of collected) visit(file, file.name);
  return { passed, failed, skipped };
}
