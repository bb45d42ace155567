/** docs/paper.md shows what is recorded, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { simulateAttention } from '../../packages/cli/src/paper/attention.ts';
import { CLAIM_SIZE } from '../../packages/cli/src/paper/claims.ts';
import { picturesOf } from '../../packages/cli/src/paper/pictures.ts';
import { CLI_README, PAPER_PAGE, PAPER_PICTURES, paperExample, paperPage, readPaper, typedFigures } from './paper.ts';

describe('docs/paper.md', () => {
  const report = readPaper();
  const page = readFileSync(PAPER_PAGE, 'utf8');

  it('has the figures and tables of its record', () => {
    expect(paperPage(page, report)).toBe(page);
    expect(page.match(/<!-- end -->/g)!.length).toBeGreaterThan(20);
    expect(page).not.toMatch(/--><!-- end -->/);
    // A line that begins with a comment ends its paragraph in Markdown.
    expect(page).not.toMatch(/^ *<!-- [^>]* -->[^\n]/m);
  });

  it('has no figure that was typed: all but what is given stands between markers', () => {
    expect(typedFigures(page)).toEqual([]);
    const typed =
      'It loses 3.29 times as much on 16 bits, or <!-- bits / uniform / bf16 -->9.2<!-- end -->, in 1 of 7.';
    expect(typedFigures(typed)).toEqual(['3.29', '7']);
  });

  it("and so has @msd/cli's README its example", () => {
    const readme = readFileSync(CLI_README, 'utf8');
    expect(paperExample(readme, report)).toBe(readme);
    expect(readme).toContain(report.claims[0]!.says);
  });

  it('has its pictures', () => {
    const pictures = picturesOf(report);
    expect(readdirSync(PAPER_PICTURES).sort()).toEqual(Object.keys(pictures).sort());
    for (const [name, svg] of Object.entries(pictures)) {
      expect(readFileSync(new URL(name, PAPER_PICTURES), 'utf8'), name).toBe(svg);
      expect(page).toContain(`(paper/${name})`);
    }
  });

  it('and docs/attention.md differ for kbig by the seeds', () => {
    const page = readFileSync(new URL('../../docs/attention.md', import.meta.url), 'utf8');
    const text = (value: number): string => `${(1e4 * value).toFixed(1)}·10⁻⁴`;
    const { value } = report.summaries.find(
      ({ distribution, variant, size }) =>
        distribution === 'kbig' && variant === 'int8 x2, pages' && size === CLAIM_SIZE,
    )!;
    expect(page).toContain(`whose mean is the ${text(value)}`);
    // Of the seed that the kernels are measured with.
    const one = simulateAttention('kbig', CLAIM_SIZE, 1).find(({ variant }) => variant === 'int8 x2, pages')!;
    expect(page).toContain(`${text(one.value)} with the seed of this table`);
  });

  it('refuses figures that are not recorded', () => {
    for (const key of ['matmul / gaussian / bf17', 'claim nothing / at all', 'nonsense'])
      expect(() => paperPage(`<!-- ${key} -->1<!-- end -->`, report)).toThrow(`nothing is recorded for "${key}"`);
    const without = { ...report, summaries: [] };
    expect(() => paperPage('<!-- products table -->\n<!-- end -->', without)).toThrow('matmul has no variant bf16');
  });
});
