/** What is cut into regions: matches, each with all its nodes, and single nodes of ONNX Runtime. */
import { type Graph, type GraphNode, usesOf } from '../ir/graph.ts';
import type { Match } from '../passes/matcher.ts';

/** Control flow whose bodies are planned like graphs: it runs between regions, on neither side. */
export interface Control {
  /** Distinct values that it is given, constants included. */
  readonly inputs: readonly string[];
  /** Microseconds, predicted: with its bodies planned, and as a node of ONNX Runtime. */
  readonly price: { readonly msd: number; readonly ort: number };
  /** Is there a product with quantized weights inside? */
  readonly isQuantized: boolean;
}

export interface Unit {
  /** Position in topological order. */
  readonly index: number;
  /** Absent: ONNX Runtime's, whatever the side. */
  readonly match: Match | undefined;
  /** Never beside a match. */
  readonly control?: Control | undefined;
  /** In topological order. */
  readonly nodes: readonly GraphNode[];
  /** Distinct values that MSD's step needs from outside, constants included. */
  readonly inputs: readonly string[];
  /** Distinct values that its nodes need from outside: constants that the step has built in, too. */
  readonly uses: readonly string[];
  /** Values that it makes and others may need. */
  readonly outputs: readonly string[];
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

/** Units of the needed nodes, in topological order. */
export function unitsOf(
  graph: Graph,
  matches: ReadonlyMap<GraphNode, Match>,
  controls: ReadonlyMap<GraphNode, Control> = new Map(),
): Unit[] {
  return sorted(unsortedUnits(graph, matches, controls));
}

/**
 * A match's results leave it at its last node, so its place is that node's: but for keys and values in a cache, which
 * leave it before.
 */
function sorted(units: readonly Unit[]): Unit[] {
  const makers = new Map(units.flatMap((unit) => unit.outputs.map((name) => [name, unit] as const)));
  const done = new Set<Unit>();
  const visit = (unit: Unit): void => {
    if (done.has(unit)) return;
    done.add(unit);
    for (const name of [...unit.uses, ...unit.inputs]) {
      const maker = makers.get(name);
      if (maker) visit(maker);
    }
    order.push(unit);
  };
  const order: Unit[] = [];
  for (const unit of units) visit(unit);
  return order.map((unit, index) => ({ ...unit, index }));
}

function unsortedUnits(
  graph: Graph,
  matches: ReadonlyMap<GraphNode, Match>,
  controls: ReadonlyMap<GraphNode, Control>,
): Unit[] {
  const units: Unit[] = [];
  for (const node of neededNodes(graph)) {
    const match = matches.get(node);
    if (match && match.nodes.at(-1) !== node) continue;
    const index = units.length;
    if (match) {
      const { nodes, inputs, outputs } = match;
      const named = (names: readonly string[]): string[] => [...new Set(names.filter((name) => name !== ''))];
      const made = new Set(nodes.flatMap((each) => each.outputs));
      const uses = new Set(nodes.flatMap((each) => [...usesOf(each)]).filter((name) => !made.has(name)));
      units.push({ index, match, nodes, inputs: named(inputs), uses: [...uses], outputs: named(outputs) });
    } else {
      const uses = [...usesOf(node)];
      const outputs = node.outputs.filter((name) => name !== '');
      const control = controls.get(node);
      units.push({ index, match: undefined, control, nodes: [node], inputs: control?.inputs ?? uses, uses, outputs });
    }
  }
  return units;
}
