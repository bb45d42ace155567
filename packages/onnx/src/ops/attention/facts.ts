/**
 * What an attention is, whatever spells it: sizes, where heads lie, what is added to scores. Operators and patterns find these facts
 * once all sizes are known; here they become a step.
 */

import { type AttentionOp, headMajor, rowMajor, type ScoreDims } from '@msd/core';
import { copyOnWasm as copy, type Elementwise, elementwiseOnWasm as elementwise, type FunctionId } from '@msd/core/nn';
import { stridesOf } from '../../dims.ts';
import { Expression } from '../expression.ts';
import { type CacheRef, emitOp, type Heads, type LateAttention, type Lowering, type Slot } from '../lowering.ts';

export interface AttentionFacts {
  readonly batch: number;
  readonly rows: number;
  /** Those that this run brings. */
  readonly keys: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly valueSize: number;
  /** Default: 1 / √headSize. */
  readonly scale?: number | undefined;
  readonly isCausal?: boolean | undefined;
  readonly softcap?: number | undefined;
  readonly q: Heads;
  /** Absent: the run brings none. */
  readonly k: Heads | undefined;
  readonly v: Heads | undefined;
  /** Added to scores; each repeats to [batch, heads, rows, keys]. */
  readonly biases?: readonly Slot[] | undefined;
  /** True: the key is seen. */
  readonly mask?: Slot | undefined;
  /** Absent: the keys and values are those of this run alone. */
  readonly cache?: CacheRef | undefined;
  readonly late?: LateAttention | undefined;
}

/** Where the result lies: [batch, rows, heads · size], or [batch, heads, rows, size]. */
export type OutLayout = 'rows' | 'heads';

/** Emits the step. @returns its result, under `name` */
export function emitAttention(to: Lowering, facts: AttentionFacts, name: string, layout: OutLayout): Slot {
  const { batch, rows, keys, heads, kvHeads, headSize, valueSize, q, k, v, mask } = facts;
  const { cache, late } = facts;
  const dims = layout === 'rows' ? [batch, rows, heads * valueSize] : [batch, heads, rows, valueSize];
  if (dims.includes(0) && !cache) return to.result(name, 'f32', dims);
  const bias = sum(to, facts.biases ?? []);
  const shape = [batch, heads, rows, keys] as const;
  const op: AttentionOp = {
    batch,
    rows,
    newKeys: keys,
    heads,
    kvHeads,
    headSize,
    valueSize,
    scale: facts.scale,
    isCausal: facts.isCausal ?? false,
    softcap: facts.softcap,
    bias: bias && scoreDims(bias, shape),
    mask: mask && scoreDims(mask, shape),
    q: q.strides,
    k: k?.strides,
    v: v?.strides,
    out: layout === 'rows' ? rowMajor(rows, valueSize, heads * valueSize) : headMajor(heads, rows, valueSize),
  };
  const y = to.result(name, 'f32', dims);
  to.step({ kind: 'attention', op, q, k, v, bias, mask, y, cache, late });
  return y;
}

/** A bias's or mask's dimensions, each the whole or 1. */
function scoreDims({ dims }: Slot, shape: ScoreDims): ScoreDims {
  const four = [...new Array<number>(4 - dims.length).fill(1), ...dims];
  if (dims.length > 4 || !four.every((dim, i) => dim === 1 || dim === shape[i]))
    throw new RangeError(`run: attention: bias or mask, expected sizes that repeat to [${shape}], got [${dims}].`);
  return four as unknown as ScoreDims;
}

/** One bias of several. */
function sum(to: Lowering, [first, ...others]: readonly Slot[]): Slot | undefined {
  let total = first;
  for (const other of others) total = emitFunction(to, 'Add', [total!, other]);
  return total;
}

/** One elementwise function of slots that repeat to one shape. */
export function emitFunction(to: Lowering, fn: FunctionId, slots: readonly Slot[]): Slot {
  const op: Elementwise = { nodes: [{ fn, args: slots.map((_, i) => i) }], outputs: [slots.length] };
  return emitOp(to, elementwise, op, slots, [])[0]!;
}

/** A mask as a bias. */
export function maskBias(to: Lowering, mask: Slot): Slot {
  const expression = new Expression(1);
  const [seen, unseen] = [0, Number.NEGATIVE_INFINITY].map((value) => expression.number(value));
  expression.add('Where', [0, seen!, unseen!]);
  return emitOp(to, elementwise, expression.op, [mask], [])[0]!;
}

/** Heads as a value of their own, [batch, heads, rows, size]: what `present` is. */
export function emitHeadsFirst(
  to: Lowering,
  { slot, begin, strides }: Heads,
  dims: readonly number[],
  name: string,
): void {
  emitCopy(to, slot, { offset: begin, strides: [strides.batch, strides.head, strides.row, 1] }, dims, name);
}

/** Elements of a slot, from one on, under other dimensions. */
export function copyOf(
  to: Lowering,
  slot: Slot,
  begin: number,
  dims: readonly number[],
  strides: readonly number[] = stridesOf(dims),
): Slot {
  return emitCopy(to, slot, { offset: begin, strides }, dims, '');
}

function emitCopy(
  to: Lowering,
  slot: Slot,
  from: { readonly offset: number; readonly strides: readonly number[] },
  dims: readonly number[],
  name: string,
): Slot {
  const part = { dims, from: { operand: 0, ...from }, to: { operand: 0, offset: 0, strides: stridesOf(dims) } };
  return emitOp(to, copy, { outputs: [dims], parts: [part] }, [slot], [name])[0]!;
}
