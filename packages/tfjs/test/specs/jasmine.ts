/** tfjs-core's own specs under Jasmine, on one backend: what both the process and the page do. */
import { register } from '@msd/tfjs';
import * as tf from '@tensorflow/tfjs-core';

export type Side = 'stock' | 'msd';

/** Full names of the specs that passed, and of those that failed with what they say. */
export interface Outcome {
  readonly passed: readonly string[];
  readonly failed: Readonly<Record<string, string>>;
}

/** `jasmine-core`, which is CommonJS. */
export interface Required {
  core(required: Required): Jasmine;
  interface(jasmine: object, environment: Environment): object;
}

interface Jasmine {
  getEnv(): Environment;
  DEFAULT_TIMEOUT_INTERVAL: number;
}

interface Environment {
  configure(options: object): void;
  addReporter(reporter: object): void;
  beforeEach(run: () => Promise<unknown>): void;
  execute(): void;
}

interface SpecResult {
  readonly status: string;
  readonly fullName: string;
  readonly failedExpectations: readonly { readonly message: string }[];
}

export interface SpecRun {
  readonly required: Required;
  readonly backendName: string;
  readonly side: Side;
  readonly flags?: Readonly<Record<string, boolean>>;
  /** Imports the specs; each defines itself for each environment when it is imported. */
  readonly load: () => Promise<unknown>;
  /** Awaited before each spec, since tfjs starts a backend anew for each group of them. */
  readonly beforeEach?: () => Promise<unknown>;
}

export async function runSpecs({ required, backendName, side, flags, load, beforeEach }: SpecRun): Promise<Outcome> {
  // @ts-expect-error its declarations lie beside the ES modules, which TypeScript's Node resolution does not look for
  await import('@tensorflow/tfjs-core/dist/register_all_gradients');
  if (!(await tf.setBackend(backendName))) throw new Error(`no backend ${backendName}`);
  if (side === 'msd') register(tf, { override: true });

  const jasmine = required.core(required);
  jasmine.DEFAULT_TIMEOUT_INTERVAL = 60_000; // its 5 seconds are too few for a software adapter on a busy machine
  const environment = jasmine.getEnv();
  Object.assign(globalThis, required.interface(jasmine, environment), { jasmine });

  const passed: string[] = [];
  const failed: Record<string, string> = {};
  environment.configure({ random: false, oneFailurePerSpec: true });
  // @ts-expect-error as above
  const { setTestEnvs } = await import('@tensorflow/tfjs-core/dist/jasmine_util');
  setTestEnvs([{ name: backendName, backendName, isDataSync: true, ...(flags && { flags }) }]);
  if (beforeEach) environment.beforeEach(beforeEach);
  await load();
  return new Promise((resolve) => {
    environment.addReporter({
      specDone({ status, fullName, failedExpectations }: SpecResult) {
        if (status === 'passed') passed.push(fullName);
        else if (status === 'failed') failed[fullName] = failedExpectations[0]?.message ?? '';
      },
      jasmineDone: () => resolve({ passed, failed }),
    });
    environment.execute();
  });
}
