/**
 * Models whose products lie in branches of If: one graph for every way that conditions can turn out, with the nodes of the branches
 * that are taken in place of the If. Such a graph is planned like any other; all of them share weights, caches and the device. A
 * merged decoder (everything in one If over `use_cache_branch`) becomes two graphs.
 */
import { buildGraph, type Graph, type GraphNode } from '../ir/graph.ts';
import { type GraphRecord, type ModelRecord, readSubgraph } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import { type Condition, conditionOf } from './condition.ts';
import { Functions } from './functions.ts';
import { identity, Names, renamed } from './names.ts';

/** What runs is one of these. */
export interface Variant {
  readonly record: ModelRecord;
  readonly graph: Graph;
  /** The branches that were taken, as paths. */
  readonly taken: readonly string[];
}

/** Which variant a run is, decided condition by condition. */
export type Choice =
  | { readonly condition: Condition; readonly yes: Choice; readonly no: Choice }
  | { readonly condition: undefined; readonly variant: number };

export interface Variants {
  readonly all: readonly Variant[];
  readonly choice: Choice;
}

/** Conditions of one model that turn out independently: each doubles the graphs. */
const MAX_CONDITIONS = 3;
/** Branches in branches; a file of a few bytes must not become a graph without end. */
const MAX_TAKEN = 256;

/** A model with its functions put in, and its Ifs still nodes. */
export class Branches {
  readonly #names = new Names();
  readonly #functions: Functions;
  readonly #root: ModelRecord;
  readonly #bodies = new Map<ByteRange, GraphRecord>();
  /** External tensors by place: branches that have the same one share it. */
  readonly #tensors = new Map<string, TensorRef>();
  #variants: Variant[] = [];

  constructor(record: ModelRecord) {
    for (const name of definedIn(record.graph)) this.#names.take(name, record);
    this.#functions = new Functions(record, this.#names);
    for (const tensor of record.graph.initializers) this.#shared(tensor);
    const nodes = this.#functions.expand(record.graph.nodes);
    this.#root =
      nodes === record.graph.nodes
        ? record
        : { ...record, opsets: this.#functions.opsets, graph: { ...record.graph, nodes } };
  }

  /** The model as it is. */
  whole(): Variants {
    const record = this.#root;
    return { all: [{ record, graph: buildGraph(record), taken: [] }], choice: { condition: undefined, variant: 0 } };
  }

  /** @param isWanted whether a node makes the branch that it is in worth planning */
  planned(isWanted: (node: NodeRecord) => boolean): Variants {
    this.#variants = [];
    const choice = this.#split(this.#root, [], new Map(), isWanted);
    return { all: this.#variants, choice };
  }

  #split(
    record: ModelRecord,
    taken: readonly string[],
    decided: ReadonlyMap<string, boolean>,
    isWanted: (node: NodeRecord) => boolean,
  ): Choice {
    const graph = buildGraph(record);
    const next = taken.length < MAX_TAKEN ? this.#nextOf(graph, decided, isWanted) : undefined;
    if (!next) {
      this.#variants.push({ record, graph, taken });
      return { condition: undefined, variant: this.#variants.length - 1 };
    }
    const { node, condition } = next;
    const follow = (value: boolean): Choice => {
      const key = typeof condition === 'object' ? condition.key : undefined;
      const path = pathOf(node, value);
      const known = key === undefined ? decided : new Map([...decided, [key, value]]);
      return this.#split(this.#with(record, node, value), [...taken, path], known, isWanted);
    };
    if (typeof condition === 'boolean') return follow(condition);
    const known = decided.get(condition.key);
    if (known !== undefined) return follow(known);
    return { condition, yes: follow(true), no: follow(false) };
  }

  /** The first If whose condition can be had and that has something worth planning inside. */
  #nextOf(
    graph: Graph,
    decided: ReadonlyMap<string, boolean>,
    isWanted: (node: NodeRecord) => boolean,
  ): { node: GraphNode; condition: Condition | boolean } | undefined {
    for (const node of graph.nodes) {
      if (!isIf(node) || !this.#isWorth(node, isWanted)) continue;
      const condition = conditionOf(graph, node.inputs[0]!);
      if (condition === undefined) continue;
      const isOpen = typeof condition === 'object' && !decided.has(condition.key);
      if (!isOpen || decided.size < MAX_CONDITIONS) return { node, condition };
    }
    return undefined;
  }

  #isWorth(node: NodeRecord, isWanted: (node: NodeRecord) => boolean): boolean {
    const bodies = [true, false].map((value) => this.#bodyOf(node, value));
    if (bodies.includes(undefined)) return false;
    return bodies.some((body) =>
      body!.nodes.some((each) => isWanted(each) || (isIf(each) && this.#isWorth(each, isWanted))),
    );
  }

  /** A branch; `undefined` if it is none that can stand for the node. */
  #bodyOf(node: NodeRecord, value: boolean): GraphRecord | undefined {
    const attribute = node.attributes.get(value ? 'then_branch' : 'else_branch');
    if (attribute?.kind !== 'graph') return undefined;
    let body = this.#bodies.get(attribute.value);
    if (!body) {
      const read = readSubgraph(attribute.value, this.#root.files);
      const initializers = read.initializers.map((tensor) => this.#shared(tensor));
      body = { ...read, initializers, nodes: this.#functions.expand(read.nodes) };
      this.#bodies.set(attribute.value, body);
    }
    const fits = body.inputs.length === 0 && body.outputs.length >= node.outputs.length;
    return fits ? body : undefined;
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

  /** The model with a branch in place of its If. */
  #with(record: ModelRecord, node: GraphNode, value: boolean): ModelRecord {
    const body = this.#bodyOf(node, value)!;
    const { graph } = record;
    const path = pathOf(node, value);
    const computed = new Set(
      body.nodes.filter(({ opType }) => opType !== 'Constant').flatMap(({ outputs }) => outputs),
    );
    const constants = new Map(body.initializers.map((tensor) => [tensor.name, tensor] as const));
    const defined = new Set(definedIn(body));
    const names = new Map<string, string>();
    const handed: (readonly [from: string, to: string])[] = [];
    for (const [i, output] of node.outputs.entries()) {
      const { name } = body.outputs[i]!;
      if (output === '') continue;
      if (computed.has(name) && !names.has(name)) names.set(name, output);
      else handed.push([name, output]);
    }
    const nameOf = (name: string): string => {
      if (!defined.has(name)) return node.captured?.get(name) ?? name;
      let given = names.get(name);
      if (given === undefined) {
        // A tensor is the same for whoever holds it: two branches with one table have one name for it.
        given = this.#names.fresh(name, constants.get(name) ?? body, path);
        names.set(name, given);
      }
      return given;
    };
    const nodes = body.nodes.map((each) => renamed(each, nameOf, path));
    for (const [from, to] of handed) nodes.push(identity(nameOf(from), to, path));
    const named = <T extends { readonly name: string }>(list: readonly T[]): T[] =>
      list.map((each) => ({ ...each, name: nameOf(each.name) }));
    return {
      ...record,
      graph: {
        ...graph,
        nodes: graph.nodes.flatMap((each) => (each.range === node.range ? nodes : [each])),
        initializers: [...graph.initializers, ...named(body.initializers)],
        sparse: [...graph.sparse, ...named(body.sparse)],
        valueInfo: [...named(body.valueInfo), ...graph.valueInfo],
      },
    };
  }
}

const isIf = ({ opType, domain }: NodeRecord): boolean => opType === 'If' && domain === '';

/** What reports call a branch: the node, in what it stands itself, and the attribute. */
function pathOf(node: NodeRecord, value: boolean): string {
  const own = `${node.name || node.outputs[0] || 'If'}/${value ? 'then_branch' : 'else_branch'}`;
  return node.inside === undefined ? own : `${node.inside}/${own}`;
}

/** Names that a graph defines. */
function definedIn({ inputs, initializers, sparse, nodes }: GraphRecord): string[] {
  return [...inputs, ...initializers, ...sparse]
    .map(({ name }) => name)
    .concat(nodes.flatMap(({ outputs }) => outputs));
}
