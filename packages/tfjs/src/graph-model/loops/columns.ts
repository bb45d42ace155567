/** Which columns of its last dimension a node hands on: Split, SplitV, StridedSlice. */
import { type NodeDef, numberAttr } from '../topology.ts';
import { refuse } from './loop.ts';

export const isSlice = ({ op }: NodeDef): boolean => op === 'Split' || op === 'SplitV' || op === 'StridedSlice';

/** The input that is taken apart. */
export const slicedInput = (node: NodeDef, inputs: readonly string[]): string =>
  inputs[node.op === 'Split' ? 1 : 0] ?? '';

export interface Sliced {
  readonly rank: 1 | 2;
  readonly width: number;
  readonly output: number;
  /** Of a constant among the inputs. */
  integers(input: string | undefined): readonly number[] | undefined;
}

/** @returns where they begin, and how many */
export function columnsOf(node: NodeDef, inputs: readonly string[], sliced: Sliced): readonly [number, number] {
  const { rank, width, output, integers } = sliced;
  if (node.op === 'StridedSlice') return stridedColumns(node, inputs, sliced);
  const axis = integers(inputs[node.op === 'Split' ? 0 : 2])?.[0];
  if (axis !== rank - 1 && axis !== -1) refuse(`${node.op} along another axis than the last`);
  if (node.op === 'Split') {
    const count = numberAttr(node, 'num_split') ?? 0;
    if (!(count > output) || width % count) refuse('Split into parts that are not equal');
    return [(output * width) / count, width / count];
  }
  const sizes = [...(integers(inputs[1]) ?? refuse('SplitV of sizes that are no constants'))];
  const sum = (of: readonly number[]) => of.reduce((total, size) => total + size, 0);
  const rest = sizes.indexOf(-1);
  if (rest >= 0) sizes[rest] = width - sum(sizes) - 1;
  if (sum(sizes) !== width || !((sizes[output] ?? 0) > 0)) refuse('SplitV of other sizes');
  return [sum(sizes.slice(0, output)), sizes[output]!];
}

/** x[:, begin:end] */
function stridedColumns(
  node: NodeDef,
  inputs: readonly string[],
  { rank, width, integers }: Sliced,
): readonly [number, number] {
  const mask = (name: string) => numberAttr(node, name) ?? 0;
  const [begin, end, strides] = [1, 2, 3].map((at) => integers(inputs[at]));
  const last = rank - 1;
  const isPlain =
    begin?.length === rank &&
    end?.length === rank &&
    strides?.length === rank &&
    strides.every((stride) => stride === 1) &&
    (last === 0 || (mask('begin_mask') & mask('end_mask') & 1) === 1) &&
    !mask('ellipsis_mask') &&
    !mask('new_axis_mask') &&
    !mask('shrink_axis_mask');
  if (!isPlain) return refuse('StridedSlice of more than columns');
  const at = (given: number) => Math.max(0, Math.min(width, given < 0 ? given + width : given));
  const from = mask('begin_mask') & (1 << last) ? 0 : at(begin[last]!);
  const to = mask('end_mask') & (1 << last) ? width : at(end[last]!);
  if (!(to > from)) refuse('StridedSlice of no columns');
  return [from, to - from];
}
