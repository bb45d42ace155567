/** All layer classes of MSD's, made known to tfjs. */
import type { LayersNamespace } from '../peers.ts';
import { teachers } from '../teachers.ts';
import { registerClasses } from './classes.ts';
import { registerRecurrent } from './recurrent/classes.ts';

/**
 * Again each time: a name is that of the copy of tfjs-layers which registered last.
 *
 * @returns the stock classes
 */
export const registerLayers = (namespace: LayersNamespace) => ({
  stock: registerClasses(namespace),
  recurrent: registerRecurrent(namespace),
});

teachers.layers = registerLayers;
