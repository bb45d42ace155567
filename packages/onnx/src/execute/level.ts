/**
 * ONNX Runtime refuses some models only because of what its optimizer does with them, for example a fused node for
 * which it has no kernel. Such a model is created at a lower level, and the report says which.
 */
import { log } from '../log.ts';
import type { OrtModule, OrtSession } from '../ort.ts';
import { isOutOfMemory } from './fast-form.ts';

/** Levels to try instead, by the requested one. */
const LOWER: Readonly<Record<string, readonly string[]>> = {
  all: ['basic', 'disabled'],
  layout: ['basic', 'disabled'],
  extended: ['basic', 'disabled'],
  basic: ['disabled'],
  disabled: [],
};

/** Errors at every level: bytes that are not a model (7 INVALID_PROTOBUF, 3 NO_SUCHFILE), an unknown operator. */
const HOPELESS = /ERROR_CODE: [37],|not a registered function\/op|no opset import/i;

/** @returns the session, and its level if it is not the one of `options` */
export async function createAtSomeLevel<T extends OrtSession>(
  ort: OrtModule,
  options: object,
  create: (options: object) => Promise<T>,
): Promise<{ readonly session: T; readonly level: string | undefined }> {
  try {
    return { session: await create(options), level: undefined };
  } catch (error) {
    const { graphOptimizationLevel } = options as { readonly graphOptimizationLevel?: string | null };
    const isHopeless = isOutOfMemory(error) || HOPELESS.test(String(error));
    for (const level of isHopeless ? [] : LOWER[graphOptimizationLevel ?? 'all']!) {
      const session = await create({ ...options, graphOptimizationLevel: level }).catch(() => undefined);
      if (!session) continue;
      log(ort, 'warning', `ONNX Runtime took graphOptimizationLevel '${level}' only: ${String(error)}`);
      return { session, level };
    }
    throw error;
  }
}
