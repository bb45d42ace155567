/** A model as a tree of protobuf fields, to damage it where lengths stay right and readers get further. */
import { BinaryReader, BinaryWriter, type WireType } from '@bufbuild/protobuf/wire';

/** One field: embedded messages have children, everything else its encoded payload. */
export interface Field {
  readonly number: number;
  readonly wire: WireType;
  payload: Uint8Array;
  children: Field[] | undefined;
}

/** Embedded messages of ONNX by message and field number. */
const MESSAGES: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  model: { 7: 'graph', 8: 'opset' },
  graph: { 1: 'node', 5: 'tensor', 11: 'value', 12: 'value', 13: 'value' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph' },
  value: { 2: 'type' },
  type: { 1: 'tensorType' },
  tensorType: { 2: 'shape' },
  shape: { 1: 'dim' },
};

/** Parses a well-formed message. */
export function parseFields(bytes: Uint8Array, message = 'model'): Field[] {
  const reader = new BinaryReader(bytes);
  const fields: Field[] = [];
  while (reader.pos < reader.len) {
    const [number, wire] = reader.tag();
    if (wire === 2) {
      const payload = reader.bytes();
      const inner = MESSAGES[message]?.[number];
      fields.push({ number, wire, payload, children: inner ? parseFields(payload, inner) : undefined });
    } else fields.push({ number, wire, payload: reader.skip(wire), children: undefined });
  }
  return fields;
}

/** Encodes fields, lengths and all. */
export function encodeFields(fields: readonly Field[]): Uint8Array {
  const writer = new BinaryWriter();
  for (const { number, wire, payload, children } of fields) {
    writer.tag(number, wire);
    if (wire === 2) writer.bytes(children ? encodeFields(children) : payload);
    else writer.raw(payload);
  }
  return writer.finish();
}

/** Every list of sibling fields in the tree. */
export function fieldLists(fields: Field[]): Field[][] {
  return [fields, ...fields.flatMap((field) => (field.children ? fieldLists(field.children) : []))];
}
