/** An edited model as a message: fields of the file as they are, but for what changes. Tensors go where `place` says. */
import {
  type ByteRange,
  bytesSource,
  dataTypeCode,
  fieldsOf,
  Message,
  type NodeRecord,
  nodeMessage,
  type TensorRef,
  tensorRange,
  valueMessage,
} from '@msd/onnx/model';
import type { AddedTensor, Edit, NewNode } from './edit.ts';
import type { Scope } from './open-model.ts';

/** A tensor's header. */
export interface TensorHead {
  readonly name: string;
  readonly code: number;
  readonly dims: readonly number[];
}

/** Where elements go: into the model's file, or beside it. */
export interface Place {
  /** Tensors in external files stay there: the model is read from the same folder. */
  readonly isInPlace?: boolean;
  /** A TensorProto with these elements. */
  tensor(head: TensorHead, data: ByteRange): Message;
}

/** Into the file itself. */
export const inline: Place = {
  tensor: ({ name, code, dims }, data) => new Message().ints(1, dims).int(2, code).string(8, name).bytes(9, data),
};

/** As the file has it; new tensors into the file itself. */
export const verbatim: Place = { ...inline, isInPlace: true };

/** The ModelProto. */
export function encodeModel(edit: Edit, place: Place): Message {
  const { record, root } = edit.model;
  const message = new Message().int(1, edit.irVersion);
  let isGraphWritten = false;
  const whole = { source: record.source, offset: 0, length: record.source.byteLength };
  for (const { field, whole: bytes } of fieldsOf(whole, 'ModelProto')) {
    if (field === 1) continue;
    if (field !== 7) message.raw(bytes);
    else if (!isGraphWritten) {
      message.message(7, encodeGraph(edit, root, place));
      isGraphWritten = true;
    }
  }
  for (const [domain, version] of edit.domains)
    if (!record.opsets.has(domain)) message.message(8, new Message().string(1, domain).int(2, version));
  return message;
}

function encodeGraph(edit: Edit, scope: Scope, place: Place): Message {
  const { graph, ranges, parent } = scope;
  const dropped = edit.dropped.get(scope);
  const message = new Message();
  let [nodeAt, tensorAt, inputAt] = [0, 0, 0];
  const moved: TensorRef[] = [];
  for (const { field, whole, payload } of ranges.flatMap((range) => [...fieldsOf(range, 'GraphProto')])) {
    if (field === 1) {
      const node = graph.nodes[nodeAt++]!;
      const constant = node.opType === 'Constant' ? node.attributes.get('value') : undefined;
      const by = edit.replaced.get(node);
      if (by) for (const each of by) message.message(1, newNode(each));
      else if (!place.isInPlace && constant?.kind === 'tensor' && constant.value.storage.kind === 'external')
        moved.push({ ...constant.value, name: node.outputs[0] ?? '' });
      else if (scope.inner.has(node)) message.message(1, withBodies(edit, scope, node, place));
      else message.raw(whole);
    } else if (field === 5) {
      const tensor = graph.initializers[tensorAt++]!;
      if (!dropped?.has(tensor.name)) addTensor(message, tensor, whole, place);
    } else if (field === 11 && payload) {
      const input = graph.inputs[inputAt++]!;
      if (!dropped?.has(input.name)) message.raw(whole);
    } else message.raw(whole);
  }
  for (const tensor of moved) addTensor(message, tensor, undefined, place);
  for (const tensor of edit.added.get(scope) ?? [])
    message.message(5, place.tensor(headOf(tensor), rangeOf(tensor.data)));
  if (!parent) for (const output of edit.outputs) message.message(12, valueMessage(output));
  return message;
}

/** @param whole the field as the file has it */
function addTensor(message: Message, tensor: TensorRef, whole: ByteRange | undefined, place: Place): void {
  const { name, elemType: code, dims, storage } = tensor;
  const stays = place.isInPlace || storage.kind === 'typed' || (storage.kind === 'raw' && place === inline);
  if (whole && stays) message.raw(whole);
  else message.message(5, place.tensor({ name, code, dims }, tensorRange(tensor)!));
}

const headOf = ({ name, dtype, dims }: AddedTensor): TensorHead => ({ name, code: dataTypeCode(dtype)!, dims });

/** Bytes in memory as a range. */
export function rangeOf(data: Uint8Array | ByteRange): ByteRange {
  return data instanceof Uint8Array ? { source: bytesSource(data), offset: 0, length: data.byteLength } : data;
}

function newNode(each: NewNode): Message {
  if ('opType' in each) return nodeMessage(each);
  const { node, inputs, outputs } = each;
  const message = new Message();
  for (const input of inputs) message.string(1, input);
  for (const output of outputs) message.string(2, output);
  for (const { field, whole } of fieldsOf(node.range, 'NodeProto')) if (field > 2) message.raw(whole);
  return message;
}

/** A node whose bodies are written anew. */
function withBodies(edit: Edit, scope: Scope, node: NodeRecord, place: Place): Message {
  const bodies = scope.inner.get(node)!;
  const names = [...node.attributes.keys()];
  const message = new Message();
  let at = 0;
  for (const { field, whole, payload } of fieldsOf(node.range, 'NodeProto')) {
    const name = field === 5 ? names[at++] : undefined;
    const body = name === undefined ? undefined : bodies.get(name);
    if (!body || !payload) {
      message.raw(whole);
      continue;
    }
    const attribute = new Message();
    for (const each of fieldsOf(payload, 'AttributeProto'))
      if (each.field === 6) attribute.message(6, encodeGraph(edit, body, place));
      else attribute.raw(each.whole);
    message.message(5, attribute);
  }
  return message;
}
