/** Loops as frames: Enter, Merge, Switch, NextIteration and Exit for each variable, Enter alone for what stays the same. */
import { boolAttr, type NodeDef, parseInput, type Scope, stringAttr } from '../topology.ts';
import { finderIn, type Inner, type Loop, type LoopEnd } from './loop.ts';

interface FrameVariable {
  readonly enter: NodeDef;
  readonly merge: NodeDef;
  readonly turn: NodeDef;
  readonly next: NodeDef;
}

const behind = (scope: Scope, input: string | undefined): NodeDef | undefined =>
  input === undefined ? undefined : scope.nodes.get(parseInput(input).node);

/** Enter, Merge, Switch and NextIteration of the variable that a Switch takes apart. */
export function frameVariable(scope: Scope, turn: NodeDef): FrameVariable | undefined {
  const merge = turn.op === 'Switch' ? behind(scope, turn.input?.[0]) : undefined;
  if (merge?.op !== 'Merge' || merge.input?.length !== 2) return undefined;
  const both = merge.input.map((input) => behind(scope, input));
  const enter = both.find((node) => node?.op === 'Enter');
  const next = both.find((node) => node?.op === 'NextIteration');
  return enter?.input?.length && next?.input?.length ? { enter, merge, turn, next } : undefined;
}

export function framesOf(scope: Scope): Loop[] {
  return [...scope.nodes.values()].filter(({ op }) => op === 'LoopCond').flatMap((cond) => loopOf(cond, scope) ?? []);
}

function loopOf(cond: NodeDef, scope: Scope): Loop | undefined {
  const turns = (scope.consumers.get(cond.name) ?? []).filter(
    ({ op, input = [] }) => op === 'Switch' && parseInput(input[1] ?? '').node === cond.name,
  );
  const found = turns.map((turn) => frameVariable(scope, turn));
  if (!found.length || found.some((one) => !one)) return undefined;
  const variables = found as FrameVariable[];
  const frame = stringAttr(variables[0]!.enter, 'frame_name');
  const isOurs = (node: NodeDef) => node.op === 'Enter' && stringAttr(node, 'frame_name') === frame;
  const at = new Map<NodeDef, number>(
    variables.flatMap(({ merge, turn }, i) => [
      [merge, i],
      [turn, i],
    ]),
  );
  const find = finderIn(scope, (name, node): Inner | undefined => {
    if (!node) return undefined;
    const variable = at.get(node);
    if (variable !== undefined) return { kind: 'variable', index: variable };
    if (node.op === 'Const') return { kind: 'outer', input: name };
    const own = isOurs(node) && boolAttr(node, 'is_constant') ? node.input?.[0] : undefined;
    return own === undefined ? undefined : { kind: 'outer', input: own };
  });
  const ends = variables.flatMap(({ turn }, variable): LoopEnd[] =>
    (scope.consumers.get(turn.name) ?? []).filter(({ op }) => op === 'Exit').map((exit) => ({ variable, exit })),
  );
  const inside = membersOf(
    scope,
    variables.map(({ merge }) => merge),
  );
  return {
    name: cond.name,
    op: cond.op,
    outer: scope,
    inner: scope,
    variables: variables.map(({ enter, next }) => ({ initial: enter.input![0]!, next: next.input![0]! })),
    find,
    condition: { scope, input: cond.input?.[0] ?? '', find },
    ends,
    has: (node) => inside.has(node) || isOurs(node),
  };
}

/** All that follows, up to where the loop ends. */
export function membersOf(scope: Scope, from: readonly NodeDef[]): Set<NodeDef> {
  const seen = new Set<NodeDef>();
  const pending = [...from];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.op !== 'Exit') pending.push(...(scope.consumers.get(node.name) ?? []));
  }
  return seen;
}
