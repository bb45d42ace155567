/** Questions about nodes that the search for attention asks. */
import { type Constants, floatsOf } from '../../weights/source.ts';
import { rootOf } from '../recognise.ts';
import { type NodeDef, parseInput, type Scope } from '../topology.ts';

/** A list of nodes, and the constants that they read. */
export interface Graph {
  readonly scope: Scope;
  readonly constants: Constants;
}

/** Data inputs. */
export const inputsOf = (node: NodeDef): string[] => (node.input ?? []).filter((input) => !input.startsWith('^'));

/** The node whose first output an input is. */
export function producerOf({ scope }: Graph, input: string | undefined): NodeDef | undefined {
  const { node, index } = parseInput(input ?? '');
  return index === 0 ? scope.nodes.get(node) : undefined;
}

export const consumersOf = ({ scope }: Graph, node: NodeDef): readonly NodeDef[] =>
  scope.consumers.get(node.name) ?? [];

function constantOf({ scope, constants }: Graph, input: string | undefined, dtype: string) {
  const constant = input === undefined ? undefined : constants.get(rootOf(scope, input) ?? '');
  return constant?.dtype === dtype ? constant : undefined;
}

/** Integers of a constant. */
export function integersOf(graph: Graph, input: string | undefined): number[] | undefined {
  const constant = constantOf(graph, input, 'int32');
  return constant && [...constant.integers()];
}

/** The one number of a constant. */
export function scalarOf(graph: Graph, input: string | undefined): number | undefined {
  const constant = constantOf(graph, input, 'float32');
  return constant?.shape.every((dim) => dim === 1) ? floatsOf(constant.stored())[0] : undefined;
}

/** A reader of a node's value besides `reader`, or that the value leaves the graph; asking for its shape may be allowed. */
export function otherReader(
  graph: Graph,
  node: NodeDef,
  reader: NodeDef,
  isAllowed: (other: NodeDef) => boolean = () => false,
): string | undefined {
  if (graph.scope.outputs.has(node.name)) return 'the caller, as an output';
  if (inputsOf(reader).filter((input) => parseInput(input).node === node.name).length > 1)
    return `${reader.name} as another operand`;
  const stranger = consumersOf(graph, node).find((other) => other !== reader && !isAllowed(other));
  return stranger && `${stranger.name} (${stranger.op})`;
}
