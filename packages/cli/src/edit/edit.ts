/** What is to change in a model: nodes in place of nodes, tensors that come or go. Everything else is written as it is. */
import type { ByteRange, NodeRecord } from '@msd/onnx/model';
import type { NodeSpec, TensorSpec, ValueSpec } from '@msd/onnx/write';
import { homeOf, type OpenModel, type Scope } from './open-model.ts';

/** A tensor that the file does not have yet. */
export interface AddedTensor {
  readonly name: string;
  readonly dtype: TensorSpec['dtype'] | 'float4e2m1' | 'float8e8m0';
  readonly dims: readonly number[];
  readonly data: Uint8Array | ByteRange;
}

/** A node of the file that takes and makes other values, and is otherwise the same. */
export interface Reconnected {
  readonly node: NodeRecord;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** What is written in the place of a node. */
export type NewNode = NodeSpec | Reconnected;

/** Collects changes of one model. */
export class Edit {
  readonly model: OpenModel;
  readonly replaced = new Map<NodeRecord, readonly NewNode[]>();
  readonly added = new Map<Scope, AddedTensor[]>();
  readonly dropped = new Map<Scope, Set<string>>();
  /** Further outputs of the model. */
  readonly outputs: ValueSpec[] = [];
  /** Operator sets that new nodes need, if the model does not import them: versions by domain. */
  readonly domains = new Map<string, number>();
  /** Version of the file's format that new types need. */
  irVersion: number;
  readonly #names = new Set<string>();

  constructor(model: OpenModel) {
    this.model = model;
    this.irVersion = model.record.irVersion;
    for (const { graph, tensors, makers } of model.scopes)
      for (const name of [...tensors.keys(), ...makers.keys(), ...graph.inputs.map((input) => input.name)])
        this.#names.add(name);
  }

  /** A name that nobody has: `wanted`, with a number behind it if need be. */
  name(wanted: string): string {
    let name = wanted;
    for (let i = 1; this.#names.has(name); i++) name = `${wanted}_${i}`;
    this.#names.add(name);
    return name;
  }

  /** Puts nodes in the place of one; the last of them makes what it made. */
  replace(node: NodeRecord, by: readonly NewNode[]): void {
    this.replaced.set(node, by);
    for (const each of by) if ('opType' in each && each.domain) this.domains.set(each.domain, 1);
  }

  /** Gives a node another operand, which nodes `before` it make. */
  reconnect(node: NodeRecord, input: number, name: string, before: readonly NodeSpec[]): void {
    this.replace(node, [...before, { node, inputs: node.inputs.with(input, name), outputs: node.outputs }]);
  }

  /** @returns the tensor's name */
  add(scope: Scope, tensor: AddedTensor): string {
    const tensors = this.added.get(scope);
    if (tensors) tensors.push(tensor);
    else this.added.set(scope, [tensor]);
    if (dtypesOfIr10.has(tensor.dtype)) this.irVersion = Math.max(this.irVersion, 10);
    // Before version 4 every constant was an input, too.
    this.irVersion = Math.max(this.irVersion, 4);
    return tensor.name;
  }

  /** Takes out what nobody reads any more: constants, and the nodes that worked for those that are replaced. */
  dropUnused(): void {
    for (let isDone = false; !isDone; ) {
      isDone = true;
      const used = this.#used();
      for (const scope of this.model.scopes) {
        const isUnused = (name: string): boolean => !used.get(scope)?.has(name);
        for (const node of scope.graph.nodes) {
          const isDead = node.outputs.every((name) => name === '' || (isUnused(name) && this.#wasUsed(scope, name)));
          if (this.replaced.has(node) || !isDead) continue;
          this.replaced.set(node, []);
          isDone = false;
        }
        for (const { name } of scope.graph.initializers)
          if (isUnused(name) && this.#wasUsed(scope, name)) this.#drop(scope, name);
      }
    }
  }

  #drop(scope: Scope, name: string): void {
    const names = this.dropped.get(scope);
    if (names) names.add(name);
    else this.dropped.set(scope, new Set([name]));
  }

  /** What nobody read in the file stays: that is none of our business. */
  #wasUsed(scope: Scope, name: string): boolean {
    this.#before ??= usesOf(this.model, new Map());
    return this.#before.get(scope)?.has(name) === true;
  }
  #before: ReadonlyMap<Scope, ReadonlySet<string>> | undefined;

  #used(): ReadonlyMap<Scope, ReadonlySet<string>> {
    return usesOf(this.model, this.replaced);
  }
}

const dtypesOfIr10: ReadonlySet<string> = new Set(['int4', 'uint4', 'float4e2m1', 'float8e8m0']);

/** Names that somebody reads, by the graph that defines them. */
function usesOf(
  model: OpenModel,
  replaced: ReadonlyMap<NodeRecord, readonly NewNode[]>,
): ReadonlyMap<Scope, ReadonlySet<string>> {
  const used = new Map<Scope, Set<string>>(model.scopes.map((scope) => [scope, new Set()]));
  for (const scope of model.scopes) {
    const use = (name: string): void => {
      const home = name === '' ? undefined : homeOf(scope, name);
      if (home) used.get(home)!.add(name);
    };
    for (const { name } of scope.graph.outputs) use(name);
    for (const node of scope.graph.nodes) {
      const by = replaced.get(node);
      if (by) for (const { inputs } of by) for (const name of inputs) use(name);
      else for (const name of node.inputs) use(name);
      // Bodies that are read count for themselves; of others it is known what they take from outside.
      if (!by && [...node.attributes.values()].some(({ kind }) => kind === 'other'))
        for (const name of node.captures) use(name);
    }
  }
  return used;
}
