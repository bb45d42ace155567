/** Operators that look elements up by index. */
import { FLOAT32 } from '../data-types.ts';
import { type Info, isKnown, type Size } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/match.ts';
import { countOf } from './host.ts';
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
export function checkedIndex(node: NodeView, index: number, size: number): number {
  const from = index < 0 ? index + size : index;
  if (!(from >= 0 && from < size)) node.fail('indices', `-${size} to ${size - 1}`, `${index}`);
  return from;
}

/** Rows of a table that is stored in few bits: dims of the table as floats, and of the result. */
function gatherBlockQuantized(node: NodeView, [data, indices]: Inputs): [Info] {
  const bits = node.int('bits', 4);
  const table = data?.dims;
  if (!table || !indices?.dims) return [{ elemType: FLOAT32, dims: undefined }];
  const axis = axisOf(node, node.int('gather_axis', 0), table.length);
  // uint8 data holds several codes per byte along the last dimension; the 4-bit types hold one per element.
  const packed = data.elemType === 2 ? 8 / bits : 1;
  const row = table.map((dim, i) => (i === table.length - 1 && typeof dim === 'number' ? dim * packed : dim));
  return [{ elemType: FLOAT32, dims: row.toSpliced(axis, 1, ...indices.dims) }];
}

/** Rows of a float table of the file: the table itself is never copied. */
function matchGather(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [data = '', indices = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const tensor = matcher.tensor(data);
  if (!tensor || tensor.elemType !== FLOAT32) return 'it is no table of floats';
  if (tensor.dims.length !== 2) return `the table has shape [${tensor.dims.join(', ')}]`;
  if (view.int('axis', 0) !== 0) return 'axis is not 0';
  if (!matcher.isHostOperand(indices)) return 'indices are not at hand';
  const [, width] = tensor.dims;
  return {
    op: 'rows of a table',
    place: 'device',
    nodes: [node],
    inputs: [data, indices],
    outputs: [y],
    resources: [{ kind: 'table', key: data, tensor }],
    lower(to) {
      const { dims, data: known } = to.info(indices);
      to.step({ kind: 'rows', table: data, indices, known, y: to.result(y, 'f32', [...dims, width!]) });
    },
  };
}

export const gatherOperators: readonly Operator[] = [
  { name: 'Gather', attributes: ['axis'], infer: gather, host: true, match: matchGather },
  { name: 'com.microsoft.GatherBlockQuantized', infer: gatherBlockQuantized },
];
