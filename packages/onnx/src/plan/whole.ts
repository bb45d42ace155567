/**
 * When a model is not cut at all but goes to ONNX Runtime as it came.
 */
import { dataTypeName, jsDataType } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { Decisions } from '../passes/match.ts';
import type { ValueInfo } from '../read/types.ts';
import type { Control } from './units.ts';

/** Of nodes with products in their subgraphs: what is planned, or why ONNX Runtime runs them. */
export type Controls = ReadonlyMap<GraphNode, Control | string>;

/**
 * Why a model, or a body of control flow, cannot be cut at all; `undefined` if it can.
 *
 * @param nodes those that some output needs
 * @param isBody types may be missing then
 */
export function refusalOf(
  { graph, infos }: Pick<TypedGraph, 'graph' | 'infos'>,
  nodes: readonly GraphNode[],
  controls: Controls = new Map(),
  isBody = false,
): string | undefined {
  for (const node of nodes)
    if (node.externalInside && typeof controls.get(node) !== 'object')
      return `a subgraph of '${node.name}' has external data`;
  for (const [name, constant] of graph.constants) {
    if (constant.kind === 'sparse') return `initializer '${name}' is sparse`;
  }
  for (const { name } of graph.outputs) {
    if (!graph.producers.has(name)) return `output '${name}' is a constant of a rare type`;
  }
  for (const info of [...graph.inputs, ...graph.outputs]) {
    const { kind, elemType } = info.type;
    const isUnknown = kind === 'unknown' || (kind === 'tensor' && elemType === 0);
    // What a file says nothing of is what follows from its nodes.
    const inferred = { kind: 'tensor', elemType: infos.get(info.name)?.elemType ?? 0, dims: undefined } as const;
    const type = isUnknown && inferred.elemType !== 0 ? inferred : info.type;
    const reason = isBody && isUnknown ? undefined : untransportable({ ...info, type });
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
export function wholeReason(
  nodes: readonly GraphNode[],
  decisions: Decisions,
  controls: Controls,
  all: boolean,
): string | undefined {
  const matches = nodes.flatMap((node) => {
    const decision = decisions.get(node);
    return typeof decision === 'object' ? decision : [];
  });
  if (matches.some(({ product }) => product) || (all && matches.length > 0)) return undefined;
  if (nodes.some((node) => typeof controls.get(node) === 'object')) return undefined;
  const holder = nodes.find((node) => controls.has(node));
  const inside = holder && `, outside of ${nameOfControl(holder)}: ${controls.get(holder)}`;
  return `${matches.length === 0 ? 'no node is claimed' : 'no product with weights of the file'}${inside ?? ''}`;
}

const nameOfControl = ({ opType, name, outputs }: GraphNode): string => `${opType} '${name || outputs[0]}'`;

function untransportable({ name, type }: ValueInfo): string | undefined {
  if (type.kind !== 'tensor') return `'${name}' is not a tensor but ${type.kind}`;
  const dataType = jsDataType(type.elemType);
  if (dataType === undefined) return `'${name}' is ${dataTypeName(type.elemType)}`;
  return dataType === 'string' ? `'${name}' is a string tensor` : undefined;
}

/** Thrown when a model cannot be cut after all; the model then runs whole, and `message` is the reason. */
export class CutRefused extends Error {}
