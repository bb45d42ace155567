/** com.microsoft.MatMulBnb4: Y = A · Wᵀ with weights of 4 bits that stand for numbers of a codebook, what `bnb4` exports consist of. */
import { dataTypeName, isFloat, UINT8 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { bnb4Block, bnb4Matrices } from '../weights/bnb4.ts';
import { checkCount, checkType, productInfer } from './mat-mul-nbits.ts';
import type { NodeView, Operator } from './operator.ts';
import { quantizedProduct } from './product.ts';

/** By the attribute `quant_type`. */
const FORMATS = ['fp4', 'nf4'] as const;

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  if (view.version !== 1) return `version ${view.version} of com.microsoft is not known`;
  const K = view.int('K', 0);
  const N = view.int('N', 0);
  const blockSize = view.int('block_size', 0);
  const format = FORMATS[view.int('quant_type', -1)];
  if (!(K > 0 && N > 0)) return `K ${K} and N ${N} are not both positive`;
  if (!format) return `quant_type ${view.int('quant_type', -1)}`;
  if (view.int('transB', 1) !== 1) return 'B is not transposed';
  if (view.int('training_mode', 0) !== 0) return 'it is for training';
  if (!(blockSize >= 16) || !Number.isInteger(Math.log2(blockSize)))
    return `block_size ${blockSize} is not a power of two of at least 16`;
  if (bnb4Block({ K, blockSize }) === undefined) return `blocks of ${blockSize} cut rows of ${K} into pieces below 16`;

  const [x = '', b = '', a = ''] = node.inputs;
  const [y = ''] = node.outputs;
  if (x === '' || y === '') return 'A or Y is omitted';
  const data = matcher.tensor(b);
  const absmax = matcher.tensor(a);
  if (!data) return 'B is not constant';
  if (!absmax) return 'absmax is not constant';
  if (data.elemType !== UINT8) return `B is ${dataTypeName(data.elemType)}`;
  if (!isFloat(absmax.elemType)) return `absmax is ${dataTypeName(absmax.elemType)}`;
  checkCount(node, 'B', data, Math.ceil((N * K) / 2));
  checkCount(node, 'absmax', absmax, Math.ceil((N * K) / blockSize));
  checkType(matcher, node, 'A', x, K);
  checkType(matcher, node, 'Y', y, N);
  const refused = matcher.notFloat('A', x);
  if (refused !== undefined) return refused;
  const bad = matcher.refusedScale(absmax, 'absmax');
  if (bad !== undefined) return bad;
  const [matrix, rest] = bnb4Matrices({ format, N, K, blockSize, data, absmax });
  return quantizedProduct(view, matcher, { nodes: [node], x, matrix, rest: { matrix: rest, times: 1 / 256 }, y });
}

export const matMulBnb4Operators: readonly Operator[] = [
  {
    name: 'com.microsoft.MatMulBnb4',
    attributes: ['K', 'N', 'block_size', 'quant_type', 'training_mode', 'transB'],
    infer: productInfer,
    match,
  },
];
