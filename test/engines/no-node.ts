/** Stands for node:crypto and node:url in the browser's bundle: test files import them for what only Node does. */
import { getCurrentTest } from '@vitest/runner';

export function createHash(): never {
  const test = getCurrentTest();
  if (!test) throw new Error('createHash outside of a test');
  return test.context.skip('hashes of kernels are compared by vitest in Node');
}

/** Asked whether a module is the script that was started: none is, in a page. */
export const pathToFileURL = (path: string): URL => new URL(path, 'file:///');
