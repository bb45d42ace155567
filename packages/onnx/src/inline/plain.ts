/** A model without functions and branches: there is one way through it, its own graph. */
import { buildGraph } from '../ir/graph.ts';
import type { ModelRecord } from '../read/model.ts';
import type { Branches, Variants } from './branches.ts';

export function plainModel(record: ModelRecord): Pick<Branches, 'planned' | 'whole'> {
  const whole = (): Variants => ({
    all: [{ record, graph: buildGraph(record), taken: [] }],
    choice: { condition: undefined, variant: 0 },
  });
  return { planned: whole, whole };
}
