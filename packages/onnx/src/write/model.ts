/**
 * A small ONNX writer: what tests, benchmarks, the model exporter and foreign regions need, and no more.
 */

import { type DataTypeName, dataTypeBits, dataTypeCode } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { ByteRange } from '../read/source.ts';
import { Message } from './message.ts';

/** A tensor to write; `data` in `raw_data` form (little endian, row-major, 4-bit types two per byte). */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Exclude<DataTypeName, 'string'>;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView | ByteRange;
}

/** A graph input or output. Without `dtype` its type is left open; without `dims` its rank is; `null` = any size. */
export interface ValueSpec {
  readonly name: string;
  readonly dtype?: DataTypeName;
  readonly dims?: readonly (number | string | null)[];
}

/** An attribute, by its kind: a JavaScript number does not say whether it is an int. */
export type AttributeSpec =
  | { readonly int: number | bigint }
  | { readonly float: number }
  | { readonly string: string }
  | { readonly tensor: TensorSpec }
  | { readonly graph: GraphSpec }
  | { readonly ints: readonly (number | bigint)[] }
  | { readonly floats: readonly number[] }
  | { readonly strings: readonly string[] }
  /** In a function's node: an attribute of the function, of the type that ONNX calls by this number. */
  | { readonly reference: string; readonly type: number };

/** A node to write. */
export interface NodeSpec {
  readonly opType: string;
  readonly domain?: string;
  readonly name?: string;
  /** '' omits an optional input or output. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
}

/** Something that is already encoded and only passed on. */
export interface EncodedSpec {
  readonly encoded: Message | ByteRange | Uint8Array;
}

/** A graph to write. */
export interface GraphSpec {
  readonly name?: string;
  readonly nodes: readonly (NodeSpec | EncodedSpec)[];
  readonly initializers?: readonly (TensorSpec | EncodedSpec)[];
  readonly inputs: readonly ValueSpec[];
  readonly outputs: readonly ValueSpec[];
}

/** A model to write. */
export interface ModelSpec {
  /** Default 10. */
  readonly irVersion?: number;
  /** Versions by domain, '' = ai.onnx. Default `{ '': 21, 'com.microsoft': 1 }`. */
  readonly opsets?: Readonly<Record<string, number>>;
  readonly producer?: string;
  readonly graph: GraphSpec;
  readonly functions?: readonly (FunctionSpec | EncodedSpec)[];
}

/** A model-local function to write. */
export interface FunctionSpec {
  readonly name: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes that every call gives. */
  readonly attributes?: readonly string[];
  /** Of those that a call may leave out, their values. */
  readonly defaults?: Readonly<Record<string, AttributeSpec>>;
  readonly nodes: readonly (NodeSpec | EncodedSpec)[];
  readonly opsets: Readonly<Record<string, number>>;
}

/**
 * Writes an ONNX model.
 *
 * @returns the file's bytes, owned by the caller. Tensor data is copied once, into them.
 * @throws {@link RangeError} when a tensor's data does not have the size that its dims ask for.
 * @example
 * ```ts
 * const bytes = writeModel({
 *   graph: {
 *     nodes: [{ opType: 'Add', inputs: ['a', 'b'], outputs: ['c'] }],
 *     initializers: [{ name: 'b', dtype: 'float32', dims: [1], data: new Float32Array([1]) }],
 *     inputs: [{ name: 'a', dtype: 'float32', dims: ['n'] }],
 *     outputs: [{ name: 'c', dtype: 'float32', dims: ['n'] }],
 *   },
 * });
 * ```
 */
export function writeModel(model: ModelSpec): Uint8Array<ArrayBuffer> {
  const message = new Message().int(1, model.irVersion ?? 10).string(2, model.producer ?? 'msd.js');
  message.message(7, graphMessage(model.graph));
  addOpsets(message, 8, model.opsets ?? { '': 21, 'com.microsoft': 1 });
  for (const each of model.functions ?? [])
    embed(message, 25, 'encoded' in each ? each.encoded : functionMessage(each));
  return message.finish();
}

function addOpsets(to: Message, field: number, opsets: Readonly<Record<string, number>>): void {
  for (const [domain, version] of Object.entries(opsets))
    to.message(field, new Message().string(1, domain).int(2, version));
}

function functionMessage({
  name,
  domain,
  inputs,
  outputs,
  attributes = [],
  defaults = {},
  nodes,
  opsets,
}: FunctionSpec) {
  const message = new Message().string(1, name);
  for (const input of inputs) message.string(4, input);
  for (const output of outputs) message.string(5, output);
  for (const attribute of attributes) message.string(6, attribute);
  for (const node of nodes) embed(message, 7, 'encoded' in node ? node.encoded : nodeMessage(node));
  addOpsets(message, 9, opsets);
  message.string(10, domain);
  for (const [key, value] of Object.entries(defaults)) message.message(11, attributeMessage(key, value));
  return message;
}

function graphMessage(graph: GraphSpec): Message {
  const message = new Message();
  for (const node of graph.nodes) embed(message, 1, 'encoded' in node ? node.encoded : nodeMessage(node));
  message.string(2, graph.name ?? 'graph');
  for (const tensor of graph.initializers ?? []) {
    embed(message, 5, 'encoded' in tensor ? tensor.encoded : tensorMessage(tensor));
  }
  for (const value of graph.inputs) message.message(11, valueMessage(value));
  for (const value of graph.outputs) message.message(12, valueMessage(value));
  return message;
}

function embed(to: Message, field: number, value: Message | ByteRange | Uint8Array): void {
  if (value instanceof Message) to.message(field, value);
  else to.bytes(field, value);
}

/** A NodeProto. */
export function nodeMessage(node: NodeSpec): Message {
  const message = new Message();
  for (const name of node.inputs) message.string(1, name);
  for (const name of node.outputs) message.string(2, name);
  if (node.name) message.string(3, node.name);
  message.string(4, node.opType);
  for (const [name, value] of Object.entries(node.attributes ?? {})) message.message(5, attributeMessage(name, value));
  if (node.domain) message.string(7, node.domain);
  return message;
}

function attributeMessage(name: string, value: AttributeSpec): Message {
  const message = new Message().string(1, name);
  if ('float' in value) return message.float(2, value.float).int(20, 1);
  if ('int' in value) return message.int(3, value.int).int(20, 2);
  if ('string' in value) return message.string(4, value.string).int(20, 3);
  if ('tensor' in value) return message.message(5, tensorMessage(value.tensor)).int(20, 4);
  if ('graph' in value) return message.message(6, graphMessage(value.graph)).int(20, 5);
  if ('floats' in value) return message.floats(7, value.floats).int(20, 6);
  if ('ints' in value) return message.ints(8, value.ints).int(20, 7);
  if ('reference' in value) return message.int(20, value.type).string(21, value.reference);
  for (const item of value.strings) message.string(9, item);
  return message.int(20, 8);
}

function tensorMessage(tensor: TensorSpec): Message {
  const code = dataTypeCode(tensor.dtype)!;
  const count = countOf(tensor.dims);
  const expected = Math.ceil((count * dataTypeBits(code)!) / 8);
  const data = 'source' in tensor.data ? tensor.data : bytesOf(tensor.data);
  const length = data instanceof Uint8Array ? data.byteLength : data.length;
  if (length !== expected) {
    throw new RangeError(
      `write: tensor '${tensor.name}': data, expected ${expected} bytes for ${tensor.dtype} [${tensor.dims.join(', ')}], got ${length}.`,
    );
  }
  return new Message().ints(1, tensor.dims).int(2, code).string(8, tensor.name).bytes(9, data);
}

function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A ValueInfoProto. */
export function valueMessage(value: ValueSpec): Message {
  const message = new Message().string(1, value.name);
  if (!value.dtype) return message;
  const tensor = new Message().int(1, dataTypeCode(value.dtype)!);
  if (value.dims) {
    const shape = new Message();
    for (const dim of value.dims) {
      const size = new Message();
      if (typeof dim === 'number') size.int(1, dim);
      else if (dim !== null) size.string(2, dim);
      shape.message(1, size);
    }
    tensor.message(2, shape);
  }
  return message.message(2, new Message().message(1, tensor));
}
