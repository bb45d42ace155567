import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { askedAgain, FORECAST_CASES, measureForecasts, recordedRun } from './index.ts';
import { THEORY_PAGE, theoryPage } from './page.ts';
import { recordedForecasts } from './recorded.ts';
import { forecastReport } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'msd-forecast-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
const results = fileURLToPath(new URL('../results', import.meta.url));

describe('npm run bench -- forecast', () => {
  it('names its cases apart: every layer shape, attention at 128 … 4096', () => {
    const ids = FORECAST_CASES.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const part of ['896×4864', '4096²', 'M=128 ', 'T=128', 'T=4096']) expect(ids.join(' ; ')).toContain(part);
  });

  it('checks and measures, and leaves JSON and Markdown', { timeout: 120_000 }, async () => {
    const lines: string[] = [];
    const report = await measureForecasts({
      cases: ['M=1 ', 'int8'],
      rounds: 2,
      out: folder,
      log: (message) => lines.push(message),
    });
    expect(readdirSync(folder).sort()).toEqual(['forecast.json', 'forecast.md']);
    expect(readFileSync(join(folder, 'forecast.md'), 'utf8')).toBe(`${report}\n`);
    const run = JSON.parse(readFileSync(join(folder, 'forecast.json'), 'utf8'));
    expect(forecastReport(run)).toBe(report);
    expect(lines).toHaveLength(run.results.length);
    expect(new Set(run.results.map(({ kind }: { kind: string }) => kind))).toEqual(new Set(['product', 'attention']));
    for (const { time, ratio, measured, expected } of run.results) {
      expect(time.samples.length).toBeGreaterThanOrEqual(4);
      expect(time.samples.length % 2).toBe(0);
      expect(ratio).toBeCloseTo(expected.microseconds / measured, 12);
    }
    expect(report).toContain('within 25 %');
  });

  it('has its figures on docs/theory.md, and they are what the models of today say', () => {
    const { run } = recordedRun();
    const page = readFileSync(THEORY_PAGE, 'utf8');
    expect(theoryPage(page, run)).toBe(page);
    expect(page.match(/<!-- forecast: /g)!.length).toBeGreaterThanOrEqual(5);
    expect(() => theoryPage('<!-- forecast: nonsense -->1<!-- end -->', run)).toThrow(
      'nothing is recorded for "nonsense"',
    );
    const again = askedAgain(run);
    for (const [i, { id, ratio }] of run.results.entries()) expect(again.results[i]!.ratio, id).toBeCloseTo(ratio, 9);
  });

  it('is within 25 % of every recorded run of an idle machine', () => {
    const idle = recordedForecasts(results).filter(({ load }) => load < 1.5);
    expect(idle.length).toBeGreaterThan(100);
    for (const { run, id, ratio } of idle) {
      expect(ratio, `${run} ${id}`).toBeGreaterThan(0.75);
      expect(ratio, `${run} ${id}`).toBeLessThan(1.25);
    }
    expect(recordedForecasts(join(results, 'nowhere'))).toEqual([]);
  });
});
