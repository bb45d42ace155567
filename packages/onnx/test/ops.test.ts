import { describe, expect, it } from 'vitest';
import { FETCHED, loadOperators, namesOf } from '../src/execute/families.ts';
import { addFamily, type Family, OPERATORS, PATTERNS } from '../src/ops/index.ts';
import { knownCounts, wrongKind } from '../src/ops/schema.ts';
import type { NodeRecord } from '../src/read/node.ts';
import { CHAINS, documented, opsDocument } from './ops-document.ts';
import { LIMITS } from './ops-limits.ts';

const base = new Set([...OPERATORS.keys(), ...PATTERNS.keys()]);
/** Before any family came. */
const baseOperators = [...OPERATORS.values()];
const baseCounts = knownCounts();
const hasKind = (name: string): boolean => wrongKind(withAttribute(name), [name]) !== undefined;
const withAttribute = (name: string): NodeRecord =>
  ({ attributes: new Map([[name, { kind: 'other' }]]) }) as unknown as NodeRecord;
const baseKinds = baseOperators.flatMap(({ attributes = [] }) => attributes).filter((name) => !hasKind(name));

/** What a family brings beside those that it is built on. */
const ownNames = ({ operators, patterns = {} }: Family): Set<string> =>
  new Set([...operators.map(({ name }) => name), ...Object.keys(patterns)]);

describe('the table of operators', () => {
  it.each(Object.entries(FETCHED))('names what brings the family "%s"', async (_, entry) => {
    const { family } = await entry.load();
    expect(namesOf(entry).sort()).toEqual([...ownNames(family)].sort());
    expect(family.operators.filter(({ name }) => base.has(name))).toEqual([]);
  });

  it('has schemas of all operators that come without the family of graphs', async () => {
    expect(baseOperators.filter(({ name }) => !baseCounts.has(name))).toEqual([]);
    expect(baseKinds).toEqual([]);
    for (const { load } of [FETCHED.decoder, FETCHED.experts, FETCHED.integers]) {
      const { family } = await load();
      addFamily(family);
      expect(family.operators.filter(({ name }) => !knownCounts().has(name))).toEqual([]);
      const attributes = family.operators.flatMap((operator) => operator.attributes ?? []);
      expect(attributes.filter((name) => !hasKind(name) && name !== 'quant_type')).toEqual([]);
    }
  });

  it('has the operators whose limits are written down', () => {
    expect([...LIMITS.keys()].filter((name) => !documented().includes(name))).toEqual([]);
  });

  it('has every operator once', async () => {
    await loadOperators();
    const names = documented();
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
    expect([...OPERATORS.keys()].sort()).toEqual(names.sort());
    expect([...PATTERNS.keys()].sort()).toEqual(Object.keys(CHAINS).sort());
  });

  it('is what docs/ops.md says', async () => {
    await loadOperators();
    await expect(opsDocument()).toMatchFileSnapshot('../../../docs/ops.md');
  });
});
