/** A graph as model.json has it, read with both spellings that converters wrote: names and base64, or numbers and char codes. */
import { checkName, ModelFormatError, shown } from '../errors.ts';

/** One attribute of a node. */
export interface AttrValue {
  readonly b?: boolean;
  readonly i?: number | string;
  readonly f?: number;
  readonly s?: string | readonly number[];
  readonly type?: string | number;
  readonly func?: { readonly name?: string };
  readonly list?: { readonly s?: readonly (string | readonly number[])[]; readonly i?: readonly (number | string)[] };
}

export interface NodeDef {
  readonly name: string;
  readonly op: string;
  readonly input?: readonly string[];
  readonly attr?: Readonly<Record<string, AttrValue>>;
}

export interface FunctionDef {
  readonly signature: {
    readonly name: string;
    readonly inputArg?: readonly { readonly name: string }[];
    readonly outputArg?: readonly { readonly name: string }[];
  };
  readonly nodeDef?: readonly NodeDef[];
  readonly ret?: Readonly<Record<string, string>>;
}

export interface Topology {
  readonly node: readonly NodeDef[];
  readonly library?: { readonly function?: readonly FunctionDef[] };
  readonly versions?: unknown;
}

/** @throws {@link ModelFormatError} if it is no graph */
export function checkTopology(topology: unknown): asserts topology is Topology {
  const { node, library } = (topology ?? {}) as Partial<Topology>;
  const refuse = (what: string, got: unknown): never => {
    throw new ModelFormatError(`model: ${what}, got ${got === null ? 'null' : typeof got}. Is it a graph model?`);
  };
  const checkNodes = (nodes: unknown, where: string) => {
    if (!Array.isArray(nodes)) return refuse(`${where}, expected an array of nodes`, nodes);
    for (const entry of nodes) {
      const { name, op, input = [], attr = {} } = (entry ?? {}) as Partial<NodeDef>;
      if (typeof name !== 'string' || typeof op !== 'string')
        refuse(`${where}, expected nodes with name and op`, entry);
      checkName(name!, where);
      if (!Array.isArray(input) || !input.every((source) => typeof source === 'string'))
        refuse(`${where}, expected the inputs of ${name} to be names`, input);
      if (typeof attr !== 'object' || attr === null) refuse(`${where}, expected attributes of ${name}`, attr);
    }
  };
  checkNodes(node, 'modelTopology.node');
  const functions = library?.function ?? [];
  if (!Array.isArray(functions)) return refuse('modelTopology.library.function, expected an array', functions);
  for (const body of functions as Partial<FunctionDef>[]) {
    if (typeof body?.signature?.name !== 'string') refuse('modelTopology.library.function, expected signatures', body);
    if (body.nodeDef !== undefined) checkNodes(body.nodeDef, `function ${body.signature?.name}`);
    const { ret = {} } = body;
    if (typeof ret !== 'object' || ret === null || !Object.values(ret).every((name) => typeof name === 'string'))
      refuse('modelTopology.library.function, expected ret to be names', ret);
  }
}

/** @throws {@link ModelFormatError} if there are none: stock reads them after it has made its tensors */
export function checkVersions({ versions = null }: Topology): void {
  if (typeof versions !== 'object' || versions === null)
    throw new ModelFormatError(`model: modelTopology.versions, expected an object, got ${shown(versions)}.`);
}

const text = (value: string | readonly number[]): string =>
  typeof value === 'string' ? atob(value) : String.fromCharCode(...value);

function decoded(value: string | readonly number[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  try {
    return text(value);
  } catch {
    return undefined; // no base64
  }
}

export const stringAttr = (node: NodeDef, name: string): string | undefined => decoded(node.attr?.[name]?.s);

export const boolAttr = (node: NodeDef, ...names: string[]): boolean =>
  names.some((name) => node.attr?.[name]?.b === true);

export const numberAttr = (node: NodeDef, name: string): number | undefined => {
  const { i, f } = node.attr?.[name] ?? {};
  return i !== undefined ? Number(i) : f;
};

export const stringsAttr = (node: NodeDef, name: string): string[] =>
  (node.attr?.[name]?.list?.s ?? []).map((value) => decoded(value) ?? '');

export const numbersAttr = (node: NodeDef, name: string): number[] => (node.attr?.[name]?.list?.i ?? []).map(Number);

/** Strings go into attributes as base64. */
export const asString = (value: string): AttrValue => ({ s: btoa(value) });

/** `name:output:index`, `name:index`, `^name` -> the node, and which output. */
export function parseInput(input: string): {
  readonly node: string;
  readonly index: number;
  readonly control: boolean;
} {
  const control = input.startsWith('^');
  const parts = (control ? input.slice(1) : input).split(':');
  return { node: parts[0]!, index: parts.length > 1 ? Number(parts.at(-1)) || 0 : 0, control };
}

/** One list of nodes: the main graph, or a function's body. */
export interface Scope {
  readonly where: string;
  readonly nodes: ReadonlyMap<string, NodeDef>;
  /** Nodes that read an output of this one, control inputs included. */
  readonly consumers: ReadonlyMap<string, readonly NodeDef[]>;
  /** Nodes whose values leave the graph. */
  readonly outputs: ReadonlySet<string>;
  /** Of a function: constants that it always gets for an argument. */
  readonly given: Map<string, string>;
}

export function scopeOf(nodes: readonly NodeDef[], outputs: Iterable<string> | undefined, where: string): Scope {
  const byName = new Map<string, NodeDef>();
  for (const node of nodes) {
    if (byName.has(node.name)) throw new ModelFormatError(`model: ${where}, ${node.name} is there twice.`);
    byName.set(node.name, node);
  }
  const consumers = new Map<string, NodeDef[]>();
  for (const node of nodes)
    for (const input of new Set((node.input ?? []).map((source) => parseInput(source).node))) {
      if (!byName.has(input) && where === 'graph')
        throw new ModelFormatError(`model: ${node.name} reads ${input}, which is not in the graph.`);
      const readers = consumers.get(input);
      if (readers) readers.push(node);
      else consumers.set(input, [node]);
    }
  const named = new Set(outputs ? [...outputs].map((name) => parseInput(name).node) : []);
  // Without a signature tfjs takes every node that nobody reads.
  if (!outputs) for (const { name } of nodes) if (!consumers.has(name)) named.add(name);
  return { where, nodes: byName, consumers, outputs: named, given: new Map() };
}
