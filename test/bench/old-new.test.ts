import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { measureOldNew } from './old-new.ts';
import { oldNewReport, writeOldNew } from './old-new-report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('npm run bench -- kernels --old DIR', () => {
  it('compares this build with itself: the same kernels, the same bits', async () => {
    const lines: string[] = [];
    const cases = ['64²', 'M=2 '];
    const found = await measureOldNew({ old: root, rounds: 3, cases, log: (line) => lines.push(line) });
    const measured = found.cases.map(({ id }) => id);
    expect(measured.length + lines.filter((line) => !/ best /.test(line)).length).toBe(9); // three formats, three plans
    expect(measured).toContain('int4 i16 P=2 M=2 64²');
    for (const { kernels, sameBits, ratio, old, new: now } of found.cases) {
      expect(kernels.old).toBe(kernels.new);
      expect(sameBits).toBe(true);
      expect(Math.min(ratio, old.median, now.median)).toBeGreaterThan(0);
    }
    expect(found.calls.map(({ format, size }) => `${format} ${size}`)).toEqual([
      'int8 64',
      'int8 896',
      'int4 64',
      'int4 896',
    ]);
    const folder = mkdtempSync(join(tmpdir(), 'msd-old-new-'));
    const machine = { cpu: 'a cpu', cores: 2, memoryGiB: 8, os: 'an os' };
    const head = { date: '2026-01-02', machine, load: 0, versions: { node: '24', v8: '13' }, rounds: 3 };
    const report = writeOldNew(folder, { ...head, ...found });
    expect(report).toContain('The same bits in all.');
    expect(report).toContain('| int4, 64² |');
    expect(readFileSync(join(folder, 'kernels-old-new.md'), 'utf8')).toBe(`${report}\n`);
    const [first] = found.cases;
    const worse = { ...first!, K: 896, ratio: 0.5, bestRatio: 0.6, sameBits: false };
    const other = oldNewReport({ ...head, ...found, cases: [worse] });
    expect(other).toMatch(/Below 0\.98: .* \(0\.500, best 0\.600\)\.\nOther bits: /);
    rmSync(folder, { recursive: true });
  });
});
