import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBackend } from '@msd/core';
import { nnKernels, nnOps } from '@msd/core/nn';
import * as ort from 'onnxruntime-web';
import { afterAll, describe, expect, it } from 'vitest';
import { NN_ENTRIES } from './cases/index.ts';
import { familyCoverage, withoutCase } from './coverage.ts';
import { measureNnOps } from './index.ts';
import { measureNn } from './measure.ts';
import type { NnRun } from './report.ts';

const folder = mkdtempSync(join(tmpdir(), 'msd-nn-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('npm run bench -- nn', () => {
  it('has a case for every op, and names those that have none', () => {
    expect(withoutCase(nnOps, NN_ENTRIES)).toEqual([]);
    expect(withoutCase([{ ...nnOps[0]!, name: 'conv' }, nnOps[1]!], NN_ENTRIES)).toEqual(['conv']);
    const ran = new Set(['gather', 'norm_of_another_kind']);
    expect(familyCoverage(nnKernels, ran).filter((family) => family.ran > 0)).toEqual([
      { family: 'gather', ran: 1, all: 1 },
    ]);
  });

  it('names its cases apart', () => {
    const ids = NN_ENTRIES.map(({ spec, name }) => `${spec.name} ${name}`);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('measures all sides, and leaves JSON and Markdown', { timeout: 120_000 }, async () => {
    const options = { cases: ['rotary M=1 ', 'Qwen'], rounds: 3, out: folder, log: () => {} };
    const report = await measureNnOps(options);
    expect(readdirSync(folder).sort()).toEqual(['nn.json', 'nn.md']);
    expect(readFileSync(join(folder, 'nn.md'), 'utf8')).toBe(`${report}\n`);
    expect(report).toMatch(
      /Every op of nn has a case[\s\S]*## rotary[\s\S]*\| rotary of queries, Qwen2.5-0.5B \| 1 \|/,
    );
    expect(report).toMatch(/Families without a kernel that ran: arg_max, copy/);
    const { results } = JSON.parse(readFileSync(join(folder, 'nn.json'), 'utf8')) as NnRun;
    expect(results.map(({ op, M, kernels }) => [op, M, kernels])).toEqual([['rotary', 1, ['rotary_half_ids']]]);
    for (const { us } of results)
      for (const side of ['msd', 'plain', 'run', 'node'] as const) expect(us[side].samples).toHaveLength(3);
  });

  it('refuses to time what is not the reference’s result', async () => {
    const backend = await createBackend('wasm', { threads: 1 });
    const entry = NN_ENTRIES.find(({ name }) => name.startsWith('residual'))!;
    const wrong = { ...entry, at: (M: number) => ({ ...entry.at(M), plain: () => {} }) };
    await expect(measureNn(wrong, 1, { backend, ort, rounds: 1 })).rejects.toThrow(
      /^elementwise, residual .*, M=1, plain JavaScript: output 0, at 0: expected .*, got 0\./,
    );
    backend.dispose();
  });
});
