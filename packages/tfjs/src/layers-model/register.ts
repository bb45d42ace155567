/** All layer classes of MSD's, made known to tfjs. */
import type { LayersNamespace } from '../peers.ts';
import { requireRegistration } from '../state.ts';
import { teachers } from '../teachers.ts';
import { registerClasses } from './classes.ts';
import { registerDepthwise } from './depthwise.ts';
import { registerRecurrent } from './recurrent/classes.ts';

/**
 * Again each time: a name is that of the copy of tfjs-layers which registered last.
 *
 * @returns the stock classes
 */
export const registerLayers = (namespace: LayersNamespace) => ({
  stock: registerClasses(namespace),
  recurrent: registerRecurrent(namespace),
  depthwise: registerDepthwise(namespace),
});

/** Names of stock classes behind which there are classes of somebody's own: those are what tfjs makes of a file. */
export function replacedClasses({
  stock,
  recurrent,
  depthwise,
}: ReturnType<typeof registerLayers>): ReadonlySet<string> {
  const { classNameMap } = requireRegistration('layers').tf.serialization.SerializationMap.getMap();
  const cells = [...recurrent.values()].flatMap(({ layer, cell }) => [layer, cell]);
  const known = [...stock.values(), ...cells, depthwise] as unknown as { readonly className: string }[];
  return new Set(
    known.flatMap((own) => ((classNameMap[own.className]?.[0] as unknown) === own ? [] : [own.className])),
  );
}

export const replacedBy = (name: string): string => `a class of its own behind the name ${name}`;

teachers.layers = registerLayers;
