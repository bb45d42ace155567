/** How quantized weights are spelt in standard ONNX: what ONNX Runtime and MSD both run. */
import type { NodeSpec } from '@msd/onnx/write';
import type { AddedTensor, Edit } from '../edit/edit.ts';
import { floatOf, type Scope, tensorNamed } from '../edit/open-model.ts';
import type { CodeShape, Codes } from './matrix.ts';
import type { Target } from './targets.ts';

const MICROSOFT = 'com.microsoft';

/** A quantized matrix, with the names of its tensors. */
export interface Spelt {
  readonly N: number;
  readonly K: number;
  readonly shape: CodeShape;
  readonly blocks: number;
  readonly names: { readonly data: string; readonly scales: string; readonly zeros: string };
  /** Nobody multiplies by it: its rows lie as GatherBlockQuantized wants them. */
  readonly isTable: boolean;
}

/** What a matrix is, before its codes are known. */
export interface Stem {
  readonly scope: Scope;
  /** Its floats' name. */
  readonly name: string;
  readonly N: number;
  readonly K: number;
  readonly isTable: boolean;
}

/** Adds the tensors of a matrix to the graph that holds the floats. */
export function addTensors(
  edit: Edit,
  { scope, name: stem, N, K, isTable }: Stem,
  shape: CodeShape,
  codes: Codes,
): Spelt {
  const { bits, isHalf, layout } = shape;
  const { blocks } = codes;
  const names = {
    data: edit.name(`${stem}_Q${bits}`),
    scales: edit.name(`${stem}_scales`),
    zeros: codes.zeros ? edit.name(`${stem}_zero_points`) : '',
  };
  const rowBytes = Math.ceil((blocks * bits) / 8);
  const isBlocks = layout === 'blocks';
  const blockBytes = (shape.blockSize * bits) / 8;
  const blockDims = isTable ? [N, blocks * blockBytes] : [N, blocks, blockBytes];
  const dataDims = isBlocks ? blockDims : elementDims(N, K, shape);
  const scaleDims = isBlocks ? [N, blocks] : [N * blocks];
  const dtype = isBlocks ? 'uint8' : elementType(shape);
  edit.add(scope, { name: names.data, dtype, dims: dataDims, data: codes.data });
  edit.add(scope, { name: names.scales, dtype: isHalf ? 'float16' : 'float32', dims: scaleDims, data: codes.scales });
  if (codes.zeros)
    edit.add(scope, {
      name: names.zeros,
      dtype,
      dims: isBlocks ? [N, rowBytes] : [N * blocks],
      data: codes.zeros,
    });
  return { N, K, shape, blocks, names, isTable };
}

/** A row for each block, so that one scale per row is all that DequantizeLinear has to know, in any version. */
const elementDims = (N: number, K: number, { blockSize }: CodeShape): readonly number[] => [
  (N * K) / blockSize,
  blockSize,
];

function elementType({ bits, isAsymmetric }: CodeShape): AddedTensor['dtype'] {
  if (bits === 8) return isAsymmetric ? 'uint8' : 'int8';
  return isAsymmetric ? 'uint4' : 'int4';
}

/** Puts a product of quantized weights in the place of a MatMul or Gemm. */
export function spellProduct(edit: Edit, { node, scope }: Target, { N, K, shape, names }: Spelt): void {
  const [a = '', , c = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const bias = c === '' ? undefined : tensorNamed(scope, c);
  const beta = node.opType === 'Gemm' ? floatOf(node, 'beta', 1) : 1;
  // An operand of its own where it is one number for each column, as exporters write it.
  const isOperand = bias?.tensor.dims.length === 1 && bias.tensor.dims[0] === N && beta === 1;
  const isAdded = c !== '' && !isOperand;
  const product = isAdded ? edit.name(`${y}_product`) : y;
  const inputs = [a, names.data, names.scales, names.zeros, '', isOperand ? c : ''];
  while (inputs.at(-1) === '') inputs.pop();
  const nodes: NodeSpec[] = [
    {
      opType: 'MatMulNBits',
      domain: MICROSOFT,
      name: named(node.name, `_Q${shape.bits}`),
      inputs,
      outputs: [product],
      attributes: { K: { int: K }, N: { int: N }, bits: { int: shape.bits }, block_size: { int: shape.blockSize } },
    },
  ];
  if (isAdded) {
    let added = c;
    if (beta !== 1) {
      const factor = edit.name(`${y}_beta`);
      const data = new Uint8Array(Float32Array.of(beta).buffer);
      edit.add(scope, { name: factor, dtype: 'float32', dims: [], data });
      added = edit.name(`${y}_bias`);
      nodes.push({ opType: 'Mul', name: named(node.name, '_beta'), inputs: [c, factor], outputs: [added] });
    }
    nodes.push({ opType: 'Add', name: named(node.name, '_bias'), inputs: [product, added], outputs: [y] });
  }
  edit.replace(node, nodes);
}

const named = (name: string, ending: string): string => (name === '' ? '' : `${name}${ending}`);

/** Puts a look-up of quantized rows in the place of a Gather. */
export function spellRows(edit: Edit, { node, scope }: Target, table: Spelt): void {
  const { shape, names, N, blocks } = table;
  const [, indices = ''] = node.inputs;
  const nodes: NodeSpec[] = [];
  let { data } = names;
  if (!table.isTable) {
    data = edit.name(`${names.data}_rows`);
    const dims = edit.name(`${names.data}_rows_shape`);
    const rowBytes = (blocks * shape.blockSize * shape.bits) / 8;
    edit.add(scope, { name: dims, dtype: 'int64', dims: [2], data: int64([N, rowBytes]) });
    nodes.push({ opType: 'Reshape', name: named(node.name, '_rows'), inputs: [names.data, dims], outputs: [data] });
  }
  const attributes = {
    gather_axis: { int: 0 },
    quantize_axis: { int: 1 },
    bits: { int: shape.bits },
    block_size: { int: shape.blockSize },
  };
  nodes.push({
    opType: 'GatherBlockQuantized',
    domain: MICROSOFT,
    name: named(node.name, `_Q${shape.bits}`),
    inputs: [data, indices, names.scales, ...(names.zeros === '' ? [] : [names.zeros])],
    outputs: [node.outputs[0]!],
    attributes,
  });
  edit.replace(node, nodes);
}

export const int64 = (values: readonly number[]): Uint8Array =>
  new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

/** Weights of a convolution behind DequantizeLinear, which is what a convolution of quantized weights is. */
export function spellConvolution(
  edit: Edit,
  { node, scope, matrix }: Target,
  { names, shape }: Spelt,
  opset: number,
): void {
  const [N = 0, channels = 0, ...kernel] = matrix.held.tensor.dims;
  const stem = names.data;
  const isKernel = kernel.some((size) => size > 1);
  const reals = edit.name(`${stem}_reals`);
  const dims = isKernel ? [N, ...kernel, channels] : [N, channels, ...kernel];
  const shapeName = edit.name(`${stem}_shape`);
  edit.add(scope, { name: shapeName, dtype: 'int64', dims: [dims.length], data: int64(dims) });
  const shaped = edit.name(`${stem}_weights`);
  // Types of 4 bits came with version 21, an axis with 13, float16 with 19; ONNX Runtime's own operator has them all.
  const isStandard = opset >= (shape.bits === 4 ? 21 : shape.isHalf ? 19 : 13);
  const nodes: NodeSpec[] = [
    {
      opType: 'DequantizeLinear',
      ...(!isStandard && { domain: MICROSOFT }),
      name: named(node.name, '_dequantize'),
      inputs: [names.data, names.scales, ...(names.zeros === '' ? [] : [names.zeros])],
      outputs: [reals],
      attributes: { axis: { int: 0 } },
    },
    { opType: 'Reshape', name: named(node.name, '_reshape'), inputs: [reals, shapeName], outputs: [shaped] },
  ];
  let weights = shaped;
  if (isKernel) {
    weights = edit.name(`${stem}_kernel`);
    const last = dims.length - 1;
    nodes.push({
      opType: 'Transpose',
      name: named(node.name, '_transpose'),
      inputs: [shaped],
      outputs: [weights],
      attributes: { perm: { ints: [0, last, ...kernel.map((_, i) => i + 1)] } },
    });
  }
  edit.reconnect(node, 1, weights, nodes);
}
