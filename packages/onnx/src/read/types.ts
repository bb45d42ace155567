/**
 * ValueInfoProto and TypeProto: names and types of graph inputs, outputs and intermediates.
 */
import type { Cursor } from './cursor.ts';
import { MAX_RANK } from './tensor.ts';

/** A dimension: a size, a name, or unknown. */
export type Dim = number | string | null;

/** The type of a value, as far as anything here asks. */
export interface ValueType {
  readonly kind: 'tensor' | 'sequence' | 'map' | 'optional' | 'sparse' | 'opaque' | 'unknown';
  /** ONNX's number of the element type, 0 = not stated. */
  readonly elemType: number;
  /** Absent = rank unknown. */
  readonly dims: readonly Dim[] | undefined;
}

/** A name with its type. */
export interface ValueInfo {
  readonly name: string;
  readonly type: ValueType;
}

const UNKNOWN: ValueType = { kind: 'unknown', elemType: 0, dims: undefined };

/** Reads a ValueInfoProto. */
export function readValueInfo(cursor: Cursor): ValueInfo {
  let name = '';
  let type = UNKNOWN;
  while (cursor.next()) {
    if (cursor.field === 1) name = cursor.string();
    else if (cursor.field === 2) type = readType(cursor.message('TypeProto'));
    else cursor.skip();
  }
  return { name, type };
}

const KINDS: ReadonlyMap<number, ValueType['kind']> = /* @__PURE__ */ new Map([
  [4, 'sequence'],
  [5, 'map'],
  [7, 'opaque'],
  [8, 'sparse'],
  [9, 'optional'],
]);

function readType(cursor: Cursor): ValueType {
  let type = UNKNOWN;
  while (cursor.next()) {
    const kind = KINDS.get(cursor.field);
    if (cursor.field === 1) type = readTensorType(cursor.message('TypeProto.Tensor'));
    else {
      if (kind) type = { kind, elemType: 0, dims: undefined };
      cursor.skip();
    }
  }
  return type;
}

function readTensorType(cursor: Cursor): ValueType {
  let elemType = 0;
  let dims: Dim[] | undefined;
  while (cursor.next()) {
    if (cursor.field === 1) elemType = cursor.int();
    else if (cursor.field === 2) dims = readShape(cursor.message('TensorShapeProto'));
    else cursor.skip();
  }
  return { kind: 'tensor', elemType, dims };
}

function readShape(cursor: Cursor): Dim[] {
  const dims: Dim[] = [];
  while (cursor.next()) {
    if (dims.length === MAX_RANK) cursor.fail('dims', `at most ${MAX_RANK}`, 'more');
    if (cursor.field === 1) dims.push(readDim(cursor.message('TensorShapeProto.Dimension')));
    else cursor.skip();
  }
  return dims;
}

function readDim(cursor: Cursor): Dim {
  let dim: Dim = null;
  while (cursor.next()) {
    if (cursor.field === 1) {
      const size = cursor.int();
      dim = size >= 0 ? size : null; // exporters write −1 for "any"
    } else if (cursor.field === 2) dim = cursor.string() || null;
    else cursor.skip();
  }
  return dim;
}
