/**
 * The IR: a checked graph in topological order, with producers and consumers by value name. `Constant` nodes are
 * constants like initializers, so they form no work of their own and can be duplicated into whoever needs them.
 */

import { dataTypeBits } from '../data-types.ts';
import { sameNumbers } from '../dims.ts';
import { OnnxFormatError } from '../errors.ts';
import type { FunctionRecord, GraphRecord, ModelRecord, SparseRef } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import { type TensorRef, tensorByteLength } from '../read/tensor.ts';
import type { ValueInfo, ValueType } from '../read/types.ts';

/** A node of the graph; `index` is its place in the topological order. */
export interface GraphNode extends NodeRecord {
  readonly index: number;
}

/** A value that every run shares. `node` = a `Constant` node that holds scalars, lists or strings instead of a tensor. */
export type Constant =
  | { readonly kind: 'tensor'; readonly tensor: TensorRef }
  | { readonly kind: 'node'; readonly node: NodeRecord }
  | { readonly kind: 'sparse'; readonly sparse: SparseRef };

/** A constant that nodes make of constants. */
export interface FoldedConstant {
  readonly node: GraphNode;
  readonly tensor: TensorRef;
}

/** The checked graph. */
export interface Graph {
  readonly name: string;
  readonly irVersion: number;
  readonly opsets: ReadonlyMap<string, number>;
  /** Of the file: nodes that call them go to ONNX Runtime. */
  readonly functions: readonly FunctionRecord[];
  /** In topological order, without `Constant` nodes. */
  readonly nodes: readonly GraphNode[];
  /** Those that a node or the caller needs. */
  readonly constants: ReadonlyMap<string, Constant>;
  /** What a run is fed: graph inputs without those that have an initializer (ONNX Runtime Web cannot override these). */
  readonly inputs: readonly ValueInfo[];
  /** As listed: a name may come twice. */
  readonly outputs: readonly ValueInfo[];
  /** What nodes made of constants, by name. Those nodes are not among `nodes`, but for the ones that make outputs. */
  readonly folded?: ReadonlyMap<string, FoldedConstant>;
  /** Declared types by name: inputs, outputs, value_info. */
  readonly types: ReadonlyMap<string, ValueType>;
  readonly producers: ReadonlyMap<string, GraphNode>;
  /** By value name; a node that uses a value twice is listed once. Subgraph captures count. */
  readonly consumers: ReadonlyMap<string, readonly GraphNode[]>;
}

/**
 * Builds and checks the graph.
 *
 * @throws {@link OnnxFormatError} naming the node or value when a name is undefined, defined twice, or nodes form a cycle.
 */
export function buildGraph(model: ModelRecord): Graph {
  const record = model.graph;
  const defined = collectConstants(record);
  checkOverridable(record, defined);
  const inputs = record.inputs.filter((input) => !defined.has(input.name));
  const work = record.nodes.filter((node) => !isConstant(node));
  checkDefinitions(inputs, defined, work);
  const nodes = sortNodes(work, inputs, defined);
  const producers = new Map<string, GraphNode>();
  const consumers = new Map<string, GraphNode[]>();
  for (const node of nodes) {
    for (const name of node.outputs) if (name !== '') producers.set(name, node);
    for (const name of usesOf(node)) {
      const list = consumers.get(name);
      if (list) list.push(node);
      else consumers.set(name, [node]);
    }
  }
  checkOutputs(record, inputs, defined, producers);
  const outputNames = new Set(record.outputs.map(({ name }) => name));
  // What nobody uses need not even be there.
  const constants = new Map([...defined].filter(([name]) => consumers.has(name) || outputNames.has(name)));
  const types = new Map<string, ValueType>();
  for (const info of [...record.valueInfo, ...record.outputs, ...record.inputs]) types.set(info.name, info.type);
  const { irVersion, opsets, functions } = model;
  return {
    name: record.name,
    irVersion,
    opsets,
    functions,
    nodes,
    constants,
    inputs,
    outputs: record.outputs,
    types,
    producers,
    consumers,
  };
}

/** The distinct values that a node needs: its inputs and what its subgraphs capture. */
export function usesOf(node: NodeRecord): Set<string> {
  const uses = new Set<string>();
  for (const name of node.inputs) if (name !== '') uses.add(name);
  for (const name of node.captures) uses.add(name);
  return uses;
}

/** How messages call a node. */
export function describeNode(node: NodeRecord): string {
  return `node '${node.name || node.outputs.find((name) => name !== '') || '(unnamed)'}' (${node.opType})`;
}

function isConstant(node: NodeRecord): boolean {
  return node.opType === 'Constant' && node.domain === '' && node.outputs.length === 1 && node.outputs[0] !== '';
}

/** A longer tensor is kept apart from the file's message in ONNX Runtime. */
const LONG_BYTES = 127;

/**
 * Names without a value are of no use, but stand in files. A name may have several definitions, by initializers and
 * `Constant` nodes.
 */
function collectConstants(record: GraphRecord): Map<string, Constant> {
  const definitions = new Map<string, Constant[]>();
  const add = (name: string, constant: Constant): void => {
    const before = definitions.get(name);
    if (name === '') return;
    if (!before) definitions.set(name, [constant]);
    else if (sameType(before[0]!, constant)) before.push(constant);
    else throw new OnnxFormatError(`graph: constant '${name}', expected definitions of one type, got different ones.`);
  };
  for (const tensor of record.initializers) add(tensor.name, { kind: 'tensor', tensor });
  for (const sparse of record.sparse) add(sparse.name, { kind: 'sparse', sparse });
  for (const node of record.nodes) {
    if (!isConstant(node)) continue;
    const value = node.attributes.get('value');
    const name = node.outputs[0]!;
    // By the name of its value everybody tells it from others: a tensor of its own need not have one.
    add(name, value?.kind === 'tensor' ? { kind: 'tensor', tensor: { ...value.value, name } } : { kind: 'node', node });
  }
  return new Map([...definitions].map(([name, all]) => [name, theOneThatCounts(all)] as const));
}

/** As in ONNX Runtime 1.30: the last one, but of long tensors the one before it. */
function theOneThatCounts(all: readonly Constant[]): Constant {
  const last = all.at(-1)!;
  const before = all.at(-2);
  if (!before || last.kind !== 'tensor' || dataTypeBits(last.tensor.elemType) === undefined) return last;
  return tensorByteLength(last.tensor) > LONG_BYTES ? before : last;
}

function sameType(a: Constant, b: Constant): boolean {
  if (a.kind !== 'tensor' || b.kind !== 'tensor') return a.kind === b.kind;
  const [left, right] = [a.tensor, b.tensor];
  return left.elemType === right.elemType && sameNumbers(left.dims, right.dims);
}

/** An initializer that is listed as an input has its type: ONNX Runtime refuses another. */
function checkOverridable({ inputs }: GraphRecord, constants: ReadonlyMap<string, Constant>): void {
  for (const { name, type } of inputs) {
    const constant = constants.get(name);
    if (constant?.kind !== 'tensor') continue;
    const { elemType, dims } = constant.tensor;
    const isAlike =
      (type.elemType === 0 || type.elemType === elemType) &&
      (type.dims?.every((dim, i) => typeof dim !== 'number' || dim === dims[i]) ?? true) &&
      (type.dims === undefined || type.dims.length === dims.length);
    if (!isAlike)
      throw new OnnxFormatError(`graph: input '${name}', expected the type and shape of its initializer, got others.`);
  }
}

function checkDefinitions(
  inputs: readonly ValueInfo[],
  constants: ReadonlyMap<string, Constant>,
  nodes: readonly NodeRecord[],
): void {
  const defined = new Set(constants.keys());
  for (const { name } of inputs) {
    if (defined.has(name)) throw new OnnxFormatError(`graph: input '${name}', expected one definition, got two.`);
    defined.add(name);
  }
  for (const node of nodes) {
    for (const name of node.outputs) {
      if (name === '') continue;
      if (defined.has(name)) {
        throw new OnnxFormatError(`graph: ${describeNode(node)}: output '${name}', expected one definition, got two.`);
      }
      defined.add(name);
    }
  }
}

/** Kahn's algorithm, stable: nodes that are already in order stay so (ONNX asks for sorted nodes, some writers don't). */
function sortNodes(
  nodes: readonly NodeRecord[],
  inputs: readonly ValueInfo[],
  constants: ReadonlyMap<string, Constant>,
): GraphNode[] {
  const producer = new Map<string, number>();
  nodes.forEach((node, index) => {
    for (const name of node.outputs) if (name !== '') producer.set(name, index);
  });
  const fed = new Set(inputs.map((input) => input.name));
  const waiting: number[] = new Array<number>(nodes.length).fill(0);
  const unlocks: number[][] = nodes.map(() => []);
  nodes.forEach((node, index) => {
    for (const name of usesOf(node)) {
      const from = producer.get(name);
      if (from !== undefined) {
        unlocks[from]!.push(index);
        waiting[index]!++;
      } else if (!fed.has(name) && !constants.has(name)) {
        throw new OnnxFormatError(
          `graph: ${describeNode(node)}: input '${name}', expected a graph input, an initializer or another node's output, got an undefined name.`,
        );
      }
    }
  });
  const sorted: GraphNode[] = [];
  const done = new Uint8Array(nodes.length);
  for (let start = 0; start < nodes.length; start++) {
    // Depth-first from each ready node in file order; a node that waits is reached again from its last producer.
    const stack = done[start] || waiting[start]! > 0 ? [] : [start];
    while (stack.length > 0) {
      const index = stack.pop()!;
      if (done[index]) continue;
      done[index] = 1;
      sorted.push({ ...nodes[index]!, index: sorted.length });
      for (const next of unlocks[index]!) {
        waiting[next]!--;
        if (waiting[next] === 0 && next < start) stack.push(next);
      }
    }
  }
  const stuck = done.indexOf(0);
  if (stuck >= 0) {
    throw new OnnxFormatError(`graph: ${describeNode(nodes[stuck]!)}: inputs, expected no cycle, got one.`);
  }
  return sorted;
}

function checkOutputs(
  record: GraphRecord,
  inputs: readonly ValueInfo[],
  constants: ReadonlyMap<string, Constant>,
  producers: ReadonlyMap<string, GraphNode>,
): void {
  for (const { name } of record.outputs) {
    if (!producers.has(name) && !constants.has(name) && !inputs.some((input) => input.name === name)) {
      throw new OnnxFormatError(`graph: output '${name}', expected a value of the graph, got an undefined name.`);
    }
  }
}
