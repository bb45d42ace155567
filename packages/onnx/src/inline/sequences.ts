/**
 * Lists that a Loop makes: `outs = []`, `outs.append(x)` in every pass and `stack(outs)` behind it, as scripted recurrent decoders are
 * exported. No sequence can leave ONNX Runtime's JavaScript, so the same is said with a result that the Loop puts together itself:
 *
 *   SequenceEmpty -> Loop { SequenceInsert } -> ConcatFromSequence   becomes   Loop { Identity } -> what turns its first axis
 */
import type { GraphRecord } from '../read/model.ts';
import type { Attribute, NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import { fieldsOf } from '../write/fields.ts';
import { Message } from '../write/message.ts';
import { rangeOf, stringsOf } from '../write/node.ts';
import { identity } from './names.ts';

/** A list in a Loop. */
interface List {
  /** Its place among what the Loop carries. */
  readonly place: number;
  /** In the body: what comes in, the node that adds to it, and what goes out. */
  readonly before: string;
  readonly insert: NodeRecord;
  readonly after: string;
}

/** Of the Loop's own inputs and outputs: what comes before those that are carried. */
const FIRST_INPUT = 2;
const FIRST_OUTPUT = 1;
/** Einsum, which turns axes of any rank. */
const LEAST_OPSET = 12;
/** Larger bodies hold weights, which are not copied. */
const MAX_BODY_BYTES = 2 ** 20;

/**
 * @param bodyOf the body of a Loop that is worth it
 * @returns the same nodes if there is no such list
 */
export function withoutLists(
  { nodes, outputs }: GraphRecord,
  opset: number,
  bodyOf: (node: NodeRecord) => GraphRecord | undefined,
): readonly NodeRecord[] {
  if (opset < LEAST_OPSET || !nodes.some(({ opType }) => opType === 'ConcatFromSequence')) return nodes;
  const wanted = new Set(outputs.map(({ name }) => name));
  const makers = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const changed = new Map<NodeRecord, NodeRecord>();
  for (const loop of nodes) {
    if (loop.opType !== 'Loop' || loop.domain !== '' || loop.isEdited) continue;
    const attribute = loop.attributes.get('body');
    const isSmall = attribute?.kind === 'graph' && attribute.value.length <= MAX_BODY_BYTES;
    const body = isSmall ? bodyOf(loop) : undefined;
    const lists = body ? listsOf(loop, body) : [];
    const stacked = lists.filter(({ place, before }) => {
      const name = loop.outputs[place] ?? '';
      const readers = nodes.filter(({ inputs, captures }) => inputs.includes(name) || captures.includes(name));
      const isEmpty = makers.get(loop.inputs[FIRST_INPUT + place] ?? '')?.opType === 'SequenceEmpty';
      return before !== '' && isEmpty && !wanted.has(name) && readers.length > 0 && readers.every(isStack);
    });
    if (stacked.length === 0) continue;
    for (const { place } of stacked)
      for (const node of nodes)
        if (node.inputs.includes(loop.outputs[place]!)) changed.set(node, turned(node, loop.outputs[place]!));
    changed.set(loop, rewritten(loop, stacked));
  }
  return changed.size === 0 ? nodes : nodes.map((node) => changed.get(node) ?? node);
}

function listsOf({ inputs }: NodeRecord, body: GraphRecord): List[] {
  const used = body.nodes.flatMap((node) => [...node.inputs, ...node.captures]);
  const count = (name: string): number => used.filter((each) => each === name).length;
  const outs = body.outputs.map(({ name }) => name);
  return inputs.slice(FIRST_INPUT).flatMap((_, place) => {
    const before = body.inputs[FIRST_INPUT + place]?.name ?? '';
    const after = outs[FIRST_OUTPUT + place] ?? '';
    const insert = body.nodes.find((node) => node.opType === 'SequenceInsert' && node.outputs[0] === after);
    // At the end, and nobody looks at the list in between.
    const isAppended = insert?.inputs[0] === before && insert.inputs.length === 2;
    const isAlone = count(before) === 1 && count(after) === 0 && !outs.includes(before);
    const isOnce = outs.indexOf(after) === outs.lastIndexOf(after);
    return insert && isAppended && isAlone && isOnce ? [{ place, before, insert, after }] : [];
  });
}

const intOf = ({ attributes }: NodeRecord, name: string): number => {
  const attribute = attributes.get(name);
  return attribute?.kind === 'int' ? attribute.value : 0;
};

const isStack = (node: NodeRecord): boolean =>
  node.opType === 'ConcatFromSequence' && node.domain === '' && intOf(node, 'new_axis') === 1;

/** A stack along its axis, from one along the first. */
function turned(node: NodeRecord, from: string): NodeRecord {
  const axis = intOf(node, 'axis');
  const to = node.outputs[0]!;
  const { inside: _, ...same } = identity(from, to, '');
  const base = { ...same, name: node.name, ...(node.inside !== undefined && { inside: node.inside }) };
  if (axis === 0) return base;
  const letters = 'bcdefghijklmnopqrstuvwxyz'.slice(0, axis < 0 ? -axis - 1 : axis);
  const equation = axis < 0 ? `a...${letters}->...a${letters}` : `a${letters}...->${letters}a...`;
  const attribute = rangeOf(new Message().string(1, 'equation').string(4, equation).int(20, 3));
  const value = {
    source: attribute.source,
    offset: attribute.length - 2 - 1 - equation.length,
    length: equation.length,
  };
  const attributes = new Map<string, Attribute>([['equation', { kind: 'string', value }]]);
  return { ...base, opType: 'Einsum', attributes, attributeRanges: [attribute] };
}

function rewritten(loop: NodeRecord, lists: readonly List[]): NodeRecord {
  const isGone = (place: number): boolean => lists.some((list) => list.place === place);
  const at = [...loop.attributes.keys()].indexOf('body');
  const attribute = loop.attributes.get('body') as Extract<Attribute, { kind: 'graph' }>;
  const graph = bodyWithout(attribute.value, lists);
  const range = rangeOf(new Message().string(1, 'body').message(6, graph).int(20, 5));
  const value = rangeOf(graph);
  return {
    ...loop,
    inputs: loop.inputs.filter((_, i) => !isGone(i - FIRST_INPUT)),
    outputs: [...loop.outputs.filter((_, i) => !isGone(i)), ...lists.map(({ place }) => loop.outputs[place]!)],
    attributes: new Map([...loop.attributes, ['body', { ...attribute, value }]]),
    attributeRanges: loop.attributeRanges.with(at, range),
    range: { ...loop.range },
    isEdited: true,
  };
}

/** A body that leaves in every pass what it added to lists. */
function bodyWithout(body: ByteRange, lists: readonly List[]): Message {
  const gone = new Set(lists.flatMap(({ before, after }) => [before, after]));
  const message = new Message();
  for (const { field, whole, payload } of fieldsOf(body, 'GraphProto')) {
    const [output] = field === 1 ? stringsOf(payload!, 'NodeProto', 2) : [];
    const list = lists.find(({ after }) => after === output);
    const [value] = field >= 11 && field <= 13 ? stringsOf(payload!, 'ValueInfoProto', 1) : [];
    if (list) message.message(1, handedOn(list));
    else if (value === undefined || !gone.has(value)) message.raw(whole);
  }
  // Their types follow from what is added.
  for (const { after } of lists) message.message(12, new Message().string(1, after));
  return message;
}

const handedOn = ({ insert: { name, inputs }, after }: List): Message =>
  new Message().string(1, inputs[1]!).string(2, after).string(3, name).string(4, 'Identity');
