/** The two ways to run one ONNX file: plain onnxruntime-web, and MSD in it. One thread each. */
import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import { UserError } from '../../../packages/cli/src/shared/errors.ts';
import type { ModelFolder } from './model-folder.ts';

export type Engine = 'ort' | 'msd';
export const ENGINES: readonly Engine[] = ['ort', 'msd'];
export const ENGINE_NAMES: Readonly<Record<Engine, string>> = { ort: 'onnxruntime-web', msd: 'MSD' };
/** ONNX Runtime's `executionProviders` entry of each. */
const PROVIDERS: Readonly<Record<Engine, string>> = { ort: 'wasm', msd: 'msd' };

/** onnxruntime-web with MSD registered, set to one thread. */
export function runtime(): typeof ort {
  ort.env.wasm.numThreads = 1;
  register(ort, { threads: 1 });
  return ort;
}

/**
 * Loads a decoder.
 *
 * @returns the caller's: release it
 * @throws {@link UserError} when the file is no model that the engine can run, or no decoder.
 */
export async function loadDecoder(
  engine: Engine,
  { model, externalData, config }: ModelFolder,
): Promise<DecoderSession> {
  const options = { executionProviders: [PROVIDERS[engine]], ...(externalData.length > 0 && { externalData }) };
  let session: ort.InferenceSession;
  try {
    session = await runtime().InferenceSession.create(model, options);
  } catch (cause) {
    throw new UserError(`${model}: ${ENGINE_NAMES[engine]} could not load it: ${(cause as Error).message}`, { cause });
  }
  return new DecoderSession(session, config);
}
