/**
 * What an attention of a graph consists of, as plain data in the attribute of its node: how the operands lie, and what happens
 * to the scores, in the graph's order. Inputs of the node: q, k, v, then one of every step that has one.
 */
import type { KvType } from '@msd/core';
import type { Layout } from '../../attention/view.ts';
import { ModelFormatError } from '../../errors.ts';
import { type AttrValue, asString, type NodeDef, stringAttr } from '../topology.ts';

export type ScoreStep =
  | { readonly kind: 'scale'; readonly by: number }
  | { readonly kind: 'tanh' }
  /** Input: added to the scores. */
  | { readonly kind: 'add' }
  /** Input: a condition. Scores become `value` where it is `where`. */
  | { readonly kind: 'fill'; readonly value: number; readonly where: boolean }
  /** Input: a shape. Rows (the last dimension) stay what they are. */
  | { readonly kind: 'reshape' }
  /** To [rows, size of `axis`]. */
  | { readonly kind: 'flatten'; readonly axis: number }
  /** Back to the shape before that. */
  | { readonly kind: 'unflatten' };

/** Are scores scaled, then perhaps squashed by a tanh and scaled again, and only then masked? */
export function isOrdered(steps: readonly ScoreStep[]): boolean {
  const order = steps.map(({ kind }) =>
    kind === 'scale' ? 's' : kind === 'tanh' ? 't' : kind === 'add' || kind === 'fill' ? 'm' : '',
  );
  return /^s*(ts*)?m*$/.test(order.join(''));
}

export interface AttentionAttrs {
  readonly q: Layout;
  readonly k: Layout;
  readonly v: Layout;
  /** Axis j of the result is axis `out[j]` of [lead…, rows, channels]. */
  readonly out: readonly number[] | undefined;
  /** Between the product and the softmax. */
  readonly before: readonly ScoreStep[];
  /** Between the softmax and the second product. */
  readonly after: readonly ScoreStep[];
  /** How keys and values are stored meanwhile. */
  readonly type: KvType;
}

export const ATTENTION_OP = 'MsdAttention';

export const attentionAttr = (attrs: AttentionAttrs): Readonly<Record<string, AttrValue>> => ({
  attention: asString(JSON.stringify(attrs)),
});

/** @throws {@link ModelFormatError} if the attribute is none */
export function readAttention(node: NodeDef): AttentionAttrs {
  try {
    const attrs = JSON.parse(stringAttr(node, 'attention') ?? 'null') as AttentionAttrs;
    if (Array.isArray(attrs.before) && Array.isArray(attrs.after)) return attrs;
  } catch {
    // no JSON: as below
  }
  throw new ModelFormatError(`${node.op} ${node.name}: attribute 'attention', expected what MSD writes.`);
}
