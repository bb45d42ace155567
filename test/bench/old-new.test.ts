import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { measureOldNew } from './old-new.ts';
import { joined } from './old-new-nodes.ts';
import { oldNewReport, writeOldNew } from './old-new-report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

const run = { date: '2026-01-02', machine: { cpu: 'a cpu', cores: 2, memoryGiB: 8, os: 'an os' }, load: 0, rounds: 3 };

describe('npm run bench -- kernels --old DIR', () => {
  it('compares this build with itself: the same kernels, the same bits', async () => {
    const lines: string[] = [];
    const cases = ['64²', 'M=2 '];
    const found = await measureOldNew({ old: root, rounds: 3, cases, log: (line) => lines.push(line) });
    const measured = found.cases.map(({ id }) => id);
    const said = lines.filter((line) => line.includes(' M=2 '));
    expect(said.length).toBe(15); // five kinds of weights, three plans
    expect(measured).toContain('int4/32 i16 P=2 M=2 64²');
    for (const { kernels, sameBits, ratio, old, new: now } of found.cases) {
      expect(kernels.old).toBe(kernels.new);
      expect(kernels.old).toMatch(/^gemm_/);
      expect(sameBits).toBe(true);
      expect(Math.min(ratio, old.median, now.median)).toBeGreaterThan(0);
    }
    expect(found.calls.map(({ format, size }) => `${format} ${size}`)).toEqual([
      'int4 64',
      'int4 256',
      'int4 896',
      'int8 64',
      'int8 256',
      'int8 896',
    ]);
    for (const { gemm, above } of found.calls) {
      expect(gemm).toBeGreaterThan(0);
      expect(Object.values(above).every(Number.isFinite)).toBe(true);
    }
    const folder = mkdtempSync(join(tmpdir(), 'msd-old-new-'));
    const reply = { node: '24', v8: '13', ...found };
    const report = writeOldNew(folder, { ...run, processes: 2, clock: 'cpu', nodes: [joined([reply, reply])] });
    expect(report).toContain('Medians of 2 processes, kernels bare and in turns, one thread, 3 rounds, cpu clock.');
    expect(report).toContain('## Node 24 (V8 13)');
    expect(report).toContain('The same bits in all.');
    expect(report).toContain('| int4, 64² |');
    expect(readFileSync(join(folder, 'kernels-old-new.md'), 'utf8')).toBe(`${report}\n`);
    const [first] = found.cases;
    const worse = { ...first!, K: 896, ratio: 0.5, bestRatio: 0.6, sameBits: false };
    const nodes = [joined([{ ...reply, cases: [worse] }])];
    const other = oldNewReport({ ...run, processes: 1, clock: 'wall', nodes });
    expect(other).toMatch(/Below 0\.98: .* \(0\.500, best 0\.600\)\.\nOther bits: /);
    rmSync(folder, { recursive: true });
  });

  it('joins processes by their medians', () => {
    const summary = { median: 1, spread: 0, samples: [1] };
    const head = { id: 'a', weights: 'int8', carrier: 'i16', components: 2, M: 1, K: 64, N: 64 } as const;
    const kernels = { old: 'gemm_a', new: 'gemm_b' };
    const replies = [0.9, 1, 1.3].map((ratio, i) => ({
      node: '20',
      v8: '11',
      calls: [],
      cases: [{ ...head, kernels, old: summary, new: summary, ratio, bestRatio: ratio, sameBits: i !== 1 }],
    }));
    const { cases } = joined(replies);
    expect(cases).toMatchObject([{ ratio: 1, bestRatio: 1, ratios: [0.9, 1, 1.3], sameBits: false }]);
  });
});
