/**
 * What is known of every value of a graph before it runs: types, sizes with symbols, and the elements of small constants and of
 * all that follows from them and from shapes.
 */
import { OPERATORS } from '../ops/index.ts';
import { NodeView, operatorName } from '../ops/operator.ts';
import type { Graph, GraphNode } from './graph.ts';
import { type Info, infoOfConstant, infoOfType, newSymbols, type Symbols } from './info.ts';

/** By value name. */
export type Infos = ReadonlyMap<string, Info>;

/** A graph with all that is known of it. */
export interface TypedGraph {
  readonly graph: Graph;
  readonly infos: Infos;
  view(node: GraphNode): NodeView;
}

export function inferTypes(graph: Graph): TypedGraph {
  const symbols = newSymbols();
  const infos = new Map<string, Info>();
  const views = new Map(graph.nodes.map((node) => [node, new NodeView(node, graph.opsets)] as const));
  for (const [name, constant] of graph.constants) infos.set(name, infoOfConstant(constant));
  for (const { name, type } of graph.inputs) infos.set(name, infoOfType(type, symbols));
  for (const [node, view] of views) {
    const inferred = inferNode(view, infos, symbols);
    for (const [i, name] of node.outputs.entries()) {
      if (name === '') continue;
      const declared = graph.types.get(name);
      const info = inferred[i] ?? { elemType: 0, dims: undefined };
      // What a file declares is a promise that nobody checked: it only fills in what is not known.
      const said = declared && infoOfType(declared, symbols);
      infos.set(name, { ...info, elemType: info.elemType || (said?.elemType ?? 0), dims: info.dims ?? said?.dims });
    }
  }
  return { graph, infos, view: (node) => views.get(node) ?? new NodeView(node, graph.opsets) };
}

function inferNode(view: NodeView, infos: Infos, symbols: Symbols): readonly (Info | undefined)[] {
  const operator = OPERATORS.get(operatorName(view.node));
  if (!operator) return [];
  try {
    const inputs = view.node.inputs.map((name) => (name === '' ? undefined : infos.get(name)));
    return operator.infer(view, inputs, symbols);
  } catch (error) {
    // Sizes that contradict each other: whoever runs the node will say so.
    if (error instanceof RangeError) return [];
    throw error;
  }
}
