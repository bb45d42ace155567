/** tfjs-core's own specs of the operations that MSD takes over or stands in for, in a page on tfjs's WebGPU backend. */
import { ready } from '@msd/tfjs';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgpu';
import { type Outcome, type Required, runSpecs, type Side } from './jasmine.ts';

export interface SpecPage {
  run(side: Side): Promise<Outcome>;
}

/** Jasmine looks for its globals in a way that needs a plain script: the page has one. */
declare const jasmineRequire: Required;

const page: SpecPage = {
  run: (side) =>
    runSpecs({
      required: jasmineRequire,
      backendName: 'webgpu',
      side,
      flags: { WEBGPU_CPU_FORWARD: false }, // as tfjs runs them: small operands go to the GPU as well
      load: () => import('./gpu-specs.ts'),
      ...(side === 'msd' && { beforeEach: ready }),
    }),
};
// The specs' harness asks for Jasmine in the way of CommonJS.
Object.assign(globalThis, { specs: page, require: () => jasmineRequire });
