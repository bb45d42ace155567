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

export function inferTypes(graph: Graph): Infos {
  const symbols = newSymbols();
  const infos = new Map<string, Info>();
  for (const [name, constant] of graph.constants) infos.set(name, infoOfConstant(constant));
  for (const { name, type } of graph.inputs) infos.set(name, infoOfType(type, symbols));
  for (const node of graph.nodes) {
    const inferred = inferNode(graph, node, infos, symbols);
    for (const [i, name] of node.outputs.entries()) {
      if (name === '') continue;
      const declared = graph.types.get(name);
      const info = inferred[i] ?? { elemType: 0, dims: undefined };
      // What a file declares is a promise that nobody checked: it only fills in what is not known.
      const said = declared && infoOfType(declared, symbols);
      infos.set(name, { ...info, elemType: info.elemType || (said?.elemType ?? 0), dims: info.dims ?? said?.dims });
    }
  }
  return infos;
}

function inferNode(graph: Graph, node: GraphNode, infos: Infos, symbols: Symbols): readonly (Info | undefined)[] {
  const operator = OPERATORS.get(operatorName(node));
  if (!operator) return [];
  try {
    const inputs = node.inputs.map((name) => (name === '' ? undefined : infos.get(name)));
    return operator.infer(new NodeView(node, graph.opsets), inputs, symbols);
  } catch (error) {
    // Sizes that contradict each other: whoever runs the node will say so.
    if (error instanceof RangeError) return [];
    throw error;
  }
}
