/** Rows of a table of int8 or uint8 with DequantizeLinear behind them. */
import type { BlockRows } from '@msd/core/nn';
import { INT8, UINT8 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { rowsMatch } from './gather.ts';
import type { NodeView } from './operator.ts';

/** Rows of an 8-bit table that become floats at once, all by one scale. */
export function dequantizedRows(view: NodeView, matcher: Matcher): Match | undefined {
  const { node } = view;
  const [data = '', indices = ''] = node.inputs;
  const tensor = matcher.tensor(data);
  const next = matcher.soleConsumer(node.outputs[0]!);
  const isCoded = tensor?.elemType === UINT8 || tensor?.elemType === INT8;
  if (!isCoded || tensor.dims.length !== 2 || view.int('axis', 0) !== 0) return undefined;
  if (next?.domain !== '' || next.opType !== 'DequantizeLinear' || matcher.isTaken(next)) return undefined;
  if (!matcher.isHostOperand(indices)) return undefined;
  const [codes, s = '', z = ''] = next.inputs;
  const [scale, zeroPoint] = [matcher.scalar(s), z === '' ? 0 : matcher.scalar(z)];
  if (codes !== node.outputs[0] || scale === undefined || zeroPoint === undefined) return undefined;
  const [rows, columns] = tensor.dims as [number, number];
  const format: BlockRows = {
    kind: 'blocks',
    bits: 8,
    signed: tensor.elemType === INT8,
    blockSize: columns + (columns % 2),
    scales: 'f32',
    zeroPoint,
  };
  return rowsMatch([node, next], `${data} ${s} ${z}`, { rows, columns, format, data: tensor, scales: scale }, indices);
}
