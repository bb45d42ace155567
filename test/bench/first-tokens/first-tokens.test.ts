import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { measureFirstTokens } from './index.ts';
import { firstTokensOptions } from './options.ts';
import { figuresOf } from './report.ts';

const out = mkdtempSync(join(tmpdir(), 'msd-first-tokens-test-'));
afterAll(() => rmSync(out, { recursive: true }));

describe('npm run bench -- first-tokens', () => {
  it('reads its options', () => {
    expect(firstTokensOptions({ out: 'there' })).toMatchObject({
      models: ['story', 'smollm2-135m'],
      places: ['node', 'chromium', 'chromium-not-isolated'],
      providers: ['msd'],
      prompt: 16,
      tokens: 150,
      rate: undefined,
    });
    expect(firstTokensOptions({ out, rate: '2.5' }).rate).toBe(2.5);
    expect(() => firstTokensOptions({ out, models: 'gpt' })).toThrow('--models expected some of story, qwen2.5-0.5b');
    expect(() => firstTokensOptions({ out, in: 'safari' })).toThrow('--in expected some of node, chromium');
  });

  it('tells first tokens from later ones', () => {
    const tokens = Array.from({ length: 50 }, (_, i) => (i < 30 ? 3 : 2));
    const figures = figuresOf({ create: 1, prompt: 2, promptAgain: 1, tokens, logits: [] });
    expect(figures).toMatchObject({ first: 3, steady: 2, ratio: 1.5, usualRatio: 1.5 });
  });

  it('measures both providers, and leaves JSON and Markdown', { timeout: 120_000 }, async () => {
    const flags = { out, models: 'small', layers: '1', in: 'node', providers: 'msd,wasm', tokens: '6', rounds: '1' };
    const report = await measureFirstTokens({ ...firstTokensOptions(flags), log: () => {} });
    expect(report).toMatch(
      /small-L1-H256, a prompt of 16, 6 tokens[\s\S]*\| node, MSD \|[\s\S]*\| node, onnxruntime-web \|/,
    );
    expect(readdirSync(out).sort()).toEqual(['first-tokens-small-L1-H256.json', 'first-tokens.md']);
    expect(readFileSync(join(out, 'first-tokens.md'), 'utf8')).toBe(report);
  });
});
