/**
 * An attention without a cache, in parts: keys and values live in pages of 64 keys, which for a batch of short sentences are many times
 * what they hold. Part by part they take little memory, and stay in the processor's cache. Heads do not know of each other, so the
 * bits are those of the whole.
 */
import type { Arena, ArenaHandle, AttentionOp, HeadStrides, ScoreDims } from '@msd/core';

/** Places of q, k, v, sinks, bias, mask, out. */
export type AttentionOperands = readonly (ArenaHandle | undefined)[];

export interface Slice {
  readonly op: AttentionOp;
  readonly operands: AttentionOperands;
}

/** Pages take so many bytes at once, or those of one head. */
const AT_ONCE = 2 ** 20;

/** @param headBytes of the pages of one KV head of one sequence */
export function slicesOf(op: AttentionOp, operands: AttentionOperands, headBytes: number, arena: Arena): Slice[] {
  const { batch, kvHeads } = op;
  const most = Math.max(1, Math.floor(AT_ONCE / Math.max(1, headBytes)));
  if (batch * kvHeads <= most) return [{ op, operands }];
  const headSteps = steps(kvHeads, most);
  // Heads are cut only where those of one sequence are too many.
  const batchSteps = steps(batch, headSteps.length > 1 ? 1 : Math.floor(most / kvHeads));
  return batchSteps.flatMap((b) => headSteps.map((h) => sliceOf(op, operands, b, h, arena)));
}

interface Step {
  readonly begin: number;
  readonly count: number;
}

/** Ranges of at most so many, as even as can be: few forms of calls. */
function steps(all: number, most: number): Step[] {
  const count = Math.ceil(all / Math.ceil(all / most));
  return Array.from({ length: Math.ceil(all / count) }, (_, i) => ({
    begin: i * count,
    count: Math.min(count, all - i * count),
  }));
}

function sliceOf(op: AttentionOp, operands: AttentionOperands, b: Step, h: Step, arena: Arena): Slice {
  const groups = op.heads / op.kvHeads;
  const queries = { begin: h.begin * groups, count: h.count * groups };
  const at = (strides: HeadStrides | undefined, { begin }: Step) =>
    strides ? 4 * (b.begin * strides.batch + begin * strides.head) : 0;
  const scores = (dims: ScoreDims | undefined) => dims && scoresOf(dims, b, queries);
  const [bias, mask] = [scores(op.bias), scores(op.mask)];
  const begins = [at(op.q, queries), at(op.k, h), at(op.v, h), 4 * queries.begin, 4 * (bias?.at ?? 0), mask?.at ?? 0];
  begins.push(at(op.out, queries));
  return {
    op: { ...op, batch: b.count, heads: queries.count, kvHeads: h.count, bias: bias?.dims, mask: mask?.dims },
    operands: operands.map((place, i) => place && arena.part(place, begins[i]!, place.byteLength - begins[i]!)),
  };
}

/** Of a bias or mask: where its part begins, in elements, and its dimensions. */
function scoresOf([batch, heads, rows, keys]: ScoreDims, b: Step, h: Step): { at: number; dims: ScoreDims } {
  const [sequence, head] = [batch > 1 ? b.begin : 0, heads > 1 ? h.begin : 0];
  return {
    at: (sequence * heads + head) * rows * keys,
    dims: [Math.min(batch, b.count), Math.min(heads, h.count), rows, keys],
  };
}
