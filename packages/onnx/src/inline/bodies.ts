/**
 * Subgraphs of a model, read once, with calls of functions replaced and with unique names, so that they can be put into
 * the graph around them or be models of their own.
 */
import type { Graph } from '../ir/graph.ts';
import { makersOf } from '../passes/folded.ts';
import { type GraphRecord, type ModelRecord, readSubgraph } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { ValueInfo } from '../read/types.ts';
import { Functions } from './functions.ts';
import { Names, renamed } from './names.ts';

/** Bodies of one model. */
export class Bodies {
  /** The model with its functions put in. */
  readonly root: ModelRecord;
  readonly #names = new Names();
  readonly #functions: Functions;
  readonly #records = new Map<ByteRange, GraphRecord>();
  /** External tensors by place: bodies that have the same one share it. */
  readonly #tensors = new Map<string, TensorRef>();
  /** Of what a body computes: a body may be put in twice, for two calls of a function. */
  readonly #owners = new Map<ByteRange, Map<string, object>>();

  constructor(record: ModelRecord) {
    for (const name of definedIn(record.graph)) this.#names.take(name, record);
    this.#functions = new Functions(record, this.#names);
    for (const tensor of record.graph.initializers) this.#shared(tensor);
    const nodes = this.#functions.expand(record.graph.nodes);
    this.root =
      nodes === record.graph.nodes
        ? record
        : { ...record, opsets: this.#functions.opsets, graph: { ...record.graph, nodes } };
  }

  /** As the file has it; `undefined` if the node has no such subgraph. */
  of(node: NodeRecord, attribute: string): GraphRecord | undefined {
    const given = node.attributes.get(attribute);
    if (given?.kind !== 'graph') return undefined;
    let body = this.#records.get(given.value);
    if (!body) {
      const read = readSubgraph(given.value, this.root.files);
      const initializers = read.initializers.map((tensor) => this.#shared(tensor));
      body = { ...read, initializers, nodes: this.#functions.expand(read.nodes) };
      this.#records.set(given.value, body);
    }
    return body;
  }

  /** Is there such a node in a subgraph of a node, or in one of those? */
  holds(node: NodeRecord, isSuch: (node: NodeRecord) => boolean): boolean {
    return this.#all(node).some(({ nodes }) => nodes.some((each) => isSuch(each) || this.holds(each, isSuch)));
  }

  /** Files that tensors in subgraphs of a node lie in. */
  locations(node: NodeRecord): string[] {
    return this.#all(node).flatMap(({ initializers, nodes }) => [
      ...initializers.flatMap(({ storage }) => (storage.kind === 'external' ? storage.location : [])),
      ...nodes.flatMap((each) => this.locations(each)),
    ]);
  }

  #all(node: NodeRecord): GraphRecord[] {
    return [...node.attributes.keys()].flatMap((attribute) => this.of(node, attribute) ?? []);
  }

  /**
   * The same under names of its own.
   *
   * @param given names that some of its values have outside
   */
  apart(node: NodeRecord, attribute: string, given: ReadonlyMap<string, string>): GraphRecord {
    const body = this.of(node, attribute)!;
    const path = pathOf(node, attribute);
    const owner = this.#ownerOf(node, attribute);
    const constants = new Map(body.initializers.map((tensor) => [tensor.name, tensor] as const));
    const defined = new Set(definedIn(body));
    const names = new Map(given);
    const nameOf = (name: string): string => {
      let own = names.get(name);
      if (own === undefined && !defined.has(name)) return node.captured?.get(name) ?? name;
      if (own === undefined) {
        // A tensor is the same for whoever holds it: two branches with one table have one name for it.
        own = this.#names.fresh(name, constants.get(name) ?? owner, path);
        names.set(name, own);
      }
      return own;
    };
    const named = <T extends { readonly name: string }>(list: readonly T[]): T[] =>
      list.map((each) => ({ ...each, name: nameOf(each.name) }));
    return {
      name: body.name,
      nodes: body.nodes.map((each) => renamed(each, nameOf, path)),
      initializers: named(body.initializers),
      sparse: named(body.sparse),
      inputs: named(body.inputs),
      outputs: named(body.outputs),
      valueInfo: named(body.valueInfo),
    };
  }

  /** The same as a model of its own: constants of the outside are in it, other values from there are inputs behind its own. */
  standalone(node: NodeRecord, attribute: string, outside: Graph): ModelRecord {
    const body = this.apart(node, attribute, new Map());
    const nodes: NodeRecord[] = [];
    const [initializers, sparse, captured] = [[...body.initializers], [...body.sparse], [] as ValueInfo[]];
    const seen = new Set<string>();
    const add = (name: string): void => {
      if (seen.has(name)) return;
      seen.add(name);
      const constant = outside.constants.get(name);
      const makers = constant ? makersOf(outside, name) : [];
      for (const maker of makers) {
        for (const made of maker.outputs) seen.add(made);
        nodes.push(maker);
      }
      for (const maker of makers) for (const input of maker.inputs) if (input !== '') add(input);
      if (makers.length > 0) return;
      if (constant?.kind === 'tensor') initializers.push({ ...constant.tensor, name });
      else if (constant?.kind === 'sparse') sparse.push({ ...constant.sparse, name });
      else if (constant) nodes.push(constant.node);
      else captured.push({ name, type: { kind: 'tensor', elemType: 0, dims: undefined } });
    };
    for (const name of takenBy(body)) add(name);
    const graph = {
      ...body,
      nodes: [...nodes, ...body.nodes],
      initializers,
      sparse,
      inputs: [...body.inputs, ...captured],
    };
    return { ...this.root, graph };
  }

  #ownerOf({ range }: NodeRecord, attribute: string): object {
    const owners = this.#owners.get(range) ?? new Map<string, object>();
    this.#owners.set(range, owners);
    const owner = owners.get(attribute) ?? {};
    owners.set(attribute, owner);
    return owner;
  }

  #shared(tensor: TensorRef): TensorRef {
    const { storage, elemType, dims, name } = tensor;
    if (storage.kind !== 'external') return tensor;
    const key = JSON.stringify([storage.location, storage.offset, elemType, dims, name]);
    const known = this.#tensors.get(key);
    if (known) return known;
    this.#tensors.set(key, tensor);
    return tensor;
  }
}

/** The path of a body in reports: the path of the node, the node, and the attribute. */
export function pathOf(node: NodeRecord, attribute: string): string {
  const own = `${node.name || node.outputs.find((name) => name !== '') || node.opType}/${attribute}`;
  return node.inside === undefined ? own : `${node.inside}/${own}`;
}

/** Names that a graph defines. */
export function definedIn({ inputs, initializers, sparse, nodes }: GraphRecord): string[] {
  return [...inputs, ...initializers, ...sparse]
    .map(({ name }) => name)
    .concat(nodes.flatMap(({ outputs }) => outputs));
}

/** Names that a graph takes from outside. */
function takenBy(graph: GraphRecord): Set<string> {
  const taken = new Set(graph.nodes.flatMap(({ inputs, captures }) => [...inputs, ...captures]));
  for (const { name } of graph.outputs) taken.add(name);
  for (const name of ['', ...definedIn(graph)]) taken.delete(name);
  return taken;
}
