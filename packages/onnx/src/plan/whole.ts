/**
 * When a model is not cut at all but goes to ONNX Runtime as it came.
 */
import { dataTypeName, INT8, jsDataType, UINT8 } from '../data-types.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import { HOST_TYPES, infoOfConstant } from '../ir/info.ts';
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
  for (const { name } of graph.outputs) {
    const reason = notPassed(graph, name);
    if (reason !== undefined) return reason;
  }
  for (const info of [...graph.inputs, ...graph.outputs]) {
    const reason = untransportable(info);
    if (reason) return reason;
  }
  return undefined;
}

/** Element types of constants that are handed to the caller. */
const PASSED_TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([...HOST_TYPES, UINT8, INT8]);

/** Why an output that no node makes cannot be handed over; `undefined` if it can. */
function notPassed({ constants, producers }: Graph, name: string): string | undefined {
  const constant = producers.has(name) ? undefined : constants.get(name);
  if (!constant || PASSED_TYPES.has(infoOfConstant(constant).elemType)) return undefined;
  return `output '${name}' is a constant of a rare type`;
}

function untransportable({ name, type }: ValueInfo): string | undefined {
  if (type.kind !== 'tensor') return `'${name}' is not a tensor but ${type.kind}`;
  const dataType = jsDataType(type.elemType);
  if (dataType === undefined) return `'${name}' is ${dataTypeName(type.elemType)}`;
  return dataType === 'string' ? `'${name}' is a string tensor` : undefined;
}
