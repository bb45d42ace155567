/** Threads that will pack weights, started while a model is still read: in Node, if it has much that they may pack. */
import { createThreadedBackend } from '@msd/core';
import { UINT8 } from '../data-types.ts';
import { builtin } from '../read/builtin.ts';
import type { ModelRecord } from '../read/model.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { ResolvedOptions } from './options.ts';
import type { PackThreads } from './pack-threads.ts';

export type StartedThreads = Promise<PackThreads | undefined>;

type BackendOptions = Pick<ResolvedOptions, 'debug' | 'carrier' | 'threads'>;

/** Bytes of uint8, as MatMulNBits has its codes, from which on threads are worth their start. */
const CODE_BYTES = 2 ** 25;

export const fetchRecipes = (): Promise<typeof import('./packing-recipes.ts')> => import('./packing-recipes.ts');

/**
 * @param options of the backend that packed weights will be in
 * @param graph if it is not known yet what they are
 * @returns `undefined` where the engine has no threads that read files
 */
export async function startPackThreads(options: BackendOptions, graph?: ModelRecord['graph']): StartedThreads {
  if (!builtin('node:worker_threads')) return undefined;
  void fetchRecipes().catch(() => {}); // for later: whoever waits for it is told
  const threads = (await import('./pack-threads.ts')).PackThreads.start(options.threads);
  if (graph && options.threads !== 1)
    await threads?.foresee(graph, lengthOf, (bytes) => packingBackend(options, bytes, true));
  return threads;
}

/** With room for what runs need beside: memory that grows is another buffer, which engines take for as much memory again, and collect. */
export const packingBackend = ({ debug, carrier, threads }: BackendOptions, packedBytes: number, shared: boolean) =>
  createThreadedBackend({ initialBytes: Math.ceil(packedBytes * (1 + RUN_SHARE)), debug, carrier, threads, shared });

/** Of packed weights: what the working buffers of a short prompt take in a large model. */
const RUN_SHARE = 1 / 64;

/** @returns whoever waits for it is told of errors; `end` of what it brings has to follow */
export function threadsFor({ graph }: ModelRecord, options: BackendOptions): StartedThreads | undefined {
  let bytes = 0;
  for (const tensor of graph.initializers) if (tensor.elemType === UINT8) bytes += lengthOf(tensor);
  if (bytes < CODE_BYTES) return undefined;
  const started = startPackThreads(options, graph);
  started.catch(() => {});
  return started;
}

export const endThreads = async (started: StartedThreads | undefined): Promise<void> =>
  (await started?.catch(() => undefined))?.end();

function lengthOf({ storage }: TensorRef): number {
  if (storage.kind === 'raw') return storage.range.length;
  return (storage.kind === 'external' && storage.length) || 0;
}
