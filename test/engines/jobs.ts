/** What an engine can be asked to do; the entry of the browser's bundle. */
import { runStory, type StoryOptions, type StoryRun } from './story.ts';
import { runSuite, type SuiteOptions, type SuiteReport } from './suite.ts';

export type Job = ({ readonly name: 'suite' } & SuiteOptions) | ({ readonly name: 'story' } & StoryOptions);

export interface Result {
  /** What the engine calls itself. */
  readonly engine: string;
  readonly suite?: SuiteReport;
  readonly story?: readonly StoryRun[];
}

export async function runJob(job: Job): Promise<Result> {
  const engine = typeof process === 'undefined' ? 'a browser' : `Node ${process.versions.node}, ${process.arch}`;
  return job.name === 'suite' ? { engine, suite: await runSuite(job) } : { engine, story: await runStory(job) };
}
