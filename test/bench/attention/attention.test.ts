import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ATTENTION_CASES, caseName } from './case.ts';
import { measureAttentions } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'msd-attention-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('npm run bench -- attention', () => {
  it('names its cases apart', () => {
    expect(new Set(ATTENTION_CASES.map(caseName)).size).toBe(ATTENTION_CASES.length);
  });

  it('checks and measures every stage, and leaves JSON and Markdown', { timeout: 120_000 }, async () => {
    const report = await measureAttentions({
      cases: ['d=64', 'M=7', 'rows=1 ', 'T=128 '],
      rounds: 2,
      clock: 'wall',
      out: folder,
      log: () => {},
    });
    expect(readdirSync(folder).sort()).toEqual(['attention.json', 'attention.md']);
    expect(readFileSync(join(folder, 'attention.md'), 'utf8')).toBe(`${report}\n`);
    const { results } = JSON.parse(readFileSync(join(folder, 'attention.json'), 'utf8'));
    expect(results.map(({ type }: { type: string }) => type)).toEqual(['int16', 'int8', 'float']);
    for (const { us, gmacs, softmax, queries } of results)
      for (const { samples } of [us.call, us.attend, gmacs.scores, gmacs.values, gmacs.gemm, softmax, queries])
        expect(samples).toHaveLength(2);
    expect(results[2].us.run.samples).toHaveLength(2);
  });
});
