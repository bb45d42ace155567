/**
 * All lists of nodes of a model, and what is handed from one to the other: loops and branches get constants as arguments, which
 * products in their bodies read.
 */
import { rootOf } from './recognise.ts';
import { type FunctionDef, type NodeDef, parseInput, type Scope, scopeOf, type Topology } from './topology.ts';

export interface Scopes {
  readonly main: Scope;
  readonly bodies: readonly { readonly body: FunctionDef; readonly scope: Scope }[];
  readonly others: readonly Scope[];
  readonly all: readonly Scope[];
}

/** @param outputs of the main graph; `undefined`: what nobody reads */
export function scopesOf(topology: Topology, outputs: readonly string[] | undefined, initializer?: Topology): Scopes {
  const main = scopeOf(topology.node, outputs, 'graph');
  const bodies = (topology.library?.function ?? []).map((body) => ({
    body,
    scope: scopeOf(body.nodeDef ?? [], Object.values(body.ret ?? {}), `function ${body.signature.name}`),
  }));
  const others = initializer?.node ? [scopeOf(initializer.node, [], 'initializer')] : [];
  const scopes = { main, bodies, others, all: [main, ...bodies.map(({ scope }) => scope), ...others] };
  findGiven(scopes);
  return scopes;
}

/** An argument of a call, and where the functions that get it have it. */
export interface Handed {
  readonly index: number;
  readonly inside: readonly { readonly scope: Scope; readonly name: string }[];
}

/** Which functions a node runs on its inputs, and how many inputs come before their arguments. */
function callOf(node: NodeDef): { readonly names: readonly (string | undefined)[]; readonly skip: number } | undefined {
  const named = (...attrs: string[]) => attrs.map((attr) => node.attr?.[attr]?.func?.name);
  if (/^(Stateless)?While$/.test(node.op)) return { names: named('body', 'cond'), skip: 0 };
  if (/^(Stateless)?If$/.test(node.op)) return { names: named('then_branch', 'else_branch'), skip: 1 };
  return undefined;
}

/** Arguments that go through unchanged: a loop hands them back as they are. */
export function handedBy(node: NodeDef, { bodies }: Pick<Scopes, 'bodies'>): Handed[] {
  const call = callOf(node);
  const called = call?.names.map((name) => bodies.find(({ body }) => body.signature.name === name));
  if (!call || !called || called.some((body) => !body)) return [];
  const count = (node.input ?? []).filter((input) => !input.startsWith('^')).length - call.skip;
  const isLoop = call.skip === 0;
  return Array.from({ length: Math.max(0, count) }, (_, i) => i).flatMap((i): Handed[] => {
    const inside = called.map((own) => ({ scope: own!.scope, name: own!.body.signature.inputArg?.[i]?.name }));
    if (inside.some(({ name }) => name === undefined)) return [];
    const [{ body, scope }] = called as [NonNullable<(typeof called)[0]>];
    const returned = body.ret?.[body.signature.outputArg?.[i]?.name ?? ''] ?? '';
    if (isLoop && sourceOf(scope, returned) !== inside[0]!.name) return [];
    return [{ index: i + call.skip, inside: inside as Handed['inside'] }];
  });
}

/** Name behind identities. */
function sourceOf(scope: Scope, input: string): string {
  let { node: name } = parseInput(input);
  for (let depth = 0; depth < 32 && scope.nodes.get(name)?.op === 'Identity'; depth++)
    name = parseInput(scope.nodes.get(name)!.input?.[0] ?? '').node;
  return name;
}

function findGiven(scopes: Scopes): void {
  const refused = new Set<string>();
  const calls = scopes.all.flatMap((scope) => [...scope.nodes.values()].map((node) => ({ scope, node })));
  for (const { scope, node } of calls.filter(({ node: { op } }) => /(While|If)$/.test(op)))
    for (const { index, inside } of handedBy(node, scopes)) {
      const constant = rootOf(scope, (node.input ?? [])[index] ?? '');
      for (const { scope: own, name } of inside) {
        const key = `${own.where}/${name}`;
        const known = own.given.get(name);
        if (constant === undefined || refused.has(key) || (known !== undefined && known !== constant)) {
          refused.add(key); // called twice, with other values
          own.given.delete(name);
        } else own.given.set(name, constant);
      }
    }
}
