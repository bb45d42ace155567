/**
 * From the operand of a Softmax back to queries times keys: what scales scores, what caps them, what is added to them, which of them
 * are taken away. By structure: names say nothing.
 */
import { BOOL, FLOAT16, isFloat, UINT8 } from '../../data-types.ts';
import type { GraphNode } from '../../ir/graph.ts';
import { type Size, scalarOf } from '../../ir/info.ts';
import type { Matcher } from '../../passes/matcher.ts';
import { elementCount, type TensorRef, tensorBytes, tensorFloats } from '../../read/tensor.ts';
import { elements } from '../operator.ts';

/** What is added to scores. */
export type Added =
  /** The value, times a factor. */
  | { readonly kind: 'bias'; readonly name: string; readonly factor: number }
  /** A number in place of every score that a bool takes away: all of them alike, so that a row of them is averaged. */
  | { readonly kind: 'filter'; readonly name: string; readonly isSeen: boolean; readonly number: number }
  /** A filter of a triangle of so many keys: no key after the query is seen. */
  | { readonly kind: 'causal'; readonly most: number; readonly number: number };

/** Scores as a chain of nodes makes them. */
export interface Scores {
  /** The product of queries and keys, whose first operand is the queries. */
  readonly product: GraphNode;
  readonly scale: number;
  readonly softcap: number | undefined;
  readonly added: readonly Added[];
  readonly nodes: readonly GraphNode[];
  /** Batch and heads, if they are apart anywhere. */
  readonly leading: Leading;
}

/** The first two dimensions of four; `undefined` as long as there are three. */
export type Leading = readonly [Size, Size] | undefined;

const MOST_NODES = 16;
/** Scores below this weigh nothing beside any other. */
const NEVER = -1000;
/** The lowest finite float16. */
const LOWEST_HALF = -65504;

/** A number that is known before a run, whoever makes it. */
export function numberOf(matcher: Matcher, name: string): number | undefined {
  return scalarOf(matcher.info(name));
}

/** The number that all elements are. */
function uniformOf(matcher: Matcher, name: string): number | undefined {
  const all = elements(matcher.info(name));
  return all?.every((each) => each === all[0]) ? all[0] : undefined;
}

/** Keys that triangles have columns for; `undefined`: there is none. A Slice ends where they do, and no longer scores fit what is left. */
export function mostKeysOf(added: readonly Added[]): number | undefined {
  const sizes = added.flatMap((each) => (each.kind === 'causal' ? [each.most] : []));
  return sizes.length > 0 ? Math.min(...sizes) : undefined;
}

export const namesOfAdded = (added: readonly Added[]): string[] =>
  added.flatMap((each) => (each.kind === 'causal' ? [] : [each.name]));

/** @returns `undefined` if a value is made of anything else */
export function scoresOf(matcher: Matcher, name: string, depth = 0): Scores | undefined {
  const node = matcher.producer(name);
  if (!node || depth > MOST_NODES || node.outputs[0] !== name) return undefined;
  const [a = '', b = '', c = ''] = node.inputs;
  const back = (x: string): Scores | undefined => scoresOf(matcher, x, depth + 1);
  const more = (scores: Scores | undefined, change: Partial<Scores> = {}): Scores | undefined =>
    scores && { ...scores, ...change, nodes: [...scores.nodes, node] };
  if (node.domain !== '') return undefined;
  switch (node.opType) {
    case 'MatMul': {
      const leading = isProduct(matcher, node) ? leadingOf(matcher, name) : 'others';
      return leading === 'others'
        ? undefined
        : { product: node, scale: 1, softcap: undefined, added: [], nodes: [node], leading };
    }
    case 'Identity':
      return more(back(a));
    case 'Cast':
      return [a, name].every((each) => isFloat(matcher.info(each)?.elemType ?? 0)) ? more(back(a)) : undefined;
    case 'Reshape': {
      const scores = keepsRows(matcher, a, name) ? back(a) : undefined;
      const leading = scores ? joined(scores.leading, leadingOf(matcher, name)) : 'others';
      return leading === 'others' ? undefined : more(scores, { leading });
    }
    case 'Max':
    case 'Clip':
      return isFloor(matcher, node) ? more(back(a)) : undefined;
    case 'Mul':
    case 'Div':
      return scaled(matcher, node, back, more);
    case 'Add':
    case 'Sub': {
      const first = back(a);
      const sign = node.opType === 'Sub' ? -1 : 1;
      if (first) return more(first, { added: [...first.added, { kind: 'bias', name: b, factor: sign }] });
      const second = sign === 1 ? back(b) : undefined;
      return second && more(second, { added: [...second.added, { kind: 'bias', name: a, factor: 1 }] });
    }
    case 'Where': {
      for (const [x, other, isSeen] of [
        [b, c, true],
        [c, b, false],
      ] as const) {
        const number = uniformOf(matcher, other);
        const scores = number !== undefined && number <= NEVER ? back(x) : undefined;
        const most = scores && isSeen ? triangleOf(matcher, a, x) : undefined;
        if (most !== undefined)
          return more(scores, { added: [...scores!.added, { kind: 'causal', most, number: number! }] });
        if (scores)
          return more(scores, { added: [...scores.added, { kind: 'filter', name: a, isSeen, number: number! }] });
      }
      return undefined;
    }
    default:
      return undefined;
  }
}

/**
 * Of a mask that is the last rows and first columns of a constant triangle, for scores of the same sizes: how many columns that has. Its
 * rows end where its columns do, so the last query is at the last key.
 */
function triangleOf(matcher: Matcher, mask: string, scores: string): number | undefined {
  const [own, wanted] = [matcher.info(mask)?.dims?.slice(-2), matcher.info(scores)?.dims?.slice(-2)];
  if (own?.length !== 2 || own[0] !== wanted?.[0] || own[1] !== wanted?.[1]) return undefined;
  const ends: (Size | undefined)[] = [undefined, undefined];
  let node = matcher.producer(mask);
  if (node?.opType === 'Cast') node = matcher.producer(node.inputs[0]!);
  let name = mask;
  for (let count = 0; node?.opType === 'Slice' && node.domain === '' && count < 2; count++) {
    const [x = '', starts = '', stops = '', axes = '', steps = ''] = node.inputs;
    const [axis, from, to] = [axes, starts, stops].map((each) => matcher.info(each)?.data);
    const rank = matcher.info(x)?.dims?.length ?? 0;
    if (axis?.length !== 1 || typeof axis[0] !== 'number' || (steps !== '' && numberOf(matcher, steps) !== 1))
      return undefined;
    const at = (axis[0] < 0 ? axis[0] + rank : axis[0]) - (rank - 2);
    if ((at !== 0 && at !== 1) || (at === 1 && from?.[0] !== 0)) return undefined;
    ends[at] = to?.[0];
    name = x;
    node = matcher.producer(x);
  }
  const tensor = matcher.tensor(name);
  if (ends[0] === undefined || ends[0] !== ends[1] || !tensor || !isLowerTriangle(tensor)) return undefined;
  return tensor.dims.at(-1);
}

/** 1 up to the diagonal, 0 behind it. */
function isLowerTriangle(tensor: TensorRef): boolean {
  const { dims, elemType } = tensor;
  const size = dims.at(-1) ?? 0;
  // One that has a single column would repeat to any scores.
  if (size < 2 || dims.at(-2) !== size || elementCount(tensor) !== size * size) return false;
  if (elemType !== BOOL && elemType !== UINT8 && !isFloat(elemType)) return false;
  const values = isFloat(elemType) ? tensorFloats(tensor) : tensorBytes(tensor);
  for (let i = 0; i < size; i++)
    for (let j = 0; j < size; j++) if (values[i * size + j] !== (j <= i ? 1 : 0)) return false;
  return true;
}

/** Both operands computed, or at least no matrix of weights. */
function isProduct(matcher: Matcher, { inputs: [a = '', b = ''] }: GraphNode): boolean {
  const [left, right] = [matcher.info(a)?.dims?.length, matcher.info(b)?.dims?.length];
  return left !== undefined && left === right && left >= 3 && left <= 4;
}

/** A number times scores; what was added before is scaled with them. A cap is c · tanh(x / c). */
function scaled(
  matcher: Matcher,
  node: GraphNode,
  back: (x: string) => Scores | undefined,
  more: (scores: Scores | undefined, change?: Partial<Scores>) => Scores | undefined,
): Scores | undefined {
  const [a = '', b = ''] = node.inputs;
  const right = numberOf(matcher, b);
  const left = node.opType === 'Mul' && right === undefined ? numberOf(matcher, a) : undefined;
  const number = right ?? left;
  if (number === undefined || number === 0 || !Number.isFinite(number)) return undefined;
  const factor = node.opType === 'Div' ? 1 / number : number;
  const x = right === undefined ? b : a;
  const tanh = matcher.producer(x);
  if (tanh?.opType === 'Tanh' && tanh.domain === '') {
    const inner = back(tanh.inputs[0]!);
    if (!inner || inner.softcap !== undefined || inner.added.length > 0 || factor <= 0) return undefined;
    return more({ ...inner, nodes: [...inner.nodes, tanh] }, { softcap: factor, scale: inner.scale * factor });
  }
  const scores = back(x);
  if (!scores || (scores.softcap !== undefined && factor !== 1)) return undefined;
  const added = scores.added.map((each): Added => {
    if (each.kind === 'bias') return { ...each, factor: each.factor * factor };
    return { ...each, number: each.number * factor };
  });
  // What took a key away no longer does.
  if (added.some((each) => each.kind !== 'bias' && each.number > NEVER)) return undefined;
  return more(scores, { scale: scores.scale * factor, added });
}

/** @returns 'others' if it is neither batch and heads nor both in one that scores begin with */
export function leadingOf(matcher: Matcher, scores: string): Leading | 'others' {
  const dims = matcher.info(scores)?.dims;
  if (dims?.length === 3) return undefined;
  return dims?.length === 4 ? [dims[0]!, dims[1]!] : 'others';
}

/**
 * Batch and heads where both are known. Windows of an image are batch in one place and beside it in another: what is added there belongs to
 * other scores. Of equal products one size tells.
 */
export function joined(a: Leading, b: Leading | 'others'): Leading | 'others' {
  if (b === undefined || b === 'others') return b ?? a;
  return a === undefined || a[0] === b[0] || a[1] === b[1] ? (a ?? b) : 'others';
}

/** The last two dimensions stay: heads and batch are put together, or apart. */
export function keepsRows(matcher: Matcher, from: string, to: string): boolean {
  const [a, b] = [matcher.info(from)?.dims, matcher.info(to)?.dims];
  return (
    a !== undefined &&
    b !== undefined &&
    a.length >= 3 &&
    b.length >= 3 &&
    a.at(-1) === b.at(-1) &&
    a.at(-2) === b.at(-2)
  );
}

/** The larger of scores and a number that none of them is below. */
function isFloor(matcher: Matcher, { opType, inputs }: GraphNode): boolean {
  const limits = inputs.slice(1).filter((name) => name !== '');
  const number = limits.length === 1 ? numberOf(matcher, limits[0]!) : undefined;
  const lowest = matcher.info(inputs[0]!)?.elemType === FLOAT16 ? LOWEST_HALF : -1e30;
  return number !== undefined && number <= lowest && (opType === 'Max' || inputs[1] !== '');
}
