/**
 * Conditions that are known before anything is computed: an input, or shape arithmetic of inputs. They are computed in
 * plain JavaScript, by the functions that infer types.
 */
import { countOf } from '../dims.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import { HOST_TYPES, type Info, infoOfConstant, infoOfType, newSymbols } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import { elements, NodeView, operatorName } from '../ops/operator.ts';
import { NO_SYMBOLS } from '../ops/shape.ts';
import { MAX_HOST_ELEMENTS, typicalCount } from '../passes/matcher.ts';
import { readRange } from '../read/source.ts';

export interface Condition {
  /** Conditions of equal keys are the same computation. */
  readonly key: string;
  /** Name of the value, for messages. */
  readonly name: string;
  /** Inputs of the graph that it needs; true = their elements, false = their sizes alone. */
  readonly needs: ReadonlyMap<string, boolean>;
  /** @throws `RangeError` if it is not one element, or sizes of a run contradict each other */
  holds(inputs: ReadonlyMap<string, Info>): boolean;
}

/** @returns its value if that is the same in every run; `undefined` if only a run of the graph can know it */
export function conditionOf(graph: Graph, name: string): Condition | boolean | undefined {
  const walk = new Walk(graph);
  if (!walk.visit(name, true)) return undefined;
  const { needs, order, known } = walk;
  const holds = (inputs: ReadonlyMap<string, Info>): boolean => {
    const infos = new Map([...known, ...inputs]);
    for (const node of order) {
      const operands = node.inputs.map((input) => infos.get(input));
      const results = OPERATORS.get(operatorName(node))!.infer(new NodeView(node, graph.opsets), operands, NO_SYMBOLS);
      for (const [i, output] of node.outputs.entries()) if (output !== '' && results[i]) infos.set(output, results[i]);
    }
    const data = elements(infos.get(name));
    if (data?.length !== 1)
      throw new RangeError(
        `run: condition '${name}', expected one element, got ${data?.length ?? 'none that is known'}.`,
      );
    return data[0] !== 0;
  };
  try {
    // Any sizes and elements show whether all of it can be computed.
    const value = holds(new Map([...needs].map(([input, isNeeded]) => [input, sampleOf(graph, input, isNeeded)])));
    return needs.size === 0 ? value : { key: walk.key(name), name, needs, holds };
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function sampleOf(graph: Graph, name: string, isNeeded: boolean): Info {
  const { elemType, dims = [1] } = infoOfType(graph.inputs.find((input) => input.name === name)!.type, newSymbols());
  const sizes = dims.map((dim) => (typeof dim === 'number' ? dim : 1));
  const count = countOf(sizes);
  return { elemType, dims: sizes, data: isNeeded ? new Array<number>(count).fill(1) : undefined };
}

/** From a value back to inputs. */
class Walk {
  readonly needs = new Map<string, boolean>();
  /** Nodes that it takes, in topological order. */
  order: readonly GraphNode[] = [];
  /** Constants. */
  readonly known = new Map<string, Info>();
  readonly #graph: Graph;
  readonly #nodes = new Map<GraphNode, boolean>();

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  /** @param isNeeded its elements, not only its sizes. @returns whether it can be computed */
  visit(name: string, isNeeded: boolean): boolean {
    const stack: [string, boolean][] = [[name, isNeeded]];
    for (let next = stack.pop(); next; next = stack.pop()) {
      const operands = this.#operandsOf(...next);
      if (!operands) return false;
      stack.push(...operands);
    }
    this.order = [...this.#nodes.keys()].sort((a, b) => a.index - b.index);
    return true;
  }

  /** What a value is computed from; `undefined` if JavaScript cannot. */
  #operandsOf(name: string, isNeeded: boolean): [string, boolean][] | undefined {
    const { producers, constants } = this.#graph;
    const constant = constants.get(name);
    if (constant) {
      const info = infoOfConstant(constant);
      this.known.set(name, info);
      return isNeeded && !info.data ? undefined : [];
    }
    const node = producers.get(name);
    if (!node) return this.#isInput(name, isNeeded) ? [] : undefined;
    if (this.#nodes.get(node) || this.#nodes.get(node) === isNeeded) return [];
    const operator = OPERATORS.get(operatorName(node));
    const ofShape = operatorName(node) === 'Shape' || operatorName(node) === 'Size';
    if (!operator || node.captures.length > 0 || (isNeeded && !ofShape && !operator.host)) return undefined;
    this.#nodes.set(node, isNeeded);
    const isAll = isNeeded && !ofShape;
    return node.inputs.flatMap((input, i): [string, boolean][] =>
      input === '' ? [] : [[input, isAll || operator.sizedBy?.includes(i) === true]],
    );
  }

  #isInput(name: string, isNeeded: boolean): boolean {
    const input = this.#graph.inputs.find((each) => each.name === name);
    if (input?.type.kind !== 'tensor') return false;
    const { elemType, dims } = infoOfType(input.type, newSymbols());
    const count = typicalCount(dims ?? []);
    if (isNeeded && (!HOST_TYPES.has(elemType) || count > MAX_HOST_ELEMENTS)) return false;
    this.needs.set(name, isNeeded || this.needs.get(name) === true);
    return true;
  }

  /** Two values with the same key are the same computation of the same inputs. */
  key(name: string): string {
    const ids = new Map<string, number>();
    const parts: unknown[] = [];
    const idOf = (value: string): number => {
      let id = ids.get(value);
      if (id !== undefined) return id;
      const node = this.#graph.producers.get(value);
      const { elemType, dims, data } = this.known.get(value) ?? {};
      const part = node
        ? [
            operatorName(node),
            attributesOf(node),
            node.outputs.indexOf(value),
            node.inputs.map((each) => (each === '' ? -1 : idOf(each))),
          ]
        : data
          ? [elemType, dims, data]
          : [value];
      id = parts.length;
      ids.set(value, id);
      parts.push(part);
      return id;
    };
    idOf(name);
    return JSON.stringify(parts);
  }
}

const attributesOf = ({ attributeRanges }: GraphNode): number[][] =>
  attributeRanges.map((range) => Array.from(readRange(range)));
