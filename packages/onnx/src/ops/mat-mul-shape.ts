/** Sizes of a product of matrices. */
import type { Info, Size, Symbols } from '../ir/info.ts';
import { broadcast, type NodeView, type Operator } from './operator.ts';

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

export const inferMatMul =
  (elemType: (a: Info | undefined) => number): Operator['infer'] =>
  (node, [a, b], symbols) => [{ elemType: elemType(a), dims: product(node, a, b, symbols) }];
