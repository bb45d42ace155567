import type { NodeRecord } from '../read/node.ts';

/** A node between other values. */
export function rewired(node: NodeRecord, inputs: readonly string[], outputs: readonly string[]): NodeRecord {
  return { ...node, inputs, outputs, range: { ...node.range }, isEdited: true };
}
