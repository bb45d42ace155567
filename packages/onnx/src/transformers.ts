/**
 * `@msd/onnx/transformers` on pages and in workers: Transformers.js computes in MSD what it would on the CPU. Imported before or after
 * Transformers.js, once in each page or worker.
 */
import { env } from '@huggingface/transformers';
import * as ort from 'onnxruntime-web/webgpu';
import type { OrtModule } from './ort.ts';
import { fetchLater } from './ort-binary.ts';
import { takeOver } from './takeover.ts';
import { checkSameCopy, followLogLevel } from './transformers-env.ts';

export * from './register.ts';

/** What Transformers.js takes in place of onnxruntime-web, where somebody put it before. */
const given = (globalThis as { [key: symbol]: unknown })[Symbol.for('onnxruntime')] as OrtModule | undefined;
const used: OrtModule = given ?? ort;
checkSameCopy(env, used);
followLogLevel(used, env);
fetchLater(used, env);
takeOver(used);
