/** Graphs are rewired before they are matched, where that keeps more of them together. */
import type { Graph } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { ModelRecord } from '../read/model.ts';
import { castsInside } from './casts-inside.ts';
import { tablesFirst } from './tables-first.ts';

interface Read {
  readonly record: ModelRecord;
  readonly graph: Graph;
}

/** @param typedOf says what is known of a graph's values */
export function prepared({ record, graph }: Read, typedOf: (graph: Graph) => TypedGraph) {
  const first = tablesFirst(record, graph);
  const typed = typedOf(first.graph);
  const moved = castsInside(first.record, typed);
  return { record: moved.record, typed: moved.graph === typed.graph ? typed : typedOf(moved.graph) };
}
