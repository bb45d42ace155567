/** Every attention of a model: the nodes that stand for them, and what the report says of those that are there and those that are not. */
import type { KvType } from '@msd/core';
import type { NodeReport } from '../../report.ts';
import type { Constants } from '../../weights/source.ts';
import type { NodeDef, Scope } from '../topology.ts';
import { type FoundAttention, findAttention } from './find.ts';
import { ATTENTION_OP, attentionAttr } from './steps.ts';

export interface TakenAttention {
  /** By the scope and the name of the node whose place each takes. */
  readonly nodes: ReadonlyMap<Scope, readonly NodeDef[]>;
  readonly reports: readonly NodeReport[];
  /** Nodes that are part of one. */
  readonly parts: ReadonlySet<NodeDef>;
  /** Products of scores that stay, and why. */
  readonly reasons: ReadonlyMap<NodeDef, string>;
}

export function takeAttention(scopes: readonly Scope[], constants: Constants, type: KvType | false): TakenAttention {
  const nodes = new Map<Scope, NodeDef[]>();
  const reports: NodeReport[] = [];
  const parts = new Set<NodeDef>();
  const reasons = new Map<NodeDef, string>();
  for (const scope of type ? scopes : []) {
    const { found, refused } = findAttention({ scope, constants });
    nodes.set(
      scope,
      found.map((attention) => nodeOf(attention, type as KvType)),
    );
    for (const attention of found) {
      reports.push(reportOf(attention));
      for (const node of attention.nodes) parts.add(node);
    }
    for (const { node, reason } of refused) reasons.set(node, reason);
  }
  return { nodes, reports, parts, reasons };
}

function nodeOf({ nodes, inputs, attrs }: FoundAttention, type: KvType): NodeDef {
  const control = nodes.flatMap(({ input = [] }) => input.filter((name) => name.startsWith('^')));
  const attr = attentionAttr({ ...attrs, type });
  return { name: nodes.at(-1)!.name, op: ATTENTION_OP, input: [...inputs, ...new Set(control)], attr };
}

function reportOf({ nodes }: FoundAttention): NodeReport {
  const [{ name, op }, ...others] = nodes as [NodeDef, ...NodeDef[]];
  return { name, op, where: 'msd', msdOp: ATTENTION_OP, fused: others.map((node) => node.op) };
}
