/**
 * Cuts the graph into regions that run as a whole, each either MSD's or ONNX Runtime's.
 *
 * `level(node)` counts how often the longest path to it changes sides; the nodes of one (level, side) are one region. An
 * edge inside a side never goes down a level and an edge across goes up, so every path that leaves a region ends on a
 * higher level and never returns: regions are convex and their quotient graph has no cycle.
 */
import { type Graph, type GraphNode, usesOf } from '../ir/graph.ts';

/** A convex set of nodes that run together. */
export interface Region {
  /** Position in the order of execution. */
  readonly index: number;
  readonly claimed: boolean;
  /** In topological order. */
  readonly nodes: readonly GraphNode[];
  /** Values from outside, without constants. */
  readonly inputs: readonly string[];
  /** Values that other regions or the caller need. */
  readonly outputs: readonly string[];
  /** Constants that its nodes need. */
  readonly constants: readonly string[];
}

/** The nodes that some graph output depends on, in order. */
export function neededNodes(graph: Graph): GraphNode[] {
  const needed = new Set<GraphNode>();
  const stack = graph.outputs.flatMap(({ name }) => graph.producers.get(name) ?? []);
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (needed.has(node)) continue;
    needed.add(node);
    for (const name of usesOf(node)) {
      const producer = graph.producers.get(name);
      if (producer) stack.push(producer);
    }
  }
  return graph.nodes.filter((node) => needed.has(node));
}

/**
 * Partitions the needed nodes.
 *
 * @param isClaimed which side a node is on.
 * @returns regions in an order in which they can run.
 */
export function partition(graph: Graph, isClaimed: (node: GraphNode) => boolean): Region[] {
  const nodes = neededNodes(graph);
  const levels = new Map<GraphNode, number>();
  const groups = new Map<number, GraphNode[]>();
  for (const node of nodes) {
    const claimed = isClaimed(node);
    let level = 0;
    for (const name of usesOf(node)) {
      const producer = graph.producers.get(name);
      if (producer) level = Math.max(level, levels.get(producer)! + (isClaimed(producer) === claimed ? 0 : 1));
    }
    levels.set(node, level);
    const key = 2 * level + (claimed ? 1 : 0);
    const group = groups.get(key);
    if (group) group.push(node);
    else groups.set(key, [node]);
  }
  const regionOf = new Map<GraphNode, number>();
  const keys = [...groups.keys()].sort((a, b) => a - b);
  keys.forEach((key, index) => {
    for (const node of groups.get(key)!) regionOf.set(node, index);
  });
  const wanted = new Set(graph.outputs.map((output) => output.name));
  return keys.map((key, index) => makeRegion(graph, index, key % 2 === 1, groups.get(key)!, regionOf, wanted));
}

function makeRegion(
  graph: Graph,
  index: number,
  claimed: boolean,
  nodes: readonly GraphNode[],
  regionOf: ReadonlyMap<GraphNode, number>,
  wanted: ReadonlySet<string>,
): Region {
  const inputs = new Set<string>();
  const constants = new Set<string>();
  const outputs: string[] = [];
  for (const node of nodes) {
    for (const name of usesOf(node)) {
      if (graph.constants.has(name)) constants.add(name);
      else {
        const producer = graph.producers.get(name);
        if (!producer || regionOf.get(producer) !== index) inputs.add(name);
      }
    }
    for (const name of node.outputs) {
      if (name === '') continue;
      const leaves = (graph.consumers.get(name) ?? []).some((consumer) => {
        const region = regionOf.get(consumer);
        return region !== undefined && region !== index;
      });
      if (leaves || wanted.has(name)) outputs.push(name);
    }
  }
  return { index, claimed, nodes, inputs: [...inputs], outputs, constants: [...constants] };
}
