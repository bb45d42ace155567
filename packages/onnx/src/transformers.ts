/**
 * `@msd/onnx/transformers` for pages and workers: what Transformers.js would compute on the CPU runs in MSD. Import it before or after
 * Transformers.js, once in each page or worker.
 */
import { env } from '@huggingface/transformers';
import * as ort from 'onnxruntime-web/webgpu';
import type { OrtModule } from './ort.ts';
import { fetchLater } from './ort-binary.ts';
import { registrationOf } from './register.ts';
import { takeOver } from './takeover.ts';
import { checkSameCopy, followLogLevel, givenModule, whenFetched } from './transformers-env.ts';

export * from './register.ts';

const used: OrtModule = givenModule() ?? ort;
checkSameCopy(env, used);
followLogLevel(used, env);
fetchLater(used, env);
takeOver(used);
whenFetched(env, () => registrationOf(used).warm());
