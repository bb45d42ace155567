/**
 * What the engine bundles put in place of the module 'vitest', which needs a newer Node than this package supports: the
 * same collector and matchers, from the packages that vitest itself is made of.
 */
import { chai, JestAsymmetricMatchers, JestChaiExpect, JestExtend } from '@vitest/expect';
import { createTaskCollector, getCurrentSuite, getCurrentTest, type TestAPI } from '@vitest/runner';

export { afterAll, afterEach, beforeAll, beforeEach, describe } from '@vitest/runner';

/** Without the test's own time limit, which is meant for a machine and not for its emulation. */
export const it = createTaskCollector(function (this: object, name: string, ...rest: unknown[]) {
  const run = rest.find((value) => typeof value === 'function') as () => unknown;
  const options = { ...rest.find((value) => typeof value === 'object' && value !== null), timeout: undefined };
  getCurrentSuite().test.fn.call(this as never, name, options as never, run);
} as never) as TestAPI;
export const test = it;

for (const plugin of [JestExtend, JestChaiExpect, JestAsymmetricMatchers]) chai.use(plugin);
chai.use(({ Assertion }, { addMethod }) => {
  addMethod(Assertion.prototype, 'toMatchSnapshot', () => {
    getCurrentTest()?.context.skip('snapshots are the same text in every engine; vitest compares them');
  });
});

export const { expect } = chai;
