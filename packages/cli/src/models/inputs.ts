/** Inputs of a session, with sizes that the file leaves open and the graph tells: the last one of caches (`kv_cache_dim`). */
import { inspectModel } from '@msd/onnx/inspect';
import type { InferenceSession } from 'onnxruntime-web';
import { isPast } from './sizes.ts';

type TensorInput = InferenceSession.TensorValueMetadata;
type Input = InferenceSession['inputMetadata'][number];

const told = new WeakMap<InferenceSession, readonly Input[]>();

/** Has a cache heads of an open size? ONNX Runtime calls what has no name 2³² − 1. */
function isOpen(input: Input): input is TensorInput {
  if (!input.isTensor || !isPast(input.name)) return false;
  const last = input.shape[3];
  return input.shape.length === 4 && (typeof last === 'string' || last === 2 ** 32 - 1);
}

/** Asks the graph for what the session of it does not say, once. @param model of which the session is, as it was created */
export async function learnInputs(
  session: InferenceSession,
  model: Uint8Array | string,
  externalData: readonly { readonly path: string; readonly data: string }[],
): Promise<InferenceSession> {
  if (!session.inputMetadata.some(isOpen)) return session;
  const seen = await inspectModel(model, { externalData });
  const sizes = new Map(seen.inputs.map(({ name, dims }) => [name, dims?.[3]]));
  seen.close();
  const inputs = session.inputMetadata.map((input) => {
    const size = isOpen(input) ? sizes.get(input.name) : undefined;
    return typeof size === 'number'
      ? { ...(input as TensorInput), shape: (input as TensorInput).shape.with(3, size) }
      : input;
  });
  told.set(session, inputs);
  return session;
}

/** As `session.inputMetadata`, as far as it is known. */
export const inputsOf = (session: InferenceSession): readonly Input[] => told.get(session) ?? session.inputMetadata;
