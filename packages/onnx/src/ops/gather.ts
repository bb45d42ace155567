/** Operators that look elements up by index. */

import { FLOAT16, isFloat } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { GraphNode } from '../ir/graph.ts';
import { type Info, isKnown, type Size } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import type { TensorRef } from '../read/tensor.ts';
import { fetched } from './late.ts';
import type { TableRef } from './lowering.ts';
import { axisOf, elements, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

function gather(node: NodeView, [x, indices]: Inputs): [Info] {
  const elemType = x?.elemType ?? 0;
  if (!x?.dims || !indices?.dims) return [{ elemType, dims: undefined }];
  const axis = axisOf(node, node.int('axis', 0), x.dims.length);
  const dims = x.dims.toSpliced(axis, 1, ...indices.dims);
  const picked = elements(indices);
  if (!x.data || !picked || !isKnown(x.dims)) return [{ elemType, dims }];
  const size = x.dims[axis]!;
  const inner = countOf(x.dims.slice(axis + 1));
  const outer = countOf(x.dims.slice(0, axis));
  const data: Size[] = [];
  for (let i = 0; i < outer; i++)
    for (const index of picked) {
      const at = (i * size + checkedIndex(node, index, size)) * inner;
      for (let j = 0; j < inner; j++) data.push(x.data[at + j]!);
    }
  return [{ elemType, dims, data }];
}

/** An index counted from the front. */
function checkedIndex(node: NodeView, index: number, size: number): number {
  const from = index < 0 ? index + size : index;
  if (!(from >= 0 && from < size)) node.fail('indices', `-${size} to ${size - 1}`, `${index}`);
  return from;
}

function matchGather(view: NodeView, matcher: Matcher): Match | string {
  const [data = '', indices = ''] = view.node.inputs;
  const axis = view.int('axis', 0);
  const tensor = matcher.tensor(data);
  const isTable = tensor !== undefined && isFloat(tensor.elemType) && tensor.dims.length === 2 && axis === 0;
  if (isTable && matcher.isHostOperand(indices)) {
    const [rows, columns] = tensor.dims as [number, number];
    return rowsMatch([view.node], data, { rows, columns, format: floatTypeOf(tensor), data: tensor }, indices);
  }
  const next = matcher.soleConsumer(view.node.outputs[0]!);
  const codes = next?.opType === 'DequantizeLinear' ? fetched('dequantizedRows')(view, matcher) : undefined;
  return codes ?? fetched('gather')(view, matcher, axis);
}

/** How @msd/core calls the floats of a tensor. */
export const floatTypeOf = ({ elemType }: TensorRef): 'f32' | 'f16' => (elemType === FLOAT16 ? 'f16' : 'f32');

/** Rows of a table of the file, which is never copied. */
export function rowsMatch(
  nodes: readonly GraphNode[],
  key: string,
  table: TableRef,
  indices: string,
  { dims: row = [table.columns], twin }: { readonly dims?: readonly number[]; readonly twin?: string | undefined } = {},
): Match {
  const [y = ''] = nodes.at(-1)!.outputs;
  return {
    op: 'rows of a table',
    place: 'device',
    nodes,
    inputs: [indices],
    outputs: [y],
    resources: [{ kind: 'table', key, table, twin }],
    lower(to) {
      const { dims, data: known } = to.info(indices);
      to.step({ kind: 'rows', table: key, indices, known, y: to.result(y, 'f32', [...dims, ...row]) });
    },
  };
}

export const gatherOperators: readonly Operator[] = [
  {
    name: 'Gather',
    attributes: ['axis'],
    infer: gather,
    host: true,
    match: matchGather,
  },
];
