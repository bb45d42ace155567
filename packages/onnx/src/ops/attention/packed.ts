/** com.microsoft.Attention: x [B, M, D] times weights that make queries, keys and values, side by side. */

import { copyOnWasm as copy } from '@msd/core/nn';
import { INT32 } from '../../data-types.ts';
import { stridesOf } from '../../dims.ts';
import type { Info, Size } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import { weightsOf } from '../../weights/constant.ts';
import { emitOp, type Heads, headsOfRows, type Lowering } from '../lowering.ts';
import type { NodeView, Operator } from '../operator.ts';
import { notFloats, scoresOfSizes } from './common.ts';
import { emitAttention } from './facts.ts';
import { attentionMatch, cacheOf, namesOf } from './one-node.ts';
import { paddedLate } from './padding.ts';
import { floatProjection, matrixProjection, type Projection } from './projection.ts';

/** Widths of queries (and keys) and of values. */
function widthsOf(view: NodeView, total: Size | undefined): readonly [Size | undefined, Size | undefined] {
  const given = view.ints('qkv_hidden_sizes');
  if (given) return [given[0], given[2]];
  const third = typeof total === 'number' ? total / 3 : undefined;
  return [third, third];
}

export const inferPacked: Operator['infer'] = (view, [x, weights, , , past], symbols) => {
  const [width, values] = widthsOf(view, weights?.dims?.[1]);
  const heads = view.int('num_heads', 0);
  const dims = x?.dims?.length === 3 && values !== undefined ? [x.dims[0]!, x.dims[1]!, values] : undefined;
  const y = x && { elemType: x.elemType, dims };
  if (view.node.outputs.length < 2) return [y];
  const size = typeof width === 'number' && heads > 0 ? width / heads : symbols.fresh();
  const length = past ? symbols.fresh(past.dims) : (x?.dims?.[1] ?? symbols.fresh());
  const present: Info | undefined = x && {
    elemType: x.elemType,
    dims: past?.dims?.toSpliced(3, 1, length) ?? (x.dims && [2, x.dims[0]!, heads, length, size]),
  };
  return [y, present];
};

/** The operands of an attention beside its product, by name; '' = there is none. */
export interface PackedOperands {
  /** How x is multiplied. */
  readonly projection: Projection;
  /** Sizes of x, and of the weights. */
  readonly x: Info | undefined;
  readonly shape: readonly Size[] | undefined;
  readonly padding: string;
  readonly past: string;
  readonly added: string;
}

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = '', weights = '', bias = '', padding = '', past = '', added = '', pastLength = ''] = node.inputs;
  const refused = notFloats(matcher, { input: x, weights, bias, past, attention_bias: added });
  if (refused !== undefined) return refused;
  if (pastLength !== '') return 'past and present share a buffer';
  const shape = matcher.info(weights)?.dims;
  const integers = shape?.length === 2 ? weightsOf(matcher, weights, false) : undefined;
  const projection =
    integers?.kind === 'matrix'
      ? matrixProjection(view, matcher, { nodes: [node], x, matrix: integers.matrix, bias, y: '' })
      : floatProjection(matcher, x, weights, bias);
  return matchPacked(view, matcher, { projection, x: matcher.info(x), shape, padding, past, added });
}

/** What is left of it once x is multiplied. */
export function matchPacked(view: NodeView, matcher: Matcher, operands: PackedOperands): Match | string {
  const { projection, x, shape, padding, past, added } = operands;
  const [y = '', present = ''] = view.node.outputs;
  const heads = view.int('num_heads', 0);
  if (heads <= 0) return 'num_heads is not given';
  if (view.int('do_rotary', 0) !== 0) return 'do_rotary is not 0';
  if (view.int('past_present_share_buffer', 0) !== 0) return 'past and present share a buffer';
  if (padding !== '' && matcher.info(padding)?.elemType !== INT32) return 'the mask is not int32';
  const [width, valueWidth] = widthsOf(view, shape?.[1]);
  if (typeof width !== 'number' || typeof valueWidth !== 'number') return 'the widths are not known';
  if (!(Number.isInteger(width / heads) && Number.isInteger(valueWidth / heads))) return 'heads of unequal widths';
  const cache = cacheOf({ key: past, value: past }, { key: present, value: present });
  if (cache && valueWidth !== width) return 'a past of unequal heads';
  const filter = view.float('mask_filter_value', -10_000);
  // A bias is an operand, or comes with every run.
  const isLate = cache !== undefined || padding !== '';
  const late = [padding, isLate ? added : ''].filter((name) => name !== '');
  const match = attentionMatch(view, matcher, {
    inputs: [...projection.inputs, padding, past, added],
    outputs: [y, present],
    late,
    caches: cache ? namesOf(cache) : [],
    scores: scoresOfSizes(
      x?.dims,
      past === '' ? undefined : matcher.info(present)?.dims?.[3],
      heads,
      (width + valueWidth) / heads,
    ),
    lower(to) {
      const packed = projection.emit(to);
      const [batch, rows, total] = packed.dims as readonly [number, number, number];
      if (total !== 2 * width + valueWidth) view.fail('weights', `${2 * width + valueWidth} columns`, `${total}`);
      const [headSize, valueSize] = [width / heads, valueWidth / heads];
      const part = (size: number, begin: number): Heads => headsOfRows(packed, rows, size, begin);
      const [q, k, v] = [part(headSize, 0), part(headSize, width), part(valueSize, 2 * width)];
      emitAttention(
        to,
        {
          batch,
          rows,
          keys: rows,
          heads,
          kvHeads: heads,
          headSize,
          valueSize,
          scale: view.float('scale', 0) || undefined,
          isCausal: view.int('unidirectional', 0) === 1,
          q,
          k,
          v,
          biases: added !== '' && !isLate ? [to.slot(added)] : [],
          cache,
          late: paddedLate(padding, isLate ? added : '', filter, (pastRows) => ({
            batch,
            rows,
            keys: pastRows + rows,
          })),
        },
        y,
        'rows',
      );
      if (!cache && present !== '') emitStacked(to, [k, v], [2, batch, heads, rows, headSize], present);
    },
  });
  const { product, resources = [] } = projection;
  return { ...match, ...(product && { product }), resources: [...(match.resources ?? []), ...resources] };
}

/** Keys, then values, as one value. */
function emitStacked(to: Lowering, each: readonly Heads[], dims: readonly number[], name: string): void {
  const strides = stridesOf(dims);
  const parts = each.map(({ begin, strides: { batch, head, row } }, i) => ({
    dims: dims.slice(1),
    from: { operand: i, offset: begin, strides: [batch, head, row, 1] },
    to: { operand: 0, offset: i * strides[0]!, strides: strides.slice(1) },
  }));
  emitOp(
    to,
    copy,
    { outputs: [dims], parts },
    each.map(({ slot }) => slot),
    [name],
  );
}

export const PACKED_ATTRIBUTES: readonly string[] = [
  'num_heads',
  'unidirectional',
  'mask_filter_value',
  'scale',
  'qkv_hidden_sizes',
  'do_rotary',
  'past_present_share_buffer',
];

export const packedOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.Attention',
    attributes: PACKED_ATTRIBUTES,
    othersSizedBy: 4,
    infer: inferPacked,
    isFirst: true,
    match,
  },
];
