/** Operands of an attention, in any order of their dimensions -> what @msd/core is asked for; nothing is moved for it. */
import type { AttentionOp, ScoreDims } from '@msd/core';
import { headStrides, type Layout, type View, viewOf } from './view.ts';

type Shape = readonly number[];

export interface Operands {
  readonly q: Shape;
  readonly k: Shape;
  readonly v: Shape;
  readonly bias?: Shape | undefined;
  readonly mask?: Shape | undefined;
  readonly layouts: Readonly<Partial<Record<'q' | 'k' | 'v', Layout>>>;
  /** Axis j of the result is axis `out[j]` of [lead…, rows, channels]. */
  readonly out?: readonly number[] | undefined;
  /** Leading dimensions that bias and mask have, if others than those of q, k and v. */
  readonly scoreLead?: Shape | undefined;
  /** Keys that bias and mask are about. Default: those of k. */
  readonly keys?: number | undefined;
  /** k and v may have fewer heads than q: groups of query heads read one of them. */
  readonly isGrouped?: boolean | undefined;
}

export interface Planned {
  readonly op: Omit<AttentionOp, 'scale' | 'isCausal'>;
  /** Of the result, as it lies. */
  readonly shape: number[];
  /** [lead…, rows, keys] */
  readonly scores: readonly number[];
}

/** @returns `undefined` if it is none that the kernels take as it lies; shapes that contradict each other among them */
export function planAttention(operands: Operands): Planned | undefined {
  const { layouts, out, scoreLead } = operands;
  const views = (['q', 'k', 'v'] as const).map((name) => viewOf(operands[name], layouts[name]));
  if (views.some((view) => !view || view.shape.length < 2 || view.shape.includes(0))) return undefined;
  const plain = views as [View, View, View];
  const groups = operands.isGrouped ? plain.map(({ shape }) => shape.at(-3) ?? 1) : [];
  const isGrouped = groups[1] === groups[2] && groups[0]! % groups[1]! === 0;
  const lead = broadcast(
    plain.map(({ shape }, i) =>
      isGrouped && i > 0 && shape.length > 2 ? [...shape.slice(0, -3), 1] : shape.slice(0, -2),
    ),
  );
  if (!lead) return undefined;
  const split =
    scoreLead && scoreLead.join() !== lead.join() ? plain.map((view) => regrouped(view, lead, scoreLead)) : plain;
  const dims = split === plain ? lead : scoreLead!;
  if (dims.length > 2 || split.some((view) => !view)) return undefined;
  const [q, k, v] = split as [View, View, View];
  const [rows, headSize] = q.shape.slice(-2) as [number, number];
  const [newKeys, valueSize] = v.shape.slice(-2) as [number, number];
  if (k.shape.at(-2) !== newKeys || k.shape.at(-1) !== headSize) return undefined;
  // Channels of a head have to lie side by side.
  if (split.some((view) => view!.strides.at(-1) !== 1 && view!.shape.at(-1) !== 1)) return undefined;

  const [batch, heads] = [dims.length > 1 ? dims[0]! : 1, dims.at(-1) ?? 1];
  const headsOf = ({ shape }: View) => (shape.length < 3 ? 1 : shape.at(-3)!);
  // One head that all others of k or v stand beside is repeated by its stride.
  const kvHeads = isGrouped ? groups[1]! : headsOf(k) === 1 && headsOf(v) === 1 ? 1 : heads;
  const scores = [batch, heads, rows, operands.keys ?? newKeys] as const;
  const [bias, mask] = [operands.bias, operands.mask].map((shape) => shape && scoreDims(shape, dims, scores));
  if ((operands.bias && !bias) || (operands.mask && !mask)) return undefined;

  const logical = [...lead, rows, valueSize];
  if (out && out.length !== logical.length) return undefined;
  const shape = out ? out.map((axis) => logical[axis]!) : logical;
  const result = viewOf(shape, out && inverse(out))!;
  const outView = dims === lead ? result : regrouped(result, lead, dims);
  if (!outView || (outView.strides.at(-1) !== 1 && valueSize !== 1)) return undefined;
  return {
    op: {
      ...{ batch, rows, newKeys, heads, kvHeads, headSize, valueSize, bias, mask },
      q: headStrides(q, dims),
      k: headStrides(k, dims),
      v: headStrides(v, dims),
      out: headStrides(outView, dims),
    },
    shape,
    scores: [...lead, rows, newKeys],
  };
}

/** Dimensions that all of them broadcast to. */
function broadcast(shapes: readonly Shape[]): Shape | undefined {
  const rank = Math.max(...shapes.map(({ length }) => length));
  const result = Array<number>(rank).fill(1);
  for (const shape of shapes)
    for (const [i, dim] of shape.entries()) {
      const at = rank - shape.length + i;
      if (dim !== 1 && result[at] !== 1 && result[at] !== dim) return undefined;
      if (dim !== 1) result[at] = dim;
    }
  return result;
}

/** The same elements with other leading dimensions, [batch · heads] as [batch, heads] or the other way round. */
function regrouped(view: View, lead: Shape, other: Shape): View | undefined {
  const [own, strides] = [view.shape.slice(0, -2), view.strides];
  const isFull = own.join() === lead.join();
  const tail = { shape: view.shape.slice(-2), strides: strides.slice(-2) };
  const size = (dims: Shape) => dims.reduce((product, dim) => product * dim, 1);
  if (!isFull || size(lead) !== size(other) || other.length > 2) return undefined;
  if (lead.length === 1 && other.length === 2)
    return { shape: [...other, ...tail.shape], strides: [other[1]! * strides[0]!, strides[0]!, ...tail.strides] };
  const merges = lead.length === 2 && other.length === 1 && (lead[0] === 1 || strides[0] === lead[1]! * strides[1]!);
  return merges ? { shape: [...other, ...tail.shape], strides: [strides[1]!, ...tail.strides] } : undefined;
}

/** Of a bias or mask that broadcasts to the scores. */
function scoreDims(shape: Shape, lead: Shape, [batch, heads, rows, keys]: ScoreDims): ScoreDims | undefined {
  const rank = lead.length + 2;
  if (shape.length > rank) return undefined;
  const own = [...Array<number>(rank - shape.length).fill(1), ...shape];
  const [b, h] = [lead.length > 1 ? own[0]! : 1, lead.length > 0 ? own.at(-3)! : 1];
  const [m, t] = own.slice(-2) as [number, number];
  const fits = [
    [b, batch],
    [h, heads],
    [m, rows],
    [t, keys],
  ].every(([dim, all]) => dim === 1 || dim === all);
  return fits ? [b, h, m, t] : undefined;
}

const inverse = (perm: readonly number[]): number[] => perm.map((_, axis) => perm.indexOf(axis));
