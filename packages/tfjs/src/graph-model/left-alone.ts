/** Nodes with weights that stay tfjs's: each is in the report, with its bytes and why. */
import type { NodeReport } from '../report.ts';
import type { Constant, Constants } from '../weights/source.ts';
import { stockBytes } from './artifacts.ts';
import { passedOn, rootOf } from './recognise.ts';
import type { NodeDef, Scope } from './topology.ts';

/**
 * @param reports of the nodes that MSD looked at
 * @param scopes as they were
 * @param after the nodes of these scopes that are left, in their order; further scopes have changed nothing
 * @returns the reports, with bytes, and those of all other nodes that read floats
 */
export function withLeftAlone(
  reports: readonly NodeReport[],
  scopes: readonly Scope[],
  after: readonly (readonly NodeDef[])[],
  constants: Constants,
  packed: ReadonlyMap<string, unknown>,
): NodeReport[] {
  const known = new Map(reports.map((report, i) => [report.name, i]));
  const all = [...reports];
  for (const [i, scope] of scopes.entries()) {
    const left = after[i] ?? [...scope.nodes.values()];
    for (const node of left) {
      if (node.op === 'Const' || passedOn(scope, node) !== undefined || node.op.startsWith('Msd')) continue;
      const read = floatsOf(node, scope, constants, packed);
      const at = known.get(node.name);
      if (read.length === 0 || (at !== undefined && all[at]!.where === 'msd')) continue;
      const bytes = read.reduce((sum, constant) => sum + stockBytes(constant), 0);
      if (at !== undefined) all[at] = { ...all[at]!, bytes };
      else all.push({ name: node.name, op: node.op, where: 'tfjs', reason: reasonOf(node, read), bytes });
    }
  }
  return all;
}

/** Constants of floats that a node reads; single numbers are no weights. */
function floatsOf(node: NodeDef, scope: Scope, constants: Constants, packed: ReadonlyMap<string, unknown>): Constant[] {
  const names = new Set((node.input ?? []).filter((input) => !input.startsWith('^')).map((own) => rootOf(scope, own)));
  return [...names].flatMap((name) => {
    const constant = name === undefined || packed.has(name) ? undefined : constants.get(name);
    return constant?.dtype === 'float32' && stockBytes(constant) > 4 ? [constant] : [];
  });
}

const isVector = ({ shape }: Constant): boolean => shape.filter((size) => size > 1).length <= 1;

const reasonOf = ({ op }: NodeDef, read: readonly Constant[]): string =>
  read.every(isVector) ? 'a vector, no matrix' : `MSD has no kernel for ${op}`;
