/**
 * What tfjs's own loaders have to know of MSD: its ops and its layers. Pages that load models with MSD have the code, and teach at once;
 * others fetch it when they register a namespace that has loaders.
 */
import type { ConverterNamespace, LayersNamespace } from './peers.ts';
import type { Registration } from './state.ts';

/** Set by the modules that have the code. */
export const teachers: {
  converter?: (namespace: ConverterNamespace) => void;
  layers?: (namespace: LayersNamespace) => unknown;
} = {};

let pending: Promise<unknown> | undefined;

/** Those of the namespace, or those that were handed over; other copies learn it from MSD's own loaders. */
export function teachLoaders(registration: Registration): void {
  pending = lessons(registration);
  pending.catch(() => {}); // an unknown version, or no network: `ready` says so
}

async function lessons({ tf, converter = tf as never, layers = tf as never }: Registration): Promise<void> {
  const ops = 'registerOp' in converter ? converter : undefined;
  const classes = 'layers' in layers ? layers : undefined;
  if (ops && teachers.converter) teachers.converter(ops);
  if (classes && teachers.layers) teachers.layers(classes);
  if ((!ops || teachers.converter) && (!classes || teachers.layers)) return;
  const { teach } = await import('./teach.ts');
  teach(ops, classes);
}

/** Resolves when they know. */
export const loadersTaught = async (): Promise<void> => void (await pending);
