/**
 * What is known of every value of a graph before it runs: types, sizes with symbols, and the elements of small constants and of
 * all that follows from them and from shapes.
 */
import { UINT16 } from '../data-types.ts';
import { OPERATORS } from '../ops/index.ts';
import { NodeView, operatorName } from '../ops/operator.ts';
import type { ValueInfo } from '../read/types.ts';
import type { Graph, GraphNode } from './graph.ts';
import { type Info, infoOfConstant, infoOfType, newSymbols, roundingOf, type Size, type Symbols } from './info.ts';

/** By value name. */
export type Infos = ReadonlyMap<string, Info>;

/** A graph with all that is known of it. */
export interface TypedGraph {
  readonly graph: Graph;
  readonly infos: Infos;
  /**
   * Why MSD takes nothing of it: sizes contradict each other, or what the file declares, which ONNX Runtime refuses; or a constant
   * is not what is known of it. `undefined` = it may.
   */
  readonly contradiction: string | undefined;
  /** Is it fed what earlier tokens left? Without, nothing grows, whatever sizes are called. */
  readonly hasPast: boolean;
  view(node: GraphNode): NodeView;
}

/** What a node with subgraphs makes, if that is known. */
export type InferNested = (
  node: GraphNode,
  graph: Graph,
  infos: Infos,
  symbols: Symbols,
) => readonly (Info | undefined)[] | undefined;

/**
 * Operators whose constants are weights, small as those of a norm may be: nobody needs to know their floats. In a file that is arriving, all
 * would have to wait for the last one of them.
 */
const WEIGHED = /Normalization$|^MatMulNBits$|^GroupQueryAttention$/;

export function inferTypes(graph: Graph, nested?: InferNested): TypedGraph {
  const symbols = newSymbols();
  const infos = new Map<string, Info>();
  const isProduct = (name: string): boolean => graph.producers.get(name)?.opType === 'MatMulNBits';
  const weighs = ({ opType, inputs }: GraphNode): boolean =>
    WEIGHED.test(opType) || (opType === 'Add' && inputs.some(isProduct)); // a bias
  const views = new Map(graph.nodes.map((node) => [node, new NodeView(node, graph.opsets)] as const));
  let contradiction: string | undefined;
  for (const [name, constant] of graph.constants) {
    const info = infoOfConstant(constant, graph.consumers.get(name)?.every(weighs));
    infos.set(name, info);
    contradiction ??= roundingOf(constant, info);
  }
  for (const { name, type } of graph.inputs) infos.set(name, infoOfType(type, symbols));
  /** Values whose sizes follow from declared ones and constants alone, by rules that ONNX Runtime has, too. */
  const firm = new Set([...infos.keys()]);
  for (const [node, view] of views) {
    // Infinite values become NaN, which has no code. Only ONNX Runtime itself gives the codes that it gives.
    const most = infos.get(node.inputs[2]!)?.elemType === UINT16 ? 65535 : 1;
    if (
      node.opType === 'QuantizeLinear' &&
      infos.get(node.inputs[1]!)?.data?.some((scale) => Math.fround(Math.abs(+scale) * most) === 1 / 0)
    )
      contradiction ??= `codes of the scale '${node.inputs[1]}' are infinite`;
    const made = nested?.(node, graph, infos, symbols);
    const isRuled =
      !made && node.inputs.every((name) => name === '' || firm.has(name)) && followsFromSizes(graph, node);
    const ruled = isRuled ? ruledResults(node) : 0;
    const inferred = made ?? inferNode(view, infos, symbols);
    if (isRuled && inferred instanceof RangeError) contradiction ??= inferred.message;
    const results = inferred instanceof RangeError ? [] : inferred;
    for (const [i, name] of node.outputs.entries()) {
      if (name === '') continue;
      const declared = graph.types.get(name);
      const info = results[i] ?? { elemType: 0, dims: undefined };
      // What a file declares is a promise that nobody checked: it only fills in what is not known.
      const said = declared && infoOfType(declared, symbols);
      if (i < ruled && info.dims) firm.add(name);
      if (i < ruled && said && !agree(info.dims, said.dims))
        contradiction ??= `'${name}' is declared [${said.dims!.join(', ')}], and computed as [${info.dims!.join(', ')}]`;
      infos.set(name, { ...info, elemType: info.elemType || (said?.elemType ?? 0), dims: info.dims ?? said?.dims });
    }
  }
  const hasPast = graph.inputs.some(({ name }) => [name, ...(infos.get(name)?.dims ?? [])].some(isPast));
  const inputs = graph.inputs.map((input) => withHeadSize(input, graph, infos));
  return {
    graph: inputs.every((input, i) => input === graph.inputs[i]) ? graph : { ...graph, inputs },
    infos,
    contradiction,
    hasPast,
    view: (node) => views.get(node) ?? new NodeView(node, graph.opsets),
  };
}

/** A past whose last size a file leaves open has that of what attention makes of it. */
function withHeadSize(input: ValueInfo, { nodes }: Graph, infos: Infos): ValueInfo {
  const { name, type } = input;
  const isRead = (node: GraphNode): unknown => node.inputs.includes(name) && OPERATORS.get(operatorName(node))?.isFirst;
  const { inputs = [], outputs = [] } = nodes.find(isRead) ?? {};
  // Values, whose heads may be of another size, come after keys.
  const present = outputs[isPast(inputs[inputs.indexOf(name) - 1]) ? 2 : 1] ?? '';
  const size = isPast(name) && infos.get(present)?.dims?.[3];
  const { dims } = type;
  return typeof size === 'number' && typeof dims?.[3] !== 'number'
    ? { name, type: { ...type, dims: dims?.toSpliced(3, 1, size) } }
    : input;
}

const isPast = (name: Size | undefined): boolean => typeof name === 'string' && /past/i.test(name);

/** Elements that decide about sizes are those of constants. */
function followsFromSizes({ constants }: Graph, node: GraphNode): boolean {
  const operator = OPERATORS.get(operatorName(node));
  return operator?.sizedBy?.every((i) => !node.inputs[i] || constants.has(node.inputs[i])) ?? true;
}

/** How many results, counted from the first, have sizes by rules that ONNX Runtime has, too. */
function ruledResults(node: GraphNode): number {
  const by = OPERATORS.get(operatorName(node))?.othersSizedBy;
  return by === undefined || node.inputs[by] ? node.outputs.length : 1;
}

/** Can both be sizes of one value? Symbols may be any size. */
function agree(a: readonly Size[] | undefined, b: readonly Size[] | undefined): boolean {
  if (!a || !b) return true;
  const differs = (dim: Size, i: number): boolean =>
    typeof dim === 'number' && typeof b[i] === 'number' && dim !== b[i];
  return a.length === b.length && !a.some(differs);
}

function inferNode(view: NodeView, infos: Infos, symbols: Symbols): readonly (Info | undefined)[] | RangeError {
  const operator = OPERATORS.get(operatorName(view.node));
  if (!operator) return [];
  try {
    const inputs = view.node.inputs.map((name) => (name === '' ? undefined : infos.get(name)));
    return operator.infer(view, inputs, symbols);
  } catch (error) {
    if (error instanceof RangeError) return error;
    throw error;
  }
}
