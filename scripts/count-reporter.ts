import { writeFileSync } from 'node:fs';
import type { Reporter, TestModule } from 'vitest/node';

/** Prints `N passed, N failed, N skipped` alone on the last line, and leaves it where .ci/run can add to it. */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) count[test.result().state]++;
      if (module.errors().length > 0) count.failed++;
    }
    const line = `${count.passed} passed, ${count.failed + count.pending} failed, ${count.skipped} skipped`;
    if (process.env.MSD_COUNT_FILE) writeFileSync(process.env.MSD_COUNT_FILE, `${line}\n`);
    console.log(`\n${line}`);
  }
}
