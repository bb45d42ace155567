/**
 * Damaged models: through read and claim (5,000; 100,000 with MSD_TEST_ALL=1), and through create and run in a child
 * process (2,000). Only typed errors, within a budget of memory; good sessions work on.
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { UnsupportedError } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { OnnxFormatError } from '../src/errors.ts';
import { type Draft, draftOf, mayMultiply } from '../src/execute/drafts.ts';
import { loadOperators } from '../src/execute/families.ts';
import { inlining } from '../src/execute/inlining.ts';
import { Branches } from '../src/inline/branches.ts';
import { OPERATORS } from '../src/ops/index.ts';
import { operatorName } from '../src/ops/operator.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { corpus, mutant } from './mutate.ts';

const parts = { ...(await loadOperators()), control: inlining.control };

const all = process.env.MSD_TEST_ALL === '1';

function draftsOf(bytes: Uint8Array, takesAll: boolean): readonly Draft[] {
  const branches = new Branches(readModel(bytesSource(bytes)));
  const options = { checksScales: true, chooseFormat: () => undefined, relaxes: false, all: takesAll, parts };
  return branches.planned(mayMultiply).all.map((variant) => draftOf(variant, options));
}

function readAndClaim(bytes: Uint8Array): string {
  try {
    const drafts = draftsOf(bytes, false);
    const decisions = drafts.flatMap((draft) => [...draft.decisions.values(), ...draft.controls.values()]);
    const isClaimed = decisions.some((each) => typeof each === 'object' && ('bodies' in each || each.product));
    return isClaimed ? 'claimed' : 'read';
  } catch (error) {
    for (const type of [OnnxFormatError, RangeError, TypeError, UnsupportedError]) {
      if (error instanceof type) return (error as Error).name;
    }
    throw error;
  }
}

describe('damaged models', () => {
  const files = [...corpus().values()];

  it('the corpus itself is read', () => {
    const outcomes = [...corpus()]
      .filter(([name]) => !name.startsWith('regression-'))
      .map(([, bytes]) => readAndClaim(bytes));
    expect(outcomes).toEqual(outcomes.map(() => 'claimed'));
  });

  it('the corpus has every operator that MSD takes', () => {
    const taken = new Set<string>();
    for (const [name, bytes] of corpus())
      if (!name.startsWith('regression-'))
        for (const { decisions } of draftsOf(bytes, true))
          for (const decision of decisions.values())
            if (typeof decision === 'object') for (const node of decision.nodes) taken.add(operatorName(node));
    const device = [...OPERATORS.values()].filter(({ match }) => match).map(({ name }) => name);
    expect(device.filter((name) => !taken.has(name))).toEqual([]);
  });

  it.each([...corpus()].filter(([name]) => name.startsWith('regression-')))('%s stays refused', (_, bytes) => {
    expect(readAndClaim(bytes)).toBe('OnnxFormatError');
  });

  it('read and claim throw typed errors only, and allocate what the bytes justify', { timeout: 600_000 }, () => {
    const count = all ? 100_000 : 5_000;
    const outcomes = new Map<string, number>();
    for (let seed = 1; seed <= count; seed++) {
      const bytes = mutant(files, seed);
      const before = process.memoryUsage();
      let outcome: string;
      try {
        outcome = readAndClaim(bytes);
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
      const after = process.memoryUsage();
      // Collections in between only make these smaller.
      expect(after.arrayBuffers - before.arrayBuffers, `seed ${seed}`).toBeLessThan(1e5 + 64 * bytes.length);
      expect(after.heapUsed - before.heapUsed, `seed ${seed}`).toBeLessThan(4e6 + 1000 * bytes.length);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    expect(outcomes.get('OnnxFormatError')!).toBeGreaterThan(count / 4);
    expect(outcomes.get('claimed')!).toBeGreaterThan(count / 50);
  });

  it('create and run throw typed errors only, in one process that lives on', { timeout: 600_000 }, async () => {
    const last = await runChild(1, 2_000);
    expect(last.done).toBe(2_000);
    expect(last.outcomes.ran).toBeGreaterThan(50);
  });
});

/** Runs the child and returns its last line. Silence for a minute counts as a hang. */
function runChild(first: number, count: number): Promise<{ done: number; outcomes: Record<string, number> }> {
  return new Promise((resolve, reject) => {
    const script = fileURLToPath(new URL('./fuzz-child.ts', import.meta.url));
    const child = spawn(process.execPath, [script, `${first}`, `${count}`], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    const hang = (): void => {
      child.kill('SIGKILL');
      reject(new Error(`no progress for a minute after: ${output.slice(-200)}`));
    };
    let timer = setTimeout(hang, 60_000);
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
      clearTimeout(timer);
      timer = setTimeout(hang, 60_000);
    });
    child.stderr.on('data', (data: Buffer) => {
      errors += data.toString();
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(JSON.parse(output.trim().split('\n').at(-1)!));
      else reject(new Error(`child ended with ${code}: ${errors.slice(-2000)}\n${output.slice(-500)}`));
    });
  });
}
