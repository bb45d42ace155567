import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/**
 * Prints `N passed, N failed, N skipped` alone on the last line, and above it the tests that passed only when they were
 * tried again. .ci/run finds that line in `MSD_COUNT_FILE` to add it up, and below it a line for each test that failed or
 * was tried again, with the first line of its error.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    const failures: string[] = [];
    const repeated: string[] = [];
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state, errors } = test.result();
        count[state]++;
        const told = `${module.relativeModuleId} > ${test.fullName}: ${firstLine(errors) ?? state}`;
        if (state === 'failed' || state === 'pending') failures.push(told);
        if (test.diagnostic()?.flaky) repeated.push(`passed on the second try: ${told}`);
      }
      const errors = module.errors();
      if (errors.length > 0) {
        count.failed++;
        failures.push(`${module.relativeModuleId}: ${firstLine(errors)}`);
      }
    }
    const line = `${count.passed} passed, ${count.failed + count.pending} failed, ${count.skipped} skipped`;
    if (process.env.MSD_COUNT_FILE)
      writeFileSync(process.env.MSD_COUNT_FILE, `${[line, ...failures, ...repeated].join('\n')}\n`);
    console.log(['', ...repeated, line].join('\n'));
  }
}

const firstLine = (errors: ReadonlyArray<{ message: string }> | undefined): string | undefined =>
  errors?.[0]?.message.split('\n', 1)[0];
