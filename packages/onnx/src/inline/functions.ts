/**
 * Replaces calls of the file's functions by their bodies. For every call, names in the body become unique, and
 * attributes that it refers to become those of the call. A call that cannot be replaced stays a node, and goes to ONNX
 * Runtime with the functions.
 */
import { OnnxFormatError } from '../errors.ts';
import type { FunctionRecord, ModelRecord } from '../read/model.ts';
import type { Attribute, NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import { namedAttribute } from '../write/node.ts';
import { identity, type Names, renamed } from './names.ts';

/** Levels of functions that call functions: a file of a few bytes must not become an endless graph. */
const MAX_DEPTH = 64;
const MAX_NODES = 100_000;

/** Puts functions in. One for a model: it counts nodes. */
export class Functions {
  readonly #functions: ReadonlyMap<string, FunctionRecord>;
  /** The model's, and those that only functions ask for: of both, the model's count, as in ONNX Runtime. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly #names: Names;
  #count = 0;

  constructor({ functions, opsets }: ModelRecord, names: Names) {
    this.#functions = new Map(functions.map((each) => [keyOf(each.domain, each.name, each.overload), each]));
    checkCycles(this.#functions);
    this.opsets = new Map([...functions.flatMap((each) => [...each.opsets]), ...opsets]);
    this.#names = names;
  }

  /** Nodes with the bodies of what they call in their places. */
  expand(nodes: readonly NodeRecord[]): readonly NodeRecord[] {
    return this.#functions.size === 0 ? nodes : nodes.flatMap((node) => this.#expand(node));
  }

  #expand(node: NodeRecord): readonly NodeRecord[] {
    const called = this.#functions.get(keyOf(node.domain, node.opType, node.overload));
    if (!called || this.#count + called.nodes.length > MAX_NODES) return [node];
    const body = this.#bodyOf(node, called);
    if (!body) return [node];
    this.#count += body.length;
    return body.flatMap((each) => this.#expand(each));
  }

  /** `undefined` if the call has to stay one. */
  #bodyOf(call: NodeRecord, called: FunctionRecord): readonly NodeRecord[] | undefined {
    if (call.inputs.length > called.inputs.length || call.outputs.length > called.outputs.length) return undefined;
    const path = call.name || call.outputs[0] || called.name;
    const names = new Map<string, string>();
    for (const [i, name] of called.inputs.entries()) names.set(name, call.inputs[i] ?? '');
    const made = new Set(called.nodes.filter(({ opType }) => opType !== 'Constant').flatMap(({ outputs }) => outputs));
    const handed: NodeRecord[] = [];
    for (const [i, name] of called.outputs.entries()) {
      const wanted = call.outputs[i] ?? '';
      if (wanted === '') continue;
      if (made.has(name) && !names.has(name)) names.set(name, wanted);
      else handed.push(identity(name, wanted, ''));
    }
    const outside = call.inside === undefined ? path : `${call.inside}/${path}`;
    const nameOf = (name: string): string => {
      let given = names.get(name);
      if (given === undefined) {
        given = this.#names.fresh(`${name} of ${outside}`, call, 'another call');
        names.set(name, given);
      }
      return given;
    };
    const body: NodeRecord[] = [];
    for (const node of called.nodes) {
      const resolved = node.referencesInside ? undefined : withAttributes(node, call, called);
      const takesNothing = node.captures.some((name) => names.get(name) === '');
      if (!resolved || takesNothing) return undefined;
      body.push(renamed(resolved, nameOf, outside));
    }
    for (const {
      inputs: [from = ''],
      outputs: [to = ''],
    } of handed) {
      if (names.get(from) === '') return undefined;
      body.push(identity(nameOf(from), to, outside));
    }
    return body;
  }
}

/** @throws {@link OnnxFormatError} if functions call each other in a circle */
function checkCycles(functions: ReadonlyMap<string, FunctionRecord>): void {
  const done = new Set<FunctionRecord>();
  const open = new Set<FunctionRecord>();
  const visit = (each: FunctionRecord | undefined): void => {
    if (!each || done.has(each)) return;
    if (open.has(each) || open.size > MAX_DEPTH)
      throw new OnnxFormatError(
        `graph: function '${each.name}', expected at most ${MAX_DEPTH} that call each other, got more: do they call themselves?`,
      );
    open.add(each);
    for (const { domain, opType, overload } of each.nodes) visit(functions.get(keyOf(domain, opType, overload)));
    open.delete(each);
    done.add(each);
  };
  for (const each of functions.values()) visit(each);
}

const keyOf = (domain: string, name: string, overload: string): string => JSON.stringify([domain, name, overload]);

/** The node with what its call says for its references; `undefined` if that is a subgraph, whose names are the caller's. */
function withAttributes(node: NodeRecord, call: NodeRecord, called: FunctionRecord): NodeRecord | undefined {
  if (![...node.attributes.values()].some(({ kind }) => kind === 'reference')) return node;
  const attributes = new Map<string, Attribute>();
  const attributeRanges: ByteRange[] = [];
  for (const [i, [name, attribute]] of [...node.attributes].entries()) {
    if (attribute.kind !== 'reference') {
      attributes.set(name, attribute);
      attributeRanges.push(node.attributeRanges[i]!);
      continue;
    }
    const given = givenBy(call, attribute.value) ?? called.defaults.get(attribute.value);
    if (!given) continue;
    if (given.attribute.kind === 'graph' || given.attribute.kind === 'other' || given.attribute.kind === 'reference')
      return undefined;
    attributes.set(name, given.attribute);
    attributeRanges.push(namedAttribute(given.range, name));
  }
  return { ...node, attributes, attributeRanges, isEdited: true };
}

function givenBy(call: NodeRecord, name: string): { attribute: Attribute; range: ByteRange } | undefined {
  const at = [...call.attributes.keys()].indexOf(name);
  return at < 0 ? undefined : { attribute: call.attributes.get(name)!, range: call.attributeRanges[at]! };
}
