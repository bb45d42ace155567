/**
 * Models whose products lie in branches of If: one graph for every combination of conditions, with the nodes of the
 * taken branches in place of the If. Such a graph is planned like any other; all of them share weights, caches and the
 * device. A merged decoder (everything in one If over `use_cache_branch`) becomes two graphs.
 */
import { buildGraph, type Graph, type GraphNode } from '../ir/graph.ts';
import type { GraphRecord, ModelRecord } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import { Bodies, pathOf } from './bodies.ts';
import { type Condition, conditionOf } from './condition.ts';
import { identity } from './names.ts';
import { withoutLists } from './sequences.ts';

/** What runs is one of these. */
export interface Variant {
  readonly record: ModelRecord;
  readonly graph: Graph;
  /** The branches that were taken, as paths. */
  readonly taken: readonly string[];
  /** Subgraphs of nodes that are left. Absent: it has none. */
  readonly bodies?: Bodies;
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
/** The most branches that are put in: a file of a few bytes must not become an endless graph. */
const MAX_TAKEN = 256;

/** A model with its functions put in, and its Ifs still nodes. */
export class Branches {
  readonly #bodies: Bodies;
  #root: ModelRecord;
  #variants: Variant[] = [];

  /** @param bodies of the model that this one is a subgraph of */
  constructor(record: ModelRecord, bodies: Bodies | undefined = undefined) {
    this.#bodies = bodies ?? new Bodies(record);
    this.#root = bodies ? record : this.#bodies.root;
  }

  /** The model as it is. */
  whole(): Variants {
    const record = this.#root;
    const variant = { record, graph: buildGraph(record), taken: [], bodies: this.#bodies };
    return { all: [variant], choice: { condition: undefined, variant: 0 } };
  }

  /** @param isWanted whether a node makes the branch that it is in worth planning */
  planned(isWanted: (node: NodeRecord) => boolean): Variants {
    this.#variants = [];
    const { graph, opsets } = this.#root;
    const nodes = withoutLists(graph, opsets.get('') ?? 1, (node) =>
      this.#bodies.holds(node, isWanted) ? this.#bodies.of(node, 'body') : undefined,
    );
    if (nodes !== graph.nodes) this.#root = { ...this.#root, graph: { ...graph, nodes } };
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
      this.#variants.push({ record, graph, taken, bodies: this.#bodies });
      return { condition: undefined, variant: this.#variants.length - 1 };
    }
    const { node, condition } = next;
    const follow = (value: boolean): Choice => {
      const key = typeof condition === 'object' ? condition.key : undefined;
      const path = pathOf(node, attributeOf(value));
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
    const fit = [true, false].every((value) => this.#bodyOf(node, value) !== undefined);
    return fit && this.#bodies.holds(node, isWanted);
  }

  /** A branch; `undefined` if it is none that can stand for the node. */
  #bodyOf(node: NodeRecord, value: boolean): GraphRecord | undefined {
    const body = this.#bodies.of(node, attributeOf(value));
    const fits = body && body.inputs.length === 0 && body.outputs.length >= node.outputs.length;
    return fits ? body : undefined;
  }

  /** The model with a branch in place of its If. */
  #with(record: ModelRecord, node: GraphNode, value: boolean): ModelRecord {
    const body = this.#bodyOf(node, value)!;
    const { graph } = record;
    const attribute = attributeOf(value);
    const computed = new Set(
      body.nodes.filter(({ opType }) => opType !== 'Constant').flatMap(({ outputs }) => outputs),
    );
    const names = new Map<string, string>();
    const handed: (readonly [position: number, to: string])[] = [];
    for (const [i, output] of node.outputs.entries()) {
      const { name } = body.outputs[i]!;
      if (output === '') continue;
      if (computed.has(name) && !names.has(name)) names.set(name, output);
      else handed.push([i, output]);
    }
    const { nodes, outputs, initializers, sparse, valueInfo } = this.#bodies.apart(node, attribute, names);
    const path = pathOf(node, attribute);
    const all = [...nodes, ...handed.map(([i, to]) => identity(outputs[i]!.name, to, path))];
    return {
      ...record,
      graph: {
        ...graph,
        nodes: graph.nodes.flatMap((each) => (each.range === node.range ? all : [each])),
        initializers: [...graph.initializers, ...initializers],
        sparse: [...graph.sparse, ...sparse],
        valueInfo: [...valueInfo, ...graph.valueInfo],
      },
    };
  }
}

const isIf = ({ opType, domain }: NodeRecord): boolean => opType === 'If' && domain === '';

const attributeOf = (value: boolean): string => (value ? 'then_branch' : 'else_branch');
