/**
 * NodeProto and AttributeProto. A node keeps the range of its bytes, so that it can be written again verbatim; of a
 * subgraph only the names are read that its body takes from outside.
 */
import { operatorName } from '../data-types.ts';
import type { Cursor } from './cursor.ts';
import type { ByteRange } from './source.ts';
import { type ExternalFiles, readTensor, type TensorRef } from './tensor.ts';

/**
 * An attribute; `graph` = a subgraph, with its outputs if it holds these as tensors and does nothing else; `reference` = an attribute
 * of the function that the node is in; `other` = a kind that nothing here reads (lists of graphs, types).
 */
export type Attribute =
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'string'; readonly value: ByteRange }
  | { readonly kind: 'tensor'; readonly value: TensorRef }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly ByteRange[] }
  | { readonly kind: 'graph'; readonly value: ByteRange; readonly constants: readonly TensorRef[] | undefined }
  | { readonly kind: 'reference'; readonly value: string }
  | { readonly kind: 'other' };

/** A node as the file has it. */
export interface NodeRecord {
  readonly name: string;
  readonly opType: string;
  /** '' for the standard operators ('ai.onnx' in some files). */
  readonly domain: string;
  /** Which of several functions of one name. */
  readonly overload: string;
  /** '' = an omitted optional. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** The AttributeProtos, in the order of the file. */
  readonly attributeRanges: readonly ByteRange[];
  /** The whole NodeProto, as the file has it. */
  readonly range: ByteRange;
  /** The node is not what its bytes say: it has other names, or attributes by value that were references. */
  readonly isEdited?: boolean;
  /** Where subgraphs take a value by another name than the graph has for it: names of the graph by those of the bytes. */
  readonly captured?: ReadonlyMap<string, string>;
  /** The subgraph or function that it stood in, as a path. */
  readonly inside?: string;
  /** Names that the subgraphs of this node take from outside. */
  readonly captures: readonly string[];
  /** Whether a subgraph holds weights in an external file. */
  readonly externalInside: boolean;
  /** Whether a node of a subgraph has an attribute by reference. */
  readonly referencesInside: boolean;
  /** Names of the operators of its subgraphs. */
  readonly operatorsInside: readonly string[];
}

/** Reads a NodeProto. */
export function readNode(cursor: Cursor, files: ExternalFiles): NodeRecord {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes = new Map<string, Attribute>();
  const attributeRanges: ByteRange[] = [];
  const inside: Inside = {
    captures: new Set(),
    files: { locations: new Set(), sources: new Map() },
    references: false,
    operators: new Set(),
  };
  let overload = '';
  let name = '';
  let opType = '';
  let domain = '';
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        inputs.push(cursor.string());
        break;
      case 2:
        outputs.push(cursor.string());
        break;
      case 3:
        name = cursor.string();
        break;
      case 4:
        opType = cursor.string();
        break;
      case 5: {
        const message = cursor.message('AttributeProto');
        attributeRanges.push(message.whole());
        readAttribute(message, attributes, files, inside);
        break;
      }
      case 7:
        domain = cursor.string();
        break;
      case 8:
        overload = cursor.string();
        break;
      default:
        cursor.skip();
    }
  }
  if (opType === '') cursor.fail(`node '${name}'`, 'an op_type', 'none');
  if (domain === 'ai.onnx') domain = '';
  const captures = [...inside.captures];
  const externalInside = inside.files.locations.size > 0;
  for (const location of inside.files.locations) files.locations.add(location);
  return {
    name,
    opType,
    domain,
    overload,
    inputs,
    outputs,
    attributes,
    attributeRanges,
    range: cursor.whole(),
    captures,
    externalInside,
    referencesInside: inside.references,
    operatorsInside: [...inside.operators],
  };
}

/** What is known of a node's subgraphs. */
export interface Inside {
  readonly captures: Set<string>;
  readonly files: ExternalFiles;
  references: boolean;
  readonly operators: Set<string>;
}

/** Reads an AttributeProto. @param inside what its subgraphs take from outside is added to it */
export function readAttribute(cursor: Cursor, to: Map<string, Attribute>, files: ExternalFiles, inside: Inside): void {
  let name = '';
  let attribute: Attribute = { kind: 'other' };
  const floats: number[] = [];
  const ints: number[] = [];
  const strings: ByteRange[] = [];
  let type = 0;
  /** False once a list is longer than what is read of it. */
  let isRead = true;
  let reference = '';
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        name = cursor.string();
        break;
      case 2:
        attribute = { kind: 'float', value: cursor.float() };
        break;
      case 3:
        attribute = { kind: 'int', value: cursor.int() };
        break;
      case 4:
        attribute = { kind: 'string', value: cursor.text() };
        break;
      case 5:
        attribute = { kind: 'tensor', value: readTensor(cursor.message('TensorProto'), files) };
        break;
      case 6: {
        const graph = cursor.message('GraphProto');
        const value = graph.whole();
        attribute = { kind: 'graph', value, constants: readInside(graph, inside) };
        break;
      }
      case 11:
        readInside(cursor.message('GraphProto'), inside);
        break;
      case 7:
        isRead = cursor.floats(floats) && isRead;
        break;
      case 8:
        isRead = cursor.ints(ints) && isRead;
        break;
      case 9:
        isRead = cursor.texts(strings) && isRead;
        break;
      case 20:
        type = cursor.int();
        break;
      case 21:
        reference = cursor.string();
        break;
      default:
        cursor.skip();
    }
  }
  if (name === '') cursor.fail('attribute', 'a name', 'none');
  if (to.has(name)) cursor.fail(`attribute '${name}'`, 'one of that name', 'two');
  if (!isRead) attribute = { kind: 'other' };
  else if (reference !== '') attribute = { kind: 'reference', value: reference };
  else attribute = ofType(type, attribute, { floats, ints, strings });
  to.set(name, attribute);
}

interface Lists {
  readonly floats: readonly number[];
  readonly ints: readonly number[];
  readonly strings: readonly ByteRange[];
}

/** The value that the attribute says it has, whatever other fields hold; where it says nothing, the one that is there. */
function ofType(type: number, single: Attribute, { floats, ints, strings }: Lists): Attribute {
  switch (type) {
    // proto3 writers leave out zeros: the type alone then says that a zero was meant.
    case 1:
      return single.kind === 'float' ? single : { kind: 'float', value: 0 };
    case 2:
      return single.kind === 'int' ? single : { kind: 'int', value: 0 };
    case 6:
      return { kind: 'floats', value: floats };
    case 7:
      return { kind: 'ints', value: ints };
    case 8:
      return { kind: 'strings', value: strings };
    case 0:
      if (floats.length > 0) return { kind: 'floats', value: floats };
      if (ints.length > 0) return { kind: 'ints', value: ints };
      return strings.length > 0 ? { kind: 'strings', value: strings } : single;
    default:
      return single;
  }
}

/**
 * Adds the names that a subgraph uses and does not define. Its own subgraphs count as uses of it.
 * @returns its outputs, if they are tensors that it holds and it does nothing else
 */
function readInside(cursor: Cursor, inside: Inside): readonly TensorRef[] | undefined {
  const defined = new Set<string>();
  const used = new Set<string>();
  const constants = new Map<string, TensorRef>();
  const outputs: string[] = [];
  let isConstant = true;
  const { files } = inside;
  while (cursor.next()) {
    switch (cursor.field) {
      case 1: {
        const node = readNode(cursor.message('NodeProto'), files);
        for (const name of node.inputs) used.add(name);
        for (const name of node.captures) used.add(name);
        for (const name of [operatorName(node), ...node.operatorsInside]) inside.operators.add(name);
        for (const name of node.outputs) defined.add(name);
        inside.references ||= node.referencesInside || [...node.attributes.values()].some(isReference);
        const value = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
        if (value?.kind === 'tensor') constants.set(node.outputs[0] ?? '', value.value);
        else isConstant = false;
        break;
      }
      case 5: {
        const tensor = readTensor(cursor.message('TensorProto'), files);
        defined.add(tensor.name);
        constants.set(tensor.name, tensor);
        break;
      }
      case 11:
        defined.add(nameOf(cursor.message('ValueInfoProto'), 1));
        break;
      case 12: {
        const name = nameOf(cursor.message('ValueInfoProto'), 1);
        used.add(name);
        outputs.push(name);
        break;
      }
      case 15:
        defined.add(sparseName(cursor.message('SparseTensorProto')));
        break;
      default:
        cursor.skip();
    }
  }
  for (const name of used) if (name !== '' && !defined.has(name)) inside.captures.add(name);
  const held = outputs.flatMap((name) => constants.get(name) ?? []);
  return isConstant && held.length === outputs.length && files.locations.size === 0 ? held : undefined;
}

const isReference = ({ kind }: Attribute): boolean => kind === 'reference';

function nameOf(cursor: Cursor, field: number): string {
  let name = '';
  while (cursor.next()) {
    if (cursor.field === field) name = cursor.string();
    else cursor.skip();
  }
  return name;
}

/** The name of a SparseTensorProto: that of its `values`. */
export function sparseName(cursor: Cursor): string {
  let name = '';
  while (cursor.next()) {
    if (cursor.field === 1) name = nameOf(cursor.message('TensorProto'), 8);
    else cursor.skip();
  }
  return name;
}
