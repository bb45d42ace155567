/**
 * Chooses positions before they are computed. Many graphs multiply all positions with the head and keep the last one:
 *
 *   hidden [B, S, H] -> norm -> product with [H, V] -> Gather or Slice along S -> logits
 *
 * Products with weights of the file, norms of rows and elementwise functions work position by position, so the choice goes in
 * front of them, where nobody else needs the whole value: the same bits, for the positions that are asked for.
 */
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import type { Size } from '../ir/info.ts';
import { elementwiseOperators } from '../ops/elementwise.ts';
import { moreElementwiseOperators } from '../ops/elementwise-more.ts';
import { elements, type NodeView, operatorName } from '../ops/operator.ts';
import type { ModelRecord } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import { rewired, withChanged } from './rewired.ts';

/** A Gather or Slice along one dimension that is not the last. */
interface Selection {
  readonly node: GraphNode;
  readonly axis: number;
  /** Of what it chooses from. */
  readonly rank: number;
  /** One position: the dimension is gone afterwards. */
  readonly drops: boolean;
}

const PRODUCTS: ReadonlySet<string> = /* @__PURE__ */ new Set(['MatMul', 'com.microsoft.MatMulNBits']);
/** By name: how many operands have a row for every position. */
const NORMS: ReadonlyMap<string, number> = /* @__PURE__ */ new Map([
  ['LayerNormalization', 1],
  ['RMSNormalization', 1],
  ['SimplifiedLayerNormalization', 1],
  ['com.microsoft.SkipLayerNormalization', 2],
  ['com.microsoft.SkipSimplifiedLayerNormalization', 2],
]);
const ELEMENTWISE: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'Identity',
  ...[...elementwiseOperators, ...moreElementwiseOperators].map(({ name }) => name),
]);

/** @returns the graph with choices moved up to where they save products; the same graph if there are none */
export function selectEarly(record: ModelRecord, typed: TypedGraph): Graph {
  const { graph } = typed;
  /** What nodes become, by their ranges. */
  const changed = new Map<ByteRange, readonly NodeRecord[]>();
  for (const node of graph.nodes) {
    const selection = selectionOf(typed, node);
    const move = selection && new Move(typed, selection);
    if (!move?.savesProducts) continue;
    for (const { range } of move.passed) changed.set(range, []);
    changed.set(node.range, move.nodes);
  }
  return withChanged(record, graph, changed).graph;
}

function selectionOf(typed: TypedGraph, node: GraphNode): Selection | undefined {
  const name = operatorName(node);
  const dims = typed.infos.get(node.inputs[0] ?? '')?.dims;
  if ((name !== 'Gather' && name !== 'Slice') || !dims) return undefined;
  const rank = dims.length;
  const view = typed.view(node);
  const chosen = typed.infos.get(node.inputs[1] ?? '')?.dims;
  if (!chosen || chosen.length > 1) return undefined;
  const given = name === 'Gather' ? view.int('axis', 0) : slicedAxis(typed, view, chosen);
  if (given === undefined) return undefined;
  const axis = given < 0 ? given + rank : given;
  return axis >= 0 && axis < rank - 1 ? { node, axis, rank, drops: chosen.length === 0 } : undefined;
}

/** The only axis of a Slice. */
function slicedAxis(typed: TypedGraph, { node, version }: NodeView, starts: readonly Size[]): number | undefined {
  if (version < 10 || starts[0] !== 1) return undefined;
  const axes = node.inputs[3] ?? '';
  return axes === '' ? 0 : (elements(typed.infos.get(axes))?.[0] as number | undefined);
}

/** One choice on its way up. */
class Move {
  /** What stands where the choice stood, in order. */
  readonly nodes: NodeRecord[] = [];
  /** Nodes that it went in front of: they are gone from their places. */
  readonly passed = new Set<GraphNode>();
  savesProducts = false;
  readonly #typed: TypedGraph;
  readonly #selection: Selection;
  readonly #names = new Map<string, string>();

  constructor(typed: TypedGraph, selection: Selection) {
    this.#typed = typed;
    this.#selection = selection;
    const { node } = selection;
    const [root = ''] = node.inputs;
    this.#names.set(root, node.outputs[0]!);
    const wanted = new Set([root]);
    const gone = new Set([node]);
    while (wanted.size > 0) {
      // The last one made comes first: whoever else needs a value was looked at before its producer is.
      const value = [...wanted].reduce((a, b) => (this.#madeAt(b) > this.#madeAt(a) ? b : a));
      wanted.delete(value);
      const maker = typed.graph.producers.get(value);
      const operands = maker && this.#operandsOf(maker, value, gone);
      if (!operands) {
        this.nodes.unshift(rewired(node, [value, ...node.inputs.slice(1)], [this.#nameOf(value)]));
        continue;
      }
      const inputs = maker.inputs.map((input) => (operands.has(input) ? this.#nameOf(input) : input));
      this.nodes.unshift(rewired(maker, inputs, [this.#nameOf(value)]));
      gone.add(maker);
      this.passed.add(maker);
      this.savesProducts ||= PRODUCTS.has(operatorName(maker));
      for (const operand of operands) wanted.add(operand);
    }
  }

  #madeAt(value: string): number {
    return this.#typed.graph.producers.get(value)?.index ?? -1;
  }

  /** What the choice of a value is called. */
  #nameOf(value: string): string {
    let name = this.#names.get(value);
    if (name === undefined) {
      name = `${value} at ${this.#selection.node.outputs[0]!}`;
      this.#names.set(value, name);
    }
    return name;
  }

  /** The operands that have a row per position; `undefined` if the choice has to stay behind the node. */
  #operandsOf(maker: GraphNode, value: string, gone: ReadonlySet<GraphNode>): ReadonlySet<string> | undefined {
    const { graph } = this.#typed;
    const isNeeded = (name: string) =>
      name !== '' &&
      (graph.outputs.some((output) => output.name === name) ||
        (graph.consumers.get(name) ?? []).some((node) => !gone.has(node)));
    if (maker.outputs[0] !== value || maker.outputs.some(isNeeded)) return undefined;
    if (maker.outputs.slice(1).some((name) => graph.consumers.has(name))) return undefined;
    const name = operatorName(maker);
    const count = PRODUCTS.has(name) ? 1 : NORMS.get(name);
    const rest = count === undefined ? [] : maker.inputs.slice(count);
    if (rest.some((input) => input !== '' && !graph.constants.has(input))) return undefined;
    if (name === 'MatMul' && this.#dimsOf(rest[0]!)?.length !== 2) return undefined;
    if (name === 'com.microsoft.MatMulNBits' && rest.length < 2) return undefined;
    if (NORMS.has(name) && this.#typed.view(maker).int('axis', -1) !== -1) return undefined;
    if (count === undefined && !ELEMENTWISE.has(name)) return undefined;
    return this.#rowsAmong(count === undefined ? maker.inputs : maker.inputs.slice(0, count), value);
  }

  #dimsOf(name: string): readonly Size[] | undefined {
    return this.#typed.infos.get(name)?.dims;
  }

  /** Operands as long as the value along the chosen dimension; `undefined` if one is neither that nor without the dimension. */
  #rowsAmong(operands: readonly string[], value: string): ReadonlySet<string> | undefined {
    const { axis, rank, drops } = this.#selection;
    const size = this.#dimsOf(value)?.[axis];
    const rows = new Set<string>();
    for (const name of operands) {
      const dims = this.#dimsOf(name);
      if (name === '') continue;
      if (!dims || this.#dimsOf(value)?.length !== rank) return undefined;
      if (dims.length < rank - axis || (!drops && dims.at(axis - rank) === 1 && size !== 1)) continue;
      if (dims.length !== rank || dims[axis] !== size || this.#typed.graph.constants.has(name)) return undefined;
      rows.add(name);
    }
    return rows.size > 0 ? rows : undefined;
  }
}
