/** Which files beside a model are needed. */

import type { Variants } from '../inline/branches.ts';
import { usesOf } from '../ir/graph.ts';
import { neededNodes } from '../plan/units.ts';
import { mayMultiply } from './drafts.ts';

/** External files of the constants that some output depends on. */
export function neededLocations({ all }: Variants): Set<string> {
  const locations = new Set<string>();
  for (const { graph, bodies } of all) {
    for (const node of neededNodes(graph))
      if (node.externalInside && bodies?.holds(node, mayMultiply))
        for (const location of bodies.locations(node)) locations.add(location);
    const names = graph.outputs.map(({ name }) => name).concat(neededNodes(graph).flatMap((node) => [...usesOf(node)]));
    for (const name of names) {
      const constant = graph.constants.get(name);
      if (constant?.kind === 'tensor' && constant.tensor.storage.kind === 'external')
        locations.add(constant.tensor.storage.location);
    }
  }
  return locations;
}
