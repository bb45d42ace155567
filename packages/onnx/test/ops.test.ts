import { describe, expect, it } from 'vitest';
import { FETCHED, loadOperators, namesOf } from '../src/execute/families.ts';
import { type Family, OPERATORS, PATTERNS } from '../src/ops/index.ts';
import { CHAINS, documented, opsDocument } from './ops-document.ts';

const base = new Set([...OPERATORS.keys(), ...PATTERNS.keys()]);

/** What a family brings beside those that it is built on. */
const ownNames = ({ operators, patterns = {} }: Family): Set<string> =>
  new Set([...operators.map(({ name }) => name), ...Object.keys(patterns)]);

describe('the table of operators', () => {
  it.each(Object.entries(FETCHED))('names what brings the family "%s"', async (_, entry) => {
    const { family } = await entry.load();
    expect(namesOf(entry).sort()).toEqual([...ownNames(family)].sort());
    expect(family.operators.filter(({ name }) => base.has(name))).toEqual([]);
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
