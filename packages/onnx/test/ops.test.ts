import { describe, expect, it } from 'vitest';
import { FAMILIES } from '../src/ops/index.ts';
import { opsDocument } from './ops-document.ts';

describe('the table of operators', () => {
  it('has every operator once', () => {
    const names = Object.values(FAMILIES).flatMap((operators) => operators.map(({ name }) => name));
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  it('is what docs/ops.md says', async () => {
    await expect(opsDocument()).toMatchFileSnapshot('../../../docs/ops.md');
  });
});
