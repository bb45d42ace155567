/** Nothing is left behind: by 10⁴ calls that write into `out`, and by 1,000 backends that come and go. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const child = fileURLToPath(new URL('memory-child.ts', import.meta.url));

interface Report {
  perCall: Record<string, { before: object; after: object; heapBytes: number; arrayBytes: number }>;
  usedBytes: number;
  rssGrowth: number;
}

it('leaves arena, array buffers, heap and process as they were', { timeout: 120_000 }, () => {
  const output = execFileSync(process.execPath, ['--expose-gc', child], { encoding: 'utf8' });
  const { perCall, usedBytes, rssGrowth } = JSON.parse(output) as Report;
  expect(Object.keys(perCall)).toEqual([
    'matmul',
    'fused end',
    'half precision',
    'matmulMany',
    'bound product',
    'bound product that moves',
    'bound op',
    'program',
    'attention, cut short',
  ]);
  for (const [name, { before, after, heapBytes, arrayBytes }] of Object.entries(perCall)) {
    expect(after, name).toEqual(before);
    expect(heapBytes, name).toBeLessThan(200);
    // Arrays are swept beside the program: the last one may still count. One for every branch would be 6400 bytes.
    expect(arrayBytes, name).toBeLessThan(1024);
  }
  expect(usedBytes).toBe(0);
  expect(rssGrowth).toBeLessThan(32 * 2 ** 20);
});
