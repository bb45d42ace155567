/**
 * When a model is not cut at all but goes to ONNX Runtime as it came.
 */
import { dataTypeName, jsDataType } from '../data-types.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { Decisions } from '../passes/match.ts';
import type { ValueInfo } from '../read/types.ts';

/** Why a model cannot be cut at all; `undefined` if it can. @param nodes those that some output needs */
export function refusalOf(graph: Graph, nodes: readonly GraphNode[]): string | undefined {
  for (const node of nodes) if (node.externalInside) return `a subgraph of '${node.name}' has external data`;
  for (const [name, constant] of graph.constants) {
    if (constant.kind === 'sparse') return `initializer '${name}' is sparse`;
  }
  for (const { name } of graph.outputs) {
    if (!graph.producers.has(name)) return `output '${name}' is a constant of a rare type`;
  }
  for (const info of [...graph.inputs, ...graph.outputs]) {
    const reason = untransportable(info);
    if (reason) return reason;
  }
  return undefined;
}

/**
 * The reason to leave it whole, `undefined` to cut it.
 *
 * @param nodes those that some output needs.
 * @param all cut it even if there is no product.
 */
export function wholeReason(nodes: readonly GraphNode[], decisions: Decisions, all: boolean): string | undefined {
  const matches = nodes.flatMap((node) => {
    const decision = decisions.get(node);
    return typeof decision === 'object' ? decision : [];
  });
  if (matches.some(({ product }) => product) || (all && matches.length > 0)) return undefined;
  const holder = nodes.find((node) => node.domain === '' && CONTROL_FLOW.has(node.opType));
  const inside =
    holder && `, outside of ${holder.opType} '${holder.name || holder.outputs[0]}', whose body is not planned`;
  return `${matches.length === 0 ? 'no node is claimed' : 'no product with weights of the file'}${inside ?? ''}`;
}

const CONTROL_FLOW: ReadonlySet<string> = /* @__PURE__ */ new Set(['If', 'Loop', 'Scan']);

function untransportable({ name, type }: ValueInfo): string | undefined {
  if (type.kind !== 'tensor') return `'${name}' is not a tensor but ${type.kind}`;
  const dataType = jsDataType(type.elemType);
  if (dataType === undefined) return `'${name}' is ${dataTypeName(type.elemType)}`;
  return dataType === 'string' ? `'${name}' is a string tensor` : undefined;
}

/** Thrown when a model cannot be cut after all; the model then runs whole, and `message` is the reason. */
export class CutRefused extends Error {}
