/** Operators that look elements up by index. */
import { FLOAT32 } from '../data-types.ts';
import { type Info, isKnown, type Size } from '../ir/info.ts';
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

export const gatherOperators: readonly Operator[] = [
  { name: 'Gather', infer: gather, host: true },
  { name: 'com.microsoft.GatherBlockQuantized', infer: gatherBlockQuantized },
];
