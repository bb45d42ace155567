/** Gates of the cells of a graph become one node each. */
import type { NodeReport } from '../../report.ts';
import type { Constants } from '../../weights/source.ts';
import { asString, type NodeDef, type Scope } from '../topology.ts';
import { findCell } from './find.ts';
import { GATES_OP } from './run.ts';

export interface TakenCells {
  readonly nodes: ReadonlyMap<Scope, readonly NodeDef[]>;
  readonly reports: readonly NodeReport[];
}

export function takeCells(scopes: readonly Scope[], constants: Constants): TakenCells {
  const nodes = new Map<Scope, NodeDef[]>();
  const reports: NodeReport[] = [];
  for (const scope of scopes) {
    const gone = new Set<NodeDef>();
    for (const split of scope.nodes.values()) {
      const cell = split.op === 'Split' ? findCell(split, scope, constants) : undefined;
      // What a control input waits for has to stay.
      if (!cell || cell.inner.some((node) => gone.has(node) || isWaitedFor(node, scope))) continue;
      for (const node of cell.inner) gone.add(node);
      const { op, h, c, inputs, inner } = cell;
      const control = [...inner, h].flatMap(({ input = [] }) => input.filter((own) => own.startsWith('^')));
      const own = nodes.get(scope) ?? [];
      nodes.set(scope, own);
      own.push({
        name: h.name,
        op: GATES_OP,
        input: [...inputs, ...new Set(control)],
        attr: { gates: asString(JSON.stringify(op)) },
      });
      if (c) own.push({ name: c.name, op: 'Identity', input: [`${h.name}:1`], attr: { T: { type: 'DT_FLOAT' } } });
      reports.push({
        name: split.name,
        op: split.op,
        where: 'msd',
        msdOp: GATES_OP,
        fused: inner.slice(1).map((one) => one.op),
      });
    }
  }
  return { nodes, reports };
}

const isWaitedFor = ({ name }: NodeDef, scope: Scope): boolean =>
  (scope.consumers.get(name) ?? []).some(({ input = [] }) => input.includes(`^${name}`));
