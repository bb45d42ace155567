/**
 * By hand: `node test/engines/run.ts [engine …]`, all by default. Two lines per engine, failures in full and exit code 1.
 * `--kernels` lists every kernel that ran.
 */
import { parseArgs } from 'node:util';
import { carrierRuns } from './carrier-runs.ts';
import { ENGINES } from './engines.ts';
import { storyJob } from './story-job.ts';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { kernels: { type: 'boolean' } } });
const names = ENGINES.map(({ name }) => name);
const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  console.error(`engines: expected names among ${names.join(', ')}; got ${unknown.join(', ')}`);
  process.exit(2);
}

for (const { name, about, only, relaxedSimd, hasThreads, run } of ENGINES) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  const result = await run({ name: 'suite', only });
  if ('unavailable' in result) {
    console.log(`${name}: skipped, ${result.unavailable}`);
    continue;
  }
  const { engine, suite } = result;
  if (!suite) throw new Error(`${name} gave no result`);
  const { passed, failed, kernels, bits, attention, relaxedDot, elapsedMs } = suite;
  console.log(
    `${name} (${engine}; ${about}): ${passed} passed, ${failed.length} failed, ` +
      `${kernels.length} kernels, relaxed dot ${relaxedDot}, bits ${JSON.stringify(bits)}, attention ${[...new Set(Object.values(attention))]}, ${(elapsedMs / 1000).toFixed(0)} s`,
  );
  if (values.kernels) console.log(kernels.join('\n'));
  for (const failure of failed) console.error(`  ${failure}`);
  if (failed.length > 0) process.exitCode = 1;
  const outcome = await run(storyJob(carrierRuns(relaxedSimd, hasThreads)));
  if ('story' in outcome)
    for (const { options, threads, logits, hash, kernels } of outcome.story ?? [])
      console.log(
        `  story model, ${JSON.stringify(options)}: ${threads} threads, ${logits} logits, ${hash}, ${kernels.join(' ')}`,
      );
}
