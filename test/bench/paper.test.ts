/** docs/paper.md shows what is recorded, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { picturesOf } from '../../packages/cli/src/paper/pictures.ts';
import { PAPER_PAGE, PAPER_PICTURES, paperPage, readPaper } from './paper.ts';

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

  it('has its pictures', () => {
    const pictures = picturesOf(report);
    expect(readdirSync(PAPER_PICTURES).sort()).toEqual(Object.keys(pictures).sort());
    for (const [name, svg] of Object.entries(pictures)) {
      expect(readFileSync(new URL(name, PAPER_PICTURES), 'utf8'), name).toBe(svg);
      expect(page).toContain(`(paper/${name})`);
    }
  });

  it('refuses figures that are not recorded', () => {
    for (const key of ['matmul / gaussian / bf17', 'claim nothing / at all', 'nonsense'])
      expect(() => paperPage(`<!-- ${key} -->1<!-- end -->`, report)).toThrow(`nothing is recorded for "${key}"`);
    const without = { ...report, summaries: [] };
    expect(() => paperPage('<!-- products table -->\n<!-- end -->', without)).toThrow('matmul has no variant bf16');
  });
});
