/** GatherND: parts of a value by the numbers of several of its dimensions. JavaScript makes one number of them, the device gathers. */
import { gatherOnWasm as gather } from '@msd/core/nn';
import { countOf } from '../dims.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { type Elements, emitOp, part } from './lowering.ts';
import type { NodeView, Operator } from './operator.ts';

/** [..., k] numbers for the first k dimensions, behind those that both have in common. */
function infer(node: NodeView, [x, indices]: readonly (Info | undefined)[]): [Info] {
  const elemType = x?.elemType ?? 0;
  const k = indices?.dims?.at(-1);
  if (!x?.dims || !indices?.dims || typeof k !== 'number') return [{ elemType, dims: undefined }];
  const inner = node.int('batch_dims', 0) + k;
  if (inner > x.dims.length)
    node.fail('indices', `at most ${x.dims.length} numbers each, as x has dimensions`, `${inner}`);
  return [{ elemType, dims: [...indices.dims.slice(0, -1), ...x.dims.slice(inner)] }];
}

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', indices = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const refused = matcher.notMovable(x);
  if (refused !== undefined) return refused;
  const info = matcher.info(indices);
  const k = info?.dims?.at(-1);
  const batch = view.int('batch_dims', 0);
  if (typeof k !== 'number' || k < 1) return 'how many numbers an index has is not known';
  if (batch < 0) return `batch_dims ${batch}`;
  if (!matcher.isInteger(indices) || !matcher.isHostOperand(indices)) return 'indices are not at hand';
  if (matcher.isConstant(indices) && !info!.data) return 'indices are many';
  return {
    op: 'gather',
    place: 'device',
    nodes: [node],
    inputs: [x, indices],
    outputs: [y],
    resources: matcher.constants([x]),
    lower(to) {
      const { dims } = to.info(x);
      const given = to.info(indices);
      const sizes = dims.slice(0, batch + k);
      const inner = dims.slice(batch + k);
      if (given.dims.slice(0, batch).some((size, i) => size !== dims[i]))
        view.fail('indices', `[${dims.slice(0, batch).join(', ')}, …] like x`, `[${given.dims.join(', ')}]`);
      const at = to.computed({
        key: `rows of ${y}`,
        dims: given.dims.slice(0, -1),
        needs: given.data ? [] : [indices],
        compute: ([now = given as Elements], out) => fill(view, now.data, out as Int32Array, { k, batch, sizes }),
      });
      const rows = part(to.slot(x), 0, [countOf(sizes), ...inner]);
      emitOp(to, gather, { axis: 0 }, [rows, at], [y]);
    },
  };
}

interface Rows {
  readonly k: number;
  readonly batch: number;
  /** Of the dimensions in common, and those that an index has numbers for. */
  readonly sizes: readonly number[];
}

/** One number of `k` each, counted from the front. */
function fill(view: NodeView, data: ArrayLike<number>, out: Int32Array, { k, batch, sizes }: Rows): void {
  const each = out.length / countOf(sizes.slice(0, batch));
  for (let i = 0; i < out.length; i++) {
    let row = Math.floor(i / each);
    for (let j = 0; j < k; j++) {
      const size = sizes[batch + j]!;
      const index = data[i * k + j]!;
      const from = index < 0 ? index + size : index;
      if (!(from >= 0 && from < size)) view.fail('indices', `-${size} to ${size - 1}`, `${index}`);
      row = row * size + from;
    }
    out[i] = row;
  }
}

export const gatherNDOperators: readonly Operator[] = [{ name: 'GatherND', attributes: ['batch_dims'], infer, match }];
