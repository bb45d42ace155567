/** Gather of what is no table of the file, on the device; tables of codes. */

import { type BlockRows, checkIndices, gatherOnWasm as gatherSpec } from '@msd/core/nn';
import { dataTypeName, FLOAT32, INT4, isFloat, UINT4, UINT8 } from '../data-types.ts';
import { countOf, sameNumbers } from '../dims.ts';
import { describeNode } from '../ir/graph.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { nBitsMatrix } from '../weights/nbits.ts';
import { asNibbles } from '../weights/nibbles.ts';
import { floatTypeOf, rowsMatch } from './gather.ts';
import { emitOp } from './lowering.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';

/** Of a Gather along an axis. */
export function deviceGather(view: NodeView, matcher: Matcher, axis: number): Match | string {
  const [data = ''] = view.node.inputs;
  return matcher.notMovable(data) ?? gatherMatch(view, matcher, axis);
}

function gatherMatch(view: NodeView, matcher: Matcher, axis: number): Match | string {
  const { node } = view;
  const [x = '', indices = ''] = node.inputs;
  const [y = ''] = node.outputs;
  if (!matcher.isInteger(indices)) return 'indices are not integers';
  if (!matcher.isHostOperand(indices) && matcher.placeOf(indices) !== 'device') return 'indices are not at hand';
  return {
    op: 'gather',
    place: 'device',
    nodes: [node],
    inputs: [x, indices],
    outputs: [y],
    resources: matcher.constants([x]),
    lower(to) {
      const { dims } = to.info(x);
      const rows = dims[axisOf(view, axis, dims.length)]!;
      const at = to.indices(indices, (values) => checkIndices(`run: ${describeNode(node)}`, values, rows));
      emitOp(to, gatherSpec, { axis }, [to.slot(x), at], [y]);
    },
  };
}

/** Rows of a table that is stored in few bits: dims of the table as floats, and of the result. */
function gatherBlockQuantized(node: NodeView, [data, indices, scales]: readonly (Info | undefined)[]): [Info] {
  const bits = node.int('bits', 4);
  const table = data?.dims;
  const elemType = scales?.elemType || FLOAT32;
  if (!table || !indices?.dims) return [{ elemType, dims: undefined }];
  const axis = axisOf(node, node.int('gather_axis', 0), table.length);
  // uint8 data holds several codes per byte along the last dimension; the 4-bit types hold one per element.
  const packed = data.elemType === UINT8 ? 8 / bits : 1;
  const row = table.map((dim, i) => (i === table.length - 1 && typeof dim === 'number' ? dim * packed : dim));
  return [{ elemType, dims: row.toSpliced(axis, 1, ...indices.dims) }];
}

/** Rows are gathered along the first axis, and quantized along the last. What lies in between is part of a row. */
function matchBlocks(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [d = '', indices = '', s = '', z = ''] = node.inputs;
  const data = matcher.tensor(d);
  const scales = matcher.tensor(s);
  const zeroPoints = matcher.tensor(z);
  if (!data || !scales || (z !== '' && !zeroPoints)) return 'the table is not constant';
  if (!matcher.isHostOperand(indices)) return 'indices are not at hand';
  const rank = data.dims.length;
  const bits = view.int('bits', 4);
  const blockSize = view.int('block_size', 128);
  const quantized = axisOf(view, view.int('quantize_axis', 1), rank);
  if (rank < 2 || axisOf(view, view.int('gather_axis', 0), rank) !== 0 || quantized !== rank - 1)
    return 'it is not a table of rows';
  if (bits !== 2 && bits !== 4 && bits !== 8) return `${bits} bits`;
  const isPacked = data.elemType === UINT8;
  if (!isPacked && data.elemType !== UINT4 && data.elemType !== INT4) return `data are ${dataTypeName(data.elemType)}`;
  if (!isPacked && bits !== 4) return `${bits} bits in ${dataTypeName(data.elemType)}`;
  if (!isFloat(scales.elemType)) return `scales are ${dataTypeName(scales.elemType)}`;
  if (zeroPoints && zeroPoints.elemType !== data.elemType)
    return `zero points are ${dataTypeName(zeroPoints.elemType)}`;
  const width = data.dims.at(-1)!;
  const last = isPacked ? (width * 8) / bits : width;
  const dims = data.dims.with(-1, last);
  const blocks = dims.with(-1, Math.ceil(last / blockSize));
  if (!sameNumbers(scales.dims, blocks)) return `scales have shape [${scales.dims.join(', ')}]`;
  const [rows, ...row] = dims as [number, ...number[]];
  if (rank > 2 && (last % blockSize !== 0 || (isPacked && zeroPoints && (blocks.at(-1)! * bits) % 8 !== 0)))
    return 'blocks of a row do not follow each other';
  const columns = countOf(row);
  if (blockSize % 2 !== 0 || (columns * bits) % 8 !== 0) return 'a row does not start at a byte';
  const format: BlockRows = {
    kind: 'blocks',
    bits: bits === 8 ? 8 : 4,
    signed: data.elemType === INT4,
    blockSize,
    scales: floatTypeOf(scales),
    zeroPoints: zeroPoints && (isPacked ? 'rows' : 'flat'),
    zeroPoint: isPacked ? 2 ** (bits - 1) : 0,
  };
  const files = { data, scales, zeroPoints };
  const wide =
    bits === 2
      ? {
          data: asNibbles(data, rows, columns),
          scales,
          zeroPoints: zeroPoints && asNibbles(zeroPoints, rows, countOf(blocks.slice(1))),
        }
      : files;
  // The same codes as those of a product (a head tied to its embedding).
  const isMatrix = isPacked && rank === 2 && blockSize >= 16 && Number.isInteger(Math.log2(blockSize));
  const twin = isMatrix
    ? nBitsMatrix({ ...files, format: `int${bits}`, bits, N: rows, K: columns, blockSize })
    : undefined;
  const table = { rows, columns, format, ...wide };
  return rowsMatch([node], JSON.stringify([d, s, z]), table, indices, { dims: row, twin: twin?.key });
}

export const gatherCodesOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.GatherBlockQuantized',
    attributes: ['bits', 'block_size', 'gather_axis', 'quantize_axis'],
    infer: gatherBlockQuantized,
    match: matchBlocks,
  },
];
