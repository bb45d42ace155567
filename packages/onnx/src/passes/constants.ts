/**
 * Constants that are made of constants: Identity, Cast, Transpose, Reshape and its like, QuantizeLinear and DequantizeLinear.
 * Their nodes leave the graph, their results are constants like any other, so nothing of them crosses a border in a run. Small
 * ones are computed at once. Of large ones every reader computes what it reads; a session of ONNX Runtime gets the nodes
 * themselves.
 */

import { fp16Bits } from '@msd/core';
import { dataTypeBits, FLOAT16, FLOAT32, INT8, INT32, UINT8 } from '../data-types.ts';
import { countOf, stridesOf } from '../dims.ts';
import type { Constant, FoldedConstant, Graph, GraphNode } from '../ir/graph.ts';
import { type Info, infoOfConstant, isKnown, newSymbols } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import { permutationOf } from '../ops/movement.ts';
import { NodeView, operatorName } from '../ops/operator.ts';
import { NotYet } from '../read/arriving.ts';
import { elementCount, elementsIn, type TensorRef, tensorByteLength, tensorBytes } from '../read/tensor.ts';
import { computedTensor, reshapedTensor, tensorOfBytes, wholeTensor } from '../weights/computed.ts';
import { dequantized, dequantizeOf, quantized } from '../weights/dequantize.ts';
import { hasNumbers, numbersReader } from '../weights/numbers.ts';
import { SMALL_BYTES } from './folded.ts';

interface Operands {
  readonly x: TensorRef;
  /** Of operand i, if it is a constant. */
  tensor(i: number): TensorRef | undefined;
  info(i: number): Info | undefined;
}

/** The result of a node whose first operand is a tensor of the file; `undefined`: it stays a node. */
type Fold = (view: NodeView, operands: Operands) => TensorRef | undefined;

const reshape: Fold = (view, { x, info }) => {
  const inputs = view.node.inputs.map((_, i) => info(i));
  const [result] = OPERATORS.get(operatorName(view.node))!.infer(view, inputs, newSymbols());
  const dims = result?.dims;
  return isKnown(dims) ? reshapedTensor(x, view.node.outputs[0]!, dims) : undefined;
};

/** Element types that Cast makes of numbers, and how a stretch of them is written. */
const WRITERS: ReadonlyMap<number, (numbers: ArrayLike<number>, out: Uint8Array) => void> = /* @__PURE__ */ new Map([
  [FLOAT32, (from, { buffer, byteOffset }) => new Float32Array(buffer, byteOffset, from.length).set(from)],
  [FLOAT16, (from, { buffer, byteOffset }) => new Uint16Array(buffer, byteOffset, from.length).set(fp16Bits(from))],
]);
const WHOLE: ReadonlyMap<number, (numbers: ArrayLike<number>, out: Uint8Array) => void> = /* @__PURE__ */ new Map([
  [INT8, (from, out) => out.set(from)],
  [UINT8, (from, out) => out.set(from)],
  [INT32, (from, { buffer, byteOffset }) => new Int32Array(buffer, byteOffset, from.length).set(from)],
]);

const cast: Fold = (view, { x }) => {
  const to = view.int('to', 0);
  if (to === x.elemType) return x;
  // What a float outside the range of an integer becomes, engines disagree on.
  const isFloat = x.elemType === FLOAT32 || x.elemType === FLOAT16;
  const write = WRITERS.get(to) ?? (isFloat ? undefined : WHOLE.get(to));
  if (!write || !hasNumbers(x.elemType)) return undefined;
  const type = { name: view.node.outputs[0]!, elemType: to, dims: x.dims };
  return computedTensor(type, [x], (begin, count, out) => write(numbersReader(x)!(begin, count), out));
};

const transpose: Fold = (view, { x }) => {
  const width = dataTypeBits(x.elemType)! / 8;
  const perm = permutationOf(view, x.dims.length);
  const strides = stridesOf(x.dims);
  const dims = perm.map((axis) => x.dims[axis]!);
  if (!Number.isInteger(width)) return undefined;
  const type = { name: view.node.outputs[0]!, elemType: x.elemType, dims };
  return wholeTensor(type, [x], () =>
    moved(
      tensorBytes(x),
      dims,
      perm.map((axis) => strides[axis]!),
      width,
    ),
  );
};

const dequantize: Fold = (view, { x, tensor, info }) => {
  const scales = tensor(1);
  const zeroPoints = tensor(2);
  if (!scales || (info(2) && !zeroPoints)) return undefined;
  const of = dequantizeOf(view, x, scales, zeroPoints);
  if (typeof of === 'string') return undefined;
  const elemType = view.int('output_dtype', 0) || (scales.elemType === FLOAT16 ? FLOAT16 : FLOAT32);
  return elemType === FLOAT32 || elemType === FLOAT16 ? dequantized(view.node.outputs[0]!, elemType, of) : undefined;
};

/** Weights that training rounded: floats, then a QuantizeLinear. */
const quantize: Fold = (view, { x, tensor, info }) => {
  const scales = tensor(1);
  const zeroPoints = tensor(2);
  if (!scales || (info(2) && !zeroPoints)) return undefined;
  const elemType = zeroPoints?.elemType ?? (view.int('output_dtype', 0) || UINT8);
  const of = dequantizeOf(view, x, scales, undefined);
  const isPlain = zeroPoints === undefined || elementCount(zeroPoints) === elementCount(scales);
  return typeof of === 'string' || !isPlain ? undefined : quantized(view.node.outputs[0]!, elemType, of, zeroPoints);
};

/** Their operators are those of folded.ts. */
export const FOLDS: ReadonlyMap<string, Fold> = /* @__PURE__ */ new Map<string, Fold>([
  ['Identity', (_, { x }) => x],
  ['Reshape', reshape],
  ['Squeeze', reshape],
  ['Unsqueeze', reshape],
  ['Flatten', reshape],
  ['Cast', cast],
  ['Transpose', transpose],
  ['DequantizeLinear', dequantize],
  ['QuantizeLinear', quantize],
  ['com.microsoft.QuantizeLinear', quantize],
  ['com.microsoft.DequantizeLinear', dequantize],
]);

/** @returns the graph with what follows from constants as constants; the same graph if nothing does */
export function foldConstants(graph: Graph): Graph {
  const constants = new Map<string, Constant>(graph.constants);
  const folded = new Map<string, FoldedConstant>();
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const gone = new Set<GraphNode>();
  const known = (name: string): Constant | undefined => {
    const constant = constants.get(name) ?? (folded.has(name) ? tensorConstant(folded.get(name)!.tensor) : undefined);
    return constant?.kind === 'tensor' && !isReadable(constant.tensor) ? undefined : constant;
  };
  for (const node of graph.nodes) {
    const tensor = foldNode(graph, node, known);
    if (!tensor) continue;
    const [name] = node.outputs as [string];
    folded.set(name, { node, tensor });
    // A result that the caller wants still has to be computed, once for the caller.
    if (outputs.has(name)) continue;
    gone.add(node);
    constants.set(name, tensorConstant(tensor));
  }
  if (folded.size === 0) return graph;
  const producers = new Map(graph.producers);
  const consumers = new Map<string, readonly GraphNode[]>();
  for (const [name, { node }] of folded) if (gone.has(node)) producers.delete(name);
  for (const [name, nodes] of graph.consumers) {
    const left = nodes.filter((node) => !gone.has(node));
    if (left.length > 0) consumers.set(name, left);
  }
  return { ...graph, nodes: graph.nodes.filter((node) => !gone.has(node)), constants, folded, producers, consumers };
}

const tensorConstant = (tensor: TensorRef): Constant => ({ kind: 'tensor', tensor });

function foldNode(graph: Graph, node: GraphNode, known: (name: string) => Constant | undefined): TensorRef | undefined {
  const fold = FOLDS.get(operatorName(node));
  const [name = ''] = node.outputs;
  if (!fold || node.outputs.length !== 1 || name === '') return undefined;
  const operands = node.inputs.map((input) => (input === '' ? undefined : known(input)));
  if (node.inputs.some((input, i) => input !== '' && !operands[i])) return undefined;
  const tensor = (i: number): TensorRef | undefined => {
    const operand = operands[i];
    return operand?.kind === 'tensor' ? operand.tensor : undefined;
  };
  const x = tensor(0);
  if (!x || dataTypeBits(x.elemType) === undefined) return undefined;
  const info = (i: number): Info | undefined => operands[i] && infoOfConstant(operands[i]);
  let result: TensorRef | undefined;
  try {
    result = fold(new NodeView(node, graph.opsets), { x, tensor, info });
  } catch (error) {
    // Sizes that contradict each other: whoever runs the node will say so.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  // Whatever is no copy of the file's bytes, and small, lies in memory from now on.
  const isNew = result && result.storage !== x.storage && tensorByteLength(result) <= SMALL_BYTES;
  if (!isNew) return result;
  try {
    return tensorOfBytes(result!, new Uint8Array(tensorBytes(result!)));
  } catch (error) {
    // The file is still arriving: whoever reads it then, computes it then.
    if (error instanceof NotYet) return result;
    throw error;
  }
}

/** External files are opened only for models that need them. */
function isReadable({ storage }: TensorRef): boolean {
  return storage.kind !== 'external' || storage.files.sources.has(storage.location);
}

/** Elements of `width` bytes by strides, row-major. */
function moved(from: Uint8Array, dims: readonly number[], strides: readonly number[], width: number): Uint8Array {
  const out = new Uint8Array(countOf(dims) * width);
  const Words = width === 4 ? Uint32Array : width === 2 ? Uint16Array : Uint8Array;
  const lanes = width === 8 ? 8 : 1;
  const source = elementsIn<Uint32Array | Uint16Array | Uint8Array>(from, Words);
  const target = new Words(out.buffer);
  const [columns, step] = [dims.at(-1) ?? 1, strides.at(-1) ?? 0];
  const at = dims.slice(0, -1).map(() => 0);
  for (let to = 0, row = 0; to < target.length; ) {
    for (let i = 0, begin = row; i < columns; i++, begin += step)
      for (let lane = 0; lane < lanes; lane++) target[to++] = source[begin * lanes + lane]!;
    for (let axis = at.length - 1; axis >= 0; axis--) {
      row += strides[axis]!;
      if (++at[axis]! < dims[axis]!) break;
      row -= strides[axis]! * dims[axis]!;
      at[axis] = 0;
    }
  }
  return out;
}
