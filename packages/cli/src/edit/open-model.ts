/** A model's file as a tree of graphs: bodies of If, Loop and Scan see the names of what they stand in. */
import {
  type ByteRange,
  fieldsOf,
  type GraphRecord,
  type ModelRecord,
  type NodeRecord,
  openExternal,
  openSource,
  readModel,
  readSubgraph,
  type TensorRef,
} from '@msd/onnx/model';
import { UserError } from '../shared/errors.ts';

/** A graph with those inside of it. */
export interface Scope {
  readonly graph: GraphRecord;
  /** The GraphProtos that say it: one, but for files that were put together. */
  readonly ranges: readonly ByteRange[];
  readonly parent: Scope | undefined;
  /** Bodies by node and attribute. */
  readonly inner: ReadonlyMap<NodeRecord, ReadonlyMap<string, Scope>>;
  /** Tensors that the graph holds, as initializers or in Constant nodes. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** Who makes a value here. */
  readonly makers: ReadonlyMap<string, NodeRecord>;
}

/** A model that is open. */
export interface OpenModel {
  /** A path, or `bytes`. */
  readonly name: string;
  readonly record: ModelRecord;
  readonly root: Scope;
  /** The root first. */
  readonly scopes: readonly Scope[];
  /** Bytes of the model's file and of its external data. */
  readonly fileBytes: number;
  close(): void;
}

/**
 * Opens a model; tensors stay in the file.
 *
 * @param model a path, or the bytes of a model
 * @param externalData where it lies, for bytes
 * @throws what @msd/onnx says of files that are no models
 */
export async function openModel(
  model: string | Uint8Array,
  externalData: readonly { readonly path: string; readonly data: string }[] = [],
): Promise<OpenModel> {
  const source = await openSource(model);
  try {
    const record = readModel(source);
    await openExternal(record.files, record.files.locations, model, externalData);
    const whole = { source, offset: 0, length: source.byteLength };
    const ranges = [...fieldsOf(whole, 'ModelProto')].flatMap(({ field, payload }) =>
      field === 7 && payload ? payload : [],
    );
    const scopes: Scope[] = [];
    const root = readScope(record, record.graph, ranges, undefined, scopes);
    const external = [...record.files.sources.values()];
    return {
      name: source.name,
      record,
      root,
      scopes,
      fileBytes: [source, ...external].reduce((sum, { byteLength }) => sum + byteLength, 0),
      close: () => {
        for (const each of [source, ...external]) each.close();
      },
    };
  } catch (error) {
    source.close();
    throw error;
  }
}

function readScope(
  record: ModelRecord,
  graph: GraphRecord,
  ranges: readonly ByteRange[],
  parent: Scope | undefined,
  to: Scope[],
): Scope {
  const inner = new Map<NodeRecord, Map<string, Scope>>();
  const tensors = new Map(graph.initializers.map((tensor) => [tensor.name, tensor]));
  const makers = new Map<string, NodeRecord>();
  const scope: Scope = { graph, ranges, parent, inner, tensors, makers };
  to.push(scope);
  for (const node of graph.nodes) {
    for (const output of node.outputs) if (output !== '') makers.set(output, node);
    const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
    if (value?.kind === 'tensor') tensors.set(node.outputs[0] ?? '', value.value);
    for (const [name, attribute] of node.attributes) {
      if (attribute.kind !== 'graph') continue;
      const body = readScope(record, readSubgraph(attribute.value, record.files), [attribute.value], scope, to);
      let bodies = inner.get(node);
      if (!bodies) inner.set(node, (bodies = new Map()));
      bodies.set(name, body);
    }
  }
  return scope;
}

/** A constant, and the graph that holds it. */
export interface Held {
  readonly tensor: TensorRef;
  readonly name: string;
  readonly scope: Scope;
}

/** The tensor that a name stands for in a graph. */
export function tensorNamed(scope: Scope, name: string): Held | undefined {
  const home = homeOf(scope, name);
  const tensor = home?.tensors.get(name);
  return home && tensor ? { tensor, name, scope: home } : undefined;
}

/** The graph that defines a name. */
export function homeOf(scope: Scope, name: string): Scope | undefined {
  for (let at: Scope | undefined = scope; at; at = at.parent)
    if (at.tensors.has(name) || at.makers.has(name) || at.graph.inputs.some((input) => input.name === name)) return at;
  return undefined;
}

/** An attribute that is a whole number. */
export function intOf(node: NodeRecord, name: string, otherwise: number): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'int' ? attribute.value : otherwise;
}

/** An attribute that is a real number. */
export function floatOf(node: NodeRecord, name: string, otherwise: number): number {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'float' ? attribute.value : otherwise;
}

/** An attribute that is a list of whole numbers. */
export function intsOf(node: NodeRecord, name: string): readonly number[] | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === 'ints' ? attribute.value : undefined;
}

/** As messages call a node: operators of exporters have names, those of other tools often none. */
export function nodeName({ name, opType, outputs }: NodeRecord): string {
  return name === '' ? `${opType} of ${outputs.find((output) => output !== '') ?? 'nothing'}` : name;
}

/** Version of the standard operators. */
export function opsetOf({ record }: OpenModel): number {
  const version = record.opsets.get('');
  if (version === undefined)
    throw new UserError(`${record.source.name}: expected a version of the standard operators, got none.`);
  return version;
}
