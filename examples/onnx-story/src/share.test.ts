/** Links to results: what goes in comes out, and nothing else does. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeBrowser, readShareHash, type SharedResult, shareHash } from './share.ts';

const RESULT: SharedResult = {
  kind: 'shipped',
  name: '',
  dtype: 'q4',
  threads: 2,
  tokens: 200,
  prompt: 'Once upon a time',
  text: ' there was a “fox” \u{1F98A}.',
  written: 200,
  same: 200,
  figures: {
    stock: { rate: 336.4, firstMs: 20, startMs: 500, memory: 16.8e6, code: 14.3e6 },
    msd: { rate: 909, firstMs: 5, startMs: 80, memory: 2.2e6, code: 0.5e6 },
  },
  isLeft: false,
  browser: 'Chrome 156, 8 cores',
  date: '2026-11-29',
};

describe('a link to a result', () => {
  it('gives back what went in', () => {
    const hash = shareHash(RESULT);
    expect(hash).toMatch(/^#result=[\w-]+$/);
    expect(readShareHash(hash)).toEqual(RESULT);
  });

  it('shortens a long text, so that the link stays one', () => {
    const read = readShareHash(shareHash({ ...RESULT, text: 'word '.repeat(2000) }));
    expect(read!.text).toHaveLength(1201);
    expect(read!.text.endsWith('…')).toBe(true);
  });

  it.each([{ tokens: 1 }, { tokens: 1e12 }, { tokens: 2.5 }, { threads: 0 }, { threads: 1e9 }])(
    'is damaged where the page could not take it: %o',
    (wrong) => {
      expect(() => readShareHash(shareHash({ ...RESULT, ...wrong }))).toThrow('is damaged');
    },
  );

  it('is told from other hashes', () => {
    expect(readShareHash('')).toBeUndefined();
    expect(readShareHash('#top')).toBeUndefined();
  });

  it('is refused, with a sentence that says what to do, when it was cut or changed', () => {
    const hash = shareHash(RESULT);
    for (const damaged of [
      hash.slice(0, -9),
      '#result=',
      '#result=%%',
      `#result=${btoa('null')}`,
      `#result=${btoa('{}')}`,
    ])
      expect(() => readShareHash(damaged), damaged).toThrow(/damaged: .*Ask for it again/);
  });

  it('yields a whole result or an error, whatever it holds', () => {
    const json = fc.oneof(
      fc.json(),
      fc
        .record({ key: fc.constantFrom(...Object.keys(RESULT)), value: fc.jsonValue() })
        .map(({ key, value }) => JSON.stringify({ ...RESULT, [key]: value })),
    );
    fc.assert(
      fc.property(json, (text) => {
        const hash = `#result=${Buffer.from(text).toString('base64url')}`;
        try {
          const read = readShareHash(hash)!;
          expect(Object.keys(read).sort()).toEqual(Object.keys(RESULT).sort());
          expect(Object.values(read.figures.msd).every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
        } catch (error) {
          expect((error as Error).message).toMatch(/damaged/);
        }
      }),
    );
  });
});

it('names the browser', () => {
  expect(describeBrowser('Mozilla/5.0 … Chrome/156.0.0.0 Safari/537.36', 8)).toBe('Chrome 156, 8 cores');
  expect(describeBrowser('Mozilla/5.0 … Chrome/156.0.0.0 Safari/537.36 Edg/156.0', 4)).toBe('Edge 156, 4 cores');
  expect(describeBrowser('Mozilla/5.0 … Version/19.1 Mobile/15E148 Safari/604.1', 6)).toBe('Safari 19, 6 cores');
  expect(describeBrowser('Mozilla/5.0 … Gecko/20100101 Firefox/150.0', 1)).toBe('Firefox 150, 1 core');
  expect(describeBrowser('', 2)).toBe('unknown browser, 2 cores');
});
