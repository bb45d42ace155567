/** Threads that will pack weights, started while a model is still read: in Node, if it has much that they may pack. */
import { UINT8 } from '../data-types.ts';
import { builtin } from '../read/builtin.ts';
import type { ModelRecord } from '../read/model.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { PackThreads } from './pack-threads.ts';

export type StartedThreads = Promise<PackThreads | undefined>;

/** Bytes of uint8, as MatMulNBits has its codes, from which on threads are worth their start. */
const CODE_BYTES = 2 ** 25;

export const fetchRecipes = (): Promise<typeof import('./packing-recipes.ts')> => import('./packing-recipes.ts');

/** @returns `undefined` where the engine has no threads that read files */
export async function startPackThreads(): StartedThreads {
  if (!builtin('node:worker_threads')) return undefined;
  void fetchRecipes().catch(() => {}); // for later: whoever waits for it is told
  return (await import('./pack-threads.ts')).PackThreads.start();
}

/** @returns whoever waits for it is told of errors; `end` of what it brings has to follow */
export function threadsFor({ graph: { initializers } }: ModelRecord): StartedThreads | undefined {
  let bytes = 0;
  for (const tensor of initializers) if (tensor.elemType === UINT8) bytes += lengthOf(tensor);
  if (bytes < CODE_BYTES) return undefined;
  const started = startPackThreads();
  started.catch(() => {});
  return started;
}

function lengthOf({ storage }: TensorRef): number {
  if (storage.kind === 'raw') return storage.range.length;
  return (storage.kind === 'external' && storage.length) || 0;
}
