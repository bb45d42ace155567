/** What is known of constants that are made of constants, without what makes them (constants.ts). */
import type { Graph, GraphNode } from '../ir/graph.ts';

/** Operators whose results are constants if their operands are. */
export const FOLDED: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'Identity',
  'Reshape',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
  'Cast',
  'Transpose',
  'DequantizeLinear',
  'QuantizeLinear',
]);

/** Results up to this size are computed while the graph is read: they are the size of norm weights and biases. */
export const SMALL_BYTES = 65536;

/** The nodes that make a constant, in order, and the constants that they are made from. */
export function makersOf(graph: Graph, name: string): readonly GraphNode[] {
  const made = graph.folded?.get(name);
  if (!made) return [];
  return [...new Set([...made.node.inputs.flatMap((input) => makersOf(graph, input)), made.node])];
}
