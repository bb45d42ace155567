/** Classes that are made of a copy of tfjs-layers. */
import type { LayersNamespace } from '../peers.ts';

/** What is made once per copy. @returns gives it */
export function perCopy<T>(make: (namespace: LayersNamespace) => T): (namespace: LayersNamespace) => T {
  const known = new WeakMap<object, T>();
  return (namespace) => {
    const { Layer } = namespace.layers;
    const made = known.get(Layer) ?? make(namespace);
    known.set(Layer, made);
    return made;
  };
}
