/** Stands for node:crypto in the browser's bundle, where only snapshots want it. */
import { getCurrentTest } from '@vitest/runner';

export function createHash(): never {
  const test = getCurrentTest();
  if (!test) throw new Error('createHash outside of a test');
  return test.context.skip('hashes of kernels are compared by vitest in Node');
}
