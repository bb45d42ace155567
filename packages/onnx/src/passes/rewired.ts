import { buildGraph, type Graph } from '../ir/graph.ts';
import type { ModelRecord } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';

/** A node between other values. */
export function rewired(node: NodeRecord, inputs: readonly string[], outputs: readonly string[]): NodeRecord {
  return { ...node, inputs, outputs, range: { ...node.range }, isEdited: true };
}

/**
 * @param changed what nodes become, by their ranges: others in their place, or none
 * @returns the record and graph with them; the same if nothing changes
 */
export function withChanged(
  record: ModelRecord,
  graph: Graph,
  changed: ReadonlyMap<ByteRange, readonly NodeRecord[]>,
): { readonly record: ModelRecord; readonly graph: Graph } {
  if (changed.size === 0) return { record, graph };
  const nodes = record.graph.nodes.flatMap((node) => changed.get(node.range) ?? [node]);
  const after = { ...record, graph: { ...record.graph, nodes } };
  return { record: after, graph: buildGraph(after) };
}
