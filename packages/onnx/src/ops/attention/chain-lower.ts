/** Attention that is spelt out becomes facts, once all sizes are known. */
import { elementwiseOnWasm as elementwise } from '@msd/core/nn';
import { Expression } from '../expression.ts';
import {
  type CacheRef,
  checkKeys,
  emitOp,
  type Heads,
  type LateAttention,
  type Lowering,
  type Slot,
} from '../lowering.ts';
import { emitAttention, emitFunction } from './facts.ts';
import type { Found, Operand } from './found.ts';
import { type Added, mostKeysOf } from './scores.ts';
import {
  dense,
  type Factor,
  isDense,
  regrouped,
  repeated,
  single,
  sizesOf,
  strided,
  through,
  type View,
  type ViewNode,
  viewOf,
} from './view.ts';

/** Scores that a filter takes away become this: what they were is lost in its last place. */
export const FILTERED = -1e30;

/** Keys and values that go on from those of earlier runs. */
export interface Past {
  /** New ones, [batch, heads, rows, size], if there are any. */
  readonly news: { readonly k: Operand; readonly v: Operand } | undefined;
  readonly heads: number;
  readonly headSize: number;
  readonly valueSize: number;
  readonly cache: CacheRef;
  /** Are masks made anew in every run, for their sizes are others? */
  readonly isLate: boolean;
  readonly late: LateAttention | undefined;
}

export function lowerChain(to: Lowering, { scores, q, k, v, tail }: Found, name: string, past?: Past): void {
  let scale = scores.scale;
  const operand = ({ base, nodes }: Operand): View => {
    let view = viewOf(to.slot(base));
    for (const each of nodes)
      if (each.scale === undefined) view = through(to, view, each);
      else scale *= each.scale;
    return view;
  };
  const queries = operand(q);
  const keys = past ? past.news && operand(past.news.k) : transposed(operand(k));
  const values = past ? past.news && operand(past.news.v) : operand(v);
  const isFlat = queries.axes.length === 3;
  // Numbers that scale keys of a cache scale scores as well.
  if (past) for (const each of k.nodes) scale *= each.scale ?? 1;
  const added = past?.isLate
    ? []
    : scores.added.flatMap((each) => (each.kind === 'causal' ? [] : [addedSlot(to, each)]));
  const [batch, heads] =
    past && !past.news && isFlat
      ? [sizesOf(queries)[0]! / past.heads, past.heads]
      : batchAndHeads([queries, ...(keys ? [keys] : []), ...(values ? [values] : [])], added);
  const four = (view: View): View => fourAxes(to, view, batch);
  // One query repeats to as many rows as are added to its scores.
  const [own, width] = sizesOf(queries).slice(-2) as [number, number];
  const most = repeatedSize([own, ...added.map(({ dims }) => dims.at(-2) ?? 1)]);
  const qs = repeated(four(queries), [batch, heads, most, width]);
  const [rows, headSize] = sizesOf(qs).slice(2) as [number, number];
  const [ks, vs] = [keys && four(keys), values && four(values)];
  const [count, valueSize] = (vs ? sizesOf(vs).slice(2) : [0, past!.valueSize]) as [number, number];
  if (!past) checkKeys(count, mostKeysOf(scores.added));
  const shape = [batch, heads, rows, count] as const;
  const kv = ks && vs ? keyHeads(to, [ks, vs], batch, heads) : { heads: past!.heads, k: undefined, v: undefined };
  const masks = added.filter(({ dtype }) => dtype === 'bool').map((slot) => overHeads(slot, shape));
  const y = emitAttention(
    to,
    {
      batch,
      rows,
      keys: count,
      heads,
      kvHeads: kv.heads,
      headSize,
      valueSize,
      scale,
      softcap: scores.softcap,
      q: headsOf(to, qs),
      k: kv.k,
      v: kv.v,
      biases: added.filter(({ dtype }) => dtype === 'f32').map((slot) => overHeads(slot, shape)),
      mask: masks.length > 1 ? masks.reduce((a, b) => emitFunction(to, 'And', [a, b])) : masks[0],
      isCausal: scores.added.some(({ kind }) => kind === 'causal'),
      cache: past?.cache,
      late: past?.late,
    },
    '',
    joinsRows(to, tail, isFlat, [batch, heads, rows, valueSize]) ? 'rows' : 'heads',
  );
  const made = y.dims.length === 3 ? rowsView(y, [batch, heads, rows, valueSize]) : viewOf(y);
  let view = isFlat ? flattened(made) : made;
  for (const each of tail) view = through(to, view, each);
  if (!isDense(view)) view = dense(to, view);
  to.alias(name, view.slot, sizesOf(view));
}

/** [batch, heads, rows, size] as it lies in [batch, rows, heads · size]. */
function rowsView(slot: Slot, [batch, heads, rows, size]: readonly [number, number, number, number]): View {
  const strides = [rows * heads * size, size, heads * size, 1];
  return { slot, offset: 0, axes: [batch, heads, rows, size].map((each, i) => [{ size: each, stride: strides[i]! }]) };
}

/** [batch · heads, rows, size] */
const flattened = (view: View): View => ({
  ...view,
  axes: [[...view.axes[0]!, ...view.axes[1]!], view.axes[2]!, view.axes[3]!],
});

/** Is the result dense if heads lie side by side in rows? */
function joinsRows(
  to: Lowering,
  tail: readonly ViewNode[],
  isFlat: boolean,
  dims: readonly [number, number, number, number],
): boolean {
  const own = rowsView({ dtype: 'f32', dims: [] } as unknown as Slot, dims);
  let view: View | undefined = isFlat ? flattened(own) : own;
  for (const each of tail) view = view && strided(to, view, each);
  return view !== undefined && isDense(view);
}

const transposed = (view: View): View => ({
  ...view,
  axes: [...view.axes.slice(0, -2), view.axes.at(-1)!, view.axes.at(-2)!],
});

/** Sizes that all operands repeat to. Of three dimensions the first is batch and heads: what is added says how many of them. */
function batchAndHeads(views: readonly View[], added: readonly Slot[]): readonly [batch: number, heads: number] {
  const leading = (dims: readonly number[], from: number): number => (dims.length >= from ? dims.at(-from)! : 1);
  const sizes = views.map(sizesOf);
  const all = [...sizes, ...added.map(({ dims }) => dims)].filter(({ length }) => length === 4);
  const batch = repeatedSize(all.map((dims) => leading(dims, 4)));
  const flat = sizes.filter(({ length }) => length === 3).map((dims) => leading(dims, 3));
  const heads = repeatedSize([
    ...all.map((dims) => leading(dims, 3)),
    // Of nothing every number of heads makes nothing.
    ...(batch === 0 ? [] : flat.map((size) => size / batch)),
  ]);
  return [batch, heads];
}

/** The size that all repeat to; none of them is more than none. */
const repeatedSize = (sizes: readonly number[]): number => (sizes.includes(0) ? 0 : Math.max(1, ...sizes));

/** [batch, heads, rows, size]; a size of 1 is repeated. */
function fourAxes(to: Lowering, view: View, batch: number): View {
  const sizes = sizesOf(view);
  if (sizes.length === 3) {
    const [flat, rows, size] = view.axes as readonly [View['axes'][number], View['axes'][number], View['axes'][number]];
    if (batch === 0) return { ...view, axes: [[{ size: 0, stride: 0 }], [{ size: 1, stride: 0 }], rows, size] };
    if (sizes[0] === 1) return { ...view, axes: [[{ size: batch, stride: 0 }], flat, rows, size] };
    const split = regrouped([flat], [batch, sizes[0]! / batch]);
    if (!split) return fourAxes(to, dense(to, view), batch);
    return { ...view, axes: [split[0]!, split[1]!, rows, size] };
  }
  return sizes[0] === batch ? view : repeated(view, [batch, ...sizes.slice(1)]);
}

/** Keys and values, with as few heads as both have. */
function keyHeads(
  to: Lowering,
  views: readonly [View, View],
  batch: number,
  heads: number,
): { readonly heads: number; readonly k: Heads; readonly v: Heads } {
  const [a, b] = views.map(({ axes }) => sharedHeads(axes[1]!));
  const count = a && b && a.size === b.size ? a.size : undefined;
  if (count !== undefined && heads % count === 0) {
    const [k, v] = views.map((view, i) => headsOf(to, { ...view, axes: view.axes.with(1, [[a!, b!][i]!]) })) as [
      Heads,
      Heads,
    ];
    return { heads: count, k, v };
  }
  const [k, v] = views.map((view) =>
    headsOf(to, dense(to, repeated(view, [batch, heads, ...sizesOf(view).slice(2)]))),
  ) as [Heads, Heads];
  return { heads, k, v };
}

/** Heads that differ; queries share each of them. */
function sharedHeads(axis: readonly Factor[]): Factor | undefined {
  const factors = axis.filter(({ size }) => size > 1);
  const own = factors.at(-1)?.stride === 0 ? factors.slice(0, -1) : factors;
  return own.length === 0 ? { size: 1, stride: 0 } : single(own);
}

/** Where heads lie. What has no such strides is copied. */
function headsOf(to: Lowering, view: View): Heads {
  const [batch, head, row, channel] = view.axes.map(single);
  const isFine = batch && head && row && channel && (channel.stride === 1 || channel.size === 1);
  if (!isFine) return headsOf(to, dense(to, view));
  return { slot: view.slot, begin: view.offset, strides: { batch: batch.stride, head: head.stride, row: row.stride } };
}

/** A bias or mask as it is added to all scores. */
function addedSlot(to: Lowering, added: Exclude<Added, { readonly kind: 'causal' }>): Slot {
  const slot = to.slot(added.name);
  const expression = new Expression(1);
  if (added.kind === 'bias') {
    if (added.factor === 1) return slot;
    expression.add('Mul', [0, expression.number(added.factor)]);
  } else if (added.number === Number.NEGATIVE_INFINITY) {
    if (added.isSeen) return slot;
    expression.add('Not', [0]);
  } else {
    const [seen, filtered] = [0, FILTERED].map((value) => expression.number(value)) as [number, number];
    expression.add('Where', added.isSeen ? [0, seen, filtered] : [0, filtered, seen]);
  }
  return emitOp(to, elementwise, expression.op, [slot], [])[0]!;
}

/** One that is added to scores of three dimensions has batch and heads in one. */
function overHeads(slot: Slot, [batch, heads]: readonly [number, number, number, number]): Slot {
  const { dims } = slot;
  const isBoth = dims.length === 3 && batch > 1 && dims[0] === batch * heads;
  return isBoth ? { ...slot, dims: [batch, heads, dims[1]!, dims[2]!] } : slot;
}
