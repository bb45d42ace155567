/** onnxruntime-node, where the user has it: beside this package, or in the folder where the command runs. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { messageOf } from '../shared/errors.ts';
import type { Feeds, Results } from './engines.ts';

interface Native {
  readonly InferenceSession: { create(path: string, options: object): Promise<InferenceSession> };
  readonly Tensor: new (type: string, data: unknown, dims: readonly number[]) => Tensor;
}

function load(): Native | undefined {
  for (const from of [import.meta.url, join(process.cwd(), 'package.json')]) {
    try {
      return createRequire(from)('onnxruntime-node') as Native;
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** Runs a file in native ONNX Runtime. @returns why it could not, `undefined` if there is none */
export async function runNative(path: string, feeds: Feeds): Promise<Results | string | undefined> {
  const native = load();
  if (!native) return undefined;
  try {
    const session = await native.InferenceSession.create(path, { logSeverityLevel: 3 });
    const own = Object.entries(feeds).map(
      ([name, { type, data, dims }]) => [name, new native.Tensor(type, data, dims)] as const,
    );
    const results = await session.run(Object.fromEntries(own));
    await session.release();
    return results;
  } catch (error) {
    return messageOf(error);
  }
}
