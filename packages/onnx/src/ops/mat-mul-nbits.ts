/** com.microsoft.MatMulNBits: Y = A · Wᵀ (+ bias) with weights of 2, 4 or 8 bits, what `q4` and `q8` exports consist of. */

import { dataTypeName, FLOAT32, isFloat, UINT8 } from '../data-types.ts';
import { sameNumbers } from '../dims.ts';
import { OnnxFormatError } from '../errors.ts';
import { describeNode, type GraphNode } from '../ir/graph.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { elementCount, type TensorRef, tensorRange } from '../read/tensor.ts';
import { INTEGER_FORMATS } from '../weights/matrix.ts';
import { nBitsMatrix } from '../weights/nbits.ts';
import { fetched } from './late.ts';
import type { NodeView, Operator } from './operator.ts';
import { quantizedProduct } from './product.ts';

const ATTRIBUTES = ['K', 'N', 'bits', 'block_size', 'accuracy_level', 'weight_prepacked'] as const;

export function productInfer(node: NodeView, [x]: readonly (Info | undefined)[]): [Info] {
  return [{ elemType: x?.elemType || FLOAT32, dims: x?.dims?.toSpliced(-1, 1, node.int('N', 0)) }];
}

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  if (view.version !== 1) return `version ${view.version} of com.microsoft is not known`;
  const K = view.int('K', 0);
  const N = view.int('N', 0);
  const bits = view.int('bits', 4);
  const blockSize = view.int('block_size', 0);
  if (!(K > 0 && N > 0)) return `K ${K} and N ${N} are not both positive`;
  const format = INTEGER_FORMATS.get(bits);
  if (format === undefined) return `${bits} bits`;
  if (!(blockSize >= 16) || !Number.isInteger(Math.log2(blockSize)))
    return `block_size ${blockSize} is not a power of two of at least 16`;
  if (view.int('weight_prepacked', 0) !== 0) return 'weights are prepacked';

  const [x = '', b = '', s = '', z = '', g = '', bias = ''] = node.inputs;
  const [y = ''] = node.outputs;
  if (x === '' || y === '') return 'A or Y is omitted';
  if (node.outputs.slice(1).some((name) => name !== '')) return 'it has a second result';
  const data = matcher.tensor(b);
  const scales = matcher.tensor(s);
  const zeroPoints = matcher.tensor(z);
  if (!data) return 'B is not constant';
  if (!scales) return 'scales are not constant';
  if (z !== '' && !zeroPoints) return 'zero points are not constant';
  if (data.elemType !== UINT8) return `B is ${dataTypeName(data.elemType)}`;
  if (!isFloat(scales.elemType)) return `scales are ${dataTypeName(scales.elemType)}`;
  const hasFloats = zeroPoints !== undefined && isFloat(zeroPoints.elemType);
  if (zeroPoints && !hasFloats && zeroPoints.elemType !== UINT8)
    return `zero points are ${dataTypeName(zeroPoints.elemType)}`;
  // ONNX Runtime multiplies as if these zero points were not there, and 2 bits with something else than the schema says.
  if (g !== '' && zeroPoints && !hasFloats) return 'packed zero points beside g_idx';
  if (g !== '' && bits === 2) return 'g_idx of 2 bits';

  const blocks = Math.ceil(K / blockSize);
  const zeroColumns = hasFloats ? blocks : Math.ceil((blocks * bits) / 8);
  checkCount(node, 'B', data, N * blocks * ((blockSize * bits) / 8));
  checkCount(node, 'scales', scales, N * blocks);
  if (zeroPoints) checkCount(node, 'zero points', zeroPoints, N * zeroColumns);
  if (!sameNumbers(data.dims, [N, blocks, (blockSize * bits) / 8])) return `B has shape [${data.dims.join(', ')}]`;
  if (!oneOrTwo(scales.dims, N, blocks)) return `scales have shape [${scales.dims.join(', ')}]`;
  if (zeroPoints && !oneOrTwo(zeroPoints.dims, N, zeroColumns))
    return `zero points have shape [${zeroPoints.dims.join(', ')}]`;
  checkType(matcher, node, 'A', x, K);
  checkType(matcher, node, 'Y', y, N);
  const refused = bias === '' ? undefined : refusedBias(matcher, node, bias, N);
  if (refused !== undefined) return refused;

  const bad = matcher.refusedScale(scales);
  if (bad !== undefined) return bad;
  tensorRange(data);
  const nBits = { format, bits: bits as 2 | 4 | 8, N, K, blockSize, data, scales, zeroPoints };
  const product = { nodes: [node], x, bias, y };
  const weights =
    hasFloats || g !== '' ? fetched('nBits')(nBits, matcher, hasFloats, g) : { matrix: nBitsMatrix(nBits) };
  return typeof weights === 'string' ? weights : quantizedProduct(view, matcher, { ...product, ...weights });
}

function refusedBias(matcher: Matcher, node: GraphNode, name: string, N: number): string | undefined {
  if (!matcher.isConstant(name)) {
    checkType(matcher, node, 'bias', name, N);
    return undefined;
  }
  const tensor = matcher.tensor(name);
  if (!tensor) return 'bias is not a tensor';
  if (!isFloat(tensor.elemType)) return `bias is ${dataTypeName(tensor.elemType)}`;
  checkCount(node, 'bias', tensor, N);
  return tensor.dims.length === 1 ? undefined : `bias has shape [${tensor.dims.join(', ')}]`;
}

export function checkCount(node: GraphNode, what: string, tensor: TensorRef, expected: number): void {
  const count = elementCount(tensor);
  if (count !== expected)
    throw new OnnxFormatError(
      `claim: ${describeNode(node)}: ${what} '${tensor.name}', expected ${expected} elements, got ${count} in [${tensor.dims.join(', ')}].`,
    );
}

/** What the file declares of a float value whose last dimension is known. */
export function checkType({ graph }: Matcher, node: GraphNode, what: string, name: string, last: number): void {
  const type = graph.types.get(name);
  if (!type || type.kind === 'unknown') return;
  const contradiction = (expected: string, got: string): never => {
    throw new OnnxFormatError(`claim: ${describeNode(node)}: ${what} '${name}', expected ${expected}, got ${got}.`);
  };
  if (type.kind !== 'tensor') contradiction('a tensor', type.kind);
  if (!isFloat(type.elemType) && type.elemType !== 0) contradiction('float32 or float16', dataTypeName(type.elemType));
  const dim = type.dims?.at(-1);
  if (type.dims?.length === 0) contradiction('at least one dimension', 'a scalar');
  if (typeof dim === 'number' && dim !== last) contradiction(`a last dimension of ${last}`, `${dim}`);
}

function oneOrTwo(dims: readonly number[], rows: number, columns: number): boolean {
  return dims.length === 1 || sameNumbers(dims, [rows, columns]);
}

export const matMulNBitsOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.MatMulNBits',
    attributes: ATTRIBUTES,
    infer: productInfer,
    match,
  },
];
