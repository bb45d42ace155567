/** What packed weights are, as an attribute of the node that reads them. */
import { ModelFormatError } from '../errors.ts';
import { checkSpec, type QuantizedSpec } from '../spec.ts';
import { type NodeDef, stringAttr } from './topology.ts';

/** @throws {@link ModelFormatError} if the spec is none, or not what the constant holds */
export function specOfNode(node: NodeDef, packedLength: number, attr = 'spec'): QuantizedSpec {
  const where = `${node.op} ${node.name}`;
  try {
    return checkSpec(JSON.parse(stringAttr(node, attr) ?? 'null'), packedLength, where);
  } catch (cause) {
    throw new ModelFormatError(`${where}: ${(cause as Error).message}`, { cause });
  }
}
