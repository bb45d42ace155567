/**
 * Nodes to write again: as the file has them, or under other names. A subgraph takes values from outside by name, so its bytes are
 * rewritten where these have changed; what it defines itself gets names that nobody outside has. Its tensors are passed on by
 * reference.
 */
import { Cursor } from '../read/cursor.ts';
import type { NodeRecord } from '../read/node.ts';
import { type ByteRange, bytesSource, readRange } from '../read/source.ts';
import { type Field, fieldsOf } from './fields.ts';
import { Message } from './message.ts';

/** Names by names; what is not in it stays. */
type Names = ReadonlyMap<string, string>;

const NONE: Names = /* @__PURE__ */ new Map();

/** The NodeProto of a node. */
export function writtenNode(node: NodeRecord): ByteRange | Message {
  if (!node.isEdited) return node.range;
  const { opType, domain, overload, inputs, outputs, attributeRanges, captured = NONE } = node;
  const message = new Message();
  for (const input of inputs) message.string(1, input);
  for (const output of outputs) message.string(2, output);
  message.string(3, writtenName(node)).string(4, opType);
  for (const range of attributeRanges) addAttribute(message, range, { names: captured, suffix: suffixOf(node) });
  if (domain !== '') message.string(7, domain);
  if (overload !== '') message.string(8, overload);
  return message;
}

/** Bodies may be put in twice, and ONNX Runtime wants names of nodes once. */
export function writtenName(node: NodeRecord): string {
  return node.name === '' ? '' : `${node.name}${suffixOf(node)}`;
}

const suffixOf = ({ inside }: NodeRecord): string => (inside === undefined ? '' : ` in ${inside}`);

/** How values of a subgraph are called. */
interface Naming {
  readonly names: Names;
  /** Of the names of what it defines. */
  readonly suffix: string;
}

/** An AttributeProto under another name: that of a function's own attribute becomes that of the node which refers to it. */
export function namedAttribute(range: ByteRange, name: string): ByteRange {
  const message = new Message().string(1, name);
  for (const { field, whole } of fieldsOf(range, 'AttributeProto')) if (field !== 1) message.raw(whole);
  return rangeOf(message);
}

/** A message as a range of bytes of its own. */
export function rangeOf(message: Message): ByteRange {
  const bytes = message.finish();
  return { source: bytesSource(bytes), offset: 0, length: bytes.length };
}

function addAttribute(to: Message, range: ByteRange, naming: Naming): void {
  const isSame = naming.names.size === 0 && naming.suffix === '';
  const fields = isSame ? [] : [...fieldsOf(range, 'AttributeProto')];
  if (!fields.some(isGraph)) {
    to.bytes(5, range);
    return;
  }
  const message = new Message();
  for (const each of fields) {
    if (isGraph(each)) message.message(each.field, graphWith(each.payload!, naming));
    else message.raw(each.whole);
  }
  to.message(5, message);
}

const isGraph = ({ field, payload }: Field): boolean => (field === 6 || field === 11) && payload !== undefined;

/** A GraphProto under other names. */
function graphWith(range: ByteRange, { names, suffix }: Naming): Message {
  const fields = [...fieldsOf(range, 'GraphProto')];
  const own = new Map(names);
  for (const { field, payload } of fields)
    for (const name of definedBy(field, payload)) if (name !== '') own.set(name, `${name}${suffix}`);
  const message = new Message();
  for (const { field, whole, payload } of fields) {
    if (field === 1) message.message(1, nodeWith(payload!, { names: own, suffix }));
    else if (field === 5) message.message(5, renamedField(payload!, 'TensorProto', 8, own));
    else if (field === 11 || field === 12 || field === 13)
      message.message(field, renamedField(payload!, 'ValueInfoProto', 1, own));
    else message.raw(whole);
  }
  return message;
}

/** Names that a field of a GraphProto defines: a node's outputs, an initializer, an input. */
function definedBy(field: number, payload: ByteRange | undefined): string[] {
  if (!payload) return [];
  if (field === 1) return stringsOf(payload, 'NodeProto', 2);
  if (field === 5) return stringsOf(payload, 'TensorProto', 8);
  if (field === 11) return stringsOf(payload, 'ValueInfoProto', 1);
  return [];
}

export function stringsOf(range: ByteRange, label: string, wanted: number): string[] {
  const strings: string[] = [];
  const cursor = Cursor.overRange(range, label);
  while (cursor.next()) {
    if (cursor.field === wanted) strings.push(cursor.string());
    else cursor.skip();
  }
  return strings;
}

function nodeWith(range: ByteRange, naming: Naming): Message {
  const message = new Message();
  for (const { field, whole, payload } of fieldsOf(range, 'NodeProto')) {
    if (field === 1 || field === 2) message.string(field, nameIn(payload!, naming.names));
    else if (field === 5) addAttribute(message, payload!, naming);
    else message.raw(whole);
  }
  return message;
}

/** A message with another name in its field for it. */
function renamedField(range: ByteRange, label: string, of: number, names: Names): Message {
  const message = new Message();
  for (const { field, whole, payload } of fieldsOf(range, label)) {
    if (field === of) message.string(of, nameIn(payload!, names));
    else message.raw(whole);
  }
  return message;
}

const utf8 = /* @__PURE__ */ new TextDecoder();

function nameIn(payload: ByteRange, names: Names): string {
  const name = utf8.decode(readRange(payload).slice()); // a copy: no shared memory
  return names.get(name) ?? name;
}
