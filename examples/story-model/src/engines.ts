/** The two ways to run one ONNX file: plain onnxruntime-web, and MSD in it. One thread each. */
import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { DecoderSession } from './decoder-session.ts';
import type { ModelFolder } from './model-folder.ts';

export type Engine = 'ort' | 'msd';
export const ENGINES: readonly Engine[] = ['ort', 'msd'];
export const ENGINE_NAMES: Readonly<Record<Engine, string>> = { ort: 'onnxruntime-web', msd: 'MSD' };
/** ONNX Runtime's `executionProviders` entry of each. */
const PROVIDERS: Readonly<Record<Engine, string>> = { ort: 'wasm', msd: 'msd' };

/** onnxruntime-web with MSD registered, set to one thread. */
export function runtime(): typeof ort {
  ort.env.wasm.numThreads = 1;
  register(ort);
  return ort;
}

/**
 * Loads a decoder.
 *
 * @returns the caller's: release it
 */
export async function loadDecoder(engine: Engine, folder: ModelFolder): Promise<DecoderSession> {
  const session = await runtime().InferenceSession.create(folder.model, {
    executionProviders: [PROVIDERS[engine]],
    ...(folder.externalData.length > 0 && { externalData: folder.externalData }),
  });
  return new DecoderSession(session, folder.config);
}
