/** Loops as a While or StatelessWhile: body and condition are functions of all variables. */
import type { Scopes } from '../scopes.ts';
import type { FunctionDef, NodeDef, Scope } from '../topology.ts';
import { finderIn, type Inner, type Loop } from './loop.ts';

export function whilesOf(scopes: Scopes): Loop[] {
  return scopes.all.flatMap((outer) =>
    [...outer.nodes.values()].flatMap((node) =>
      /^(Stateless)?While$/.test(node.op) ? (loopOf(node, outer, scopes) ?? []) : [],
    ),
  );
}

function loopOf(node: NodeDef, outer: Scope, { bodies }: Scopes): Loop | undefined {
  const called = (attr: string) => bodies.find(({ body }) => body.signature.name === node.attr?.[attr]?.func?.name);
  const [body, cond] = [called('body'), called('cond')];
  const inputs = (node.input ?? []).filter((input) => !input.startsWith('^'));
  if (!body || !cond) return undefined;
  const results = (body.body.signature.outputArg ?? []).map(({ name }) => body.body.ret?.[name]);
  const [go] = Object.values(cond.body.ret ?? {});
  const counts = [body, cond].map((own) => own.body.signature.inputArg?.length);
  if (go === undefined || results.length !== inputs.length || counts.some((count) => count !== inputs.length))
    return undefined;
  if (results.some((name) => name === undefined)) return undefined;
  return {
    name: node.name,
    op: node.op,
    outer,
    inner: body.scope,
    variables: inputs.map((initial, i) => ({ initial, next: results[i]! })),
    find: finder(body.body, body.scope),
    condition: { scope: cond.scope, input: go, find: finder(cond.body, cond.scope) },
    ends: inputs.map((_, variable) => ({ variable, exit: undefined })),
    has: (own) => own === node,
  };
}

/** Arguments are variables. */
function finder({ signature: { inputArg = [] } }: FunctionDef, scope: Scope): (input: string) => Inner {
  const variables = new Map(inputArg.map(({ name }, i) => [name, i]));
  return finderIn(scope, (name) => {
    const index = variables.get(name);
    return index === undefined ? undefined : { kind: 'variable', index };
  });
}
