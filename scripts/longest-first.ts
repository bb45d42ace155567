/** The order of the test files: what takes minutes starts first, so that the rest runs beside it. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Each engine of the list in turn. */
const LONGEST = 'test/engines/engines.test.ts';

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => moduleId.endsWith(LONGEST);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}
