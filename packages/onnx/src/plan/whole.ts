/**
 * When a model is not cut at all but goes to ONNX Runtime as it came.
 */
import { dataTypeName, jsDataType } from '../data-types.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import { branchesOf } from '../ops/attention/angles.ts';
import type { Decisions } from '../passes/match.ts';
import type { ValueInfo } from '../read/types.ts';

const CONTROL_FLOW: ReadonlySet<string> = /* @__PURE__ */ new Set(['If', 'Loop', 'Scan']);

/**
 * The reason to leave the model whole, `undefined` to cut it.
 *
 * @param nodes those that some output needs.
 * @param functions number of model-local functions.
 * @param all cut it even if there is no product.
 */
export function wholeReason(
  graph: Graph,
  nodes: readonly GraphNode[],
  functions: number,
  decisions: Decisions,
  all: boolean,
): string | undefined {
  const matches = nodes.flatMap((node) => {
    const decision = decisions.get(node);
    return typeof decision === 'object' ? decision : [];
  });
  if (matches.length === 0) return 'no node is claimed';
  if (!all && !matches.some(({ product }) => product)) return 'no product with weights of the file';
  if (functions > 0) return 'the model has local functions';
  for (const node of nodes) {
    if (node.domain === '' && CONTROL_FLOW.has(node.opType) && !branchesOf(node))
      return `${node.opType} at the top level`;
    if (node.externalInside) return `a subgraph of '${node.name}' has external data`;
  }
  for (const [name, constant] of graph.constants) {
    if (constant.kind === 'sparse') return `initializer '${name}' is sparse`;
  }
  for (const output of graph.outputs) {
    if (!graph.producers.has(output.name)) return `output '${output.name}' is an input or a constant`;
  }
  for (const info of [...graph.inputs, ...graph.outputs]) {
    const reason = untransportable(info);
    if (reason) return reason;
  }
  return undefined;
}

function untransportable({ name, type }: ValueInfo): string | undefined {
  if (type.kind !== 'tensor') return `'${name}' is not a tensor but ${type.kind}`;
  const dataType = jsDataType(type.elemType);
  if (dataType === undefined) return `'${name}' is ${dataTypeName(type.elemType)}`;
  return dataType === 'string' ? `'${name}' is a string tensor` : undefined;
}
