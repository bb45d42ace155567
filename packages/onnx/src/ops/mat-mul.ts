/** Products: types of their results. */
import { INT32 } from '../data-types.ts';
import type { Info, Size, Symbols } from '../ir/info.ts';
import { broadcast, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

function matMulNBits(node: NodeView, [x]: Inputs): [Info] {
  const N = node.int('N', 0);
  return [{ elemType: x?.elemType ?? 0, dims: x?.dims?.toSpliced(-1, 1, N) }];
}

function product(
  node: NodeView,
  a: Info | undefined,
  b: Info | undefined,
  symbols: Symbols,
): readonly Size[] | undefined {
  if (!a?.dims || !b?.dims) return undefined;
  const [left, right] = [a.dims, b.dims];
  if (left.length === 0 || right.length === 0) node.fail('operands', 'at least one dimension', 'a scalar');
  const [K, rows] = [left.at(-1)!, right.at(-2) ?? right[0]!];
  if (typeof K === 'number' && typeof rows === 'number' && K !== rows)
    node.fail('operands', 'one inner size', `[${left.join(', ')}] and [${right.join(', ')}]`);
  const lead = broadcast(node, [left.slice(0, -2), right.slice(0, -2)], symbols)!;
  return [...lead, ...(left.length > 1 ? [left.at(-2)!] : []), ...(right.length > 1 ? [right.at(-1)!] : [])];
}

const matMul =
  (elemType: (a: Info | undefined) => number): Operator['infer'] =>
  (node, [a, b], symbols) => [{ elemType: elemType(a), dims: product(node, a, b, symbols) }];

function gemm(node: NodeView, [a, b]: Inputs): [Info] {
  const rows = a?.dims?.at(node.int('transA', 0) ? 1 : 0);
  const columns = b?.dims?.at(node.int('transB', 0) ? 0 : 1);
  return [
    { elemType: a?.elemType ?? 0, dims: rows === undefined || columns === undefined ? undefined : [rows, columns] },
  ];
}

export const matMulOperators: readonly Operator[] = [
  { name: 'com.microsoft.MatMulNBits', infer: matMulNBits },
  { name: 'MatMul', infer: matMul((a) => a?.elemType ?? 0) },
  { name: 'MatMulInteger', infer: matMul(() => INT32) },
  { name: 'Gemm', infer: gemm },
];
