/** `msd bench` as a user runs it. */
import { afterAll, expect, it } from 'vitest';
import type { LayerResult } from '../src/bench/layers.ts';
import { temporaryFolder } from './folders.ts';
import { msd, msdJson } from './msd.ts';

const folder = temporaryFolder();
const env = { MSD_CACHE: folder.path };
afterAll(() => folder.remove());

it('measures peaks, and a layer beside them', async () => {
  const args = ['bench', '--shape', '64x96', '--rows', '1', '--rows', '3', '--rounds', '2'];
  const { peaks, layers } = await msdJson<{ peaks: Record<string, number>; layers: LayerResult[] }>(args, { env });
  expect(peaks.dotGmacs).toBeGreaterThan(0);
  expect(peaks.readGigabytes).toBeGreaterThan(0);
  expect(layers.map(({ K, N, M }) => [K, N, M])).toEqual([
    [64, 96, 1],
    [64, 96, 3],
  ]);
  for (const { msd: own, ort } of layers) for (const { ms } of [own, ort]) expect(ms).toBeGreaterThan(0);
});

it('prints a table', async () => {
  const { stdout } = await msd(['bench', '--peaks'], { env });
  expect(stdout).toMatch(/int16 dot products +[\d.]+ GMAC\/s/);
});

it('refuses a shape that int4 blocks cannot have', async () => {
  const { exitCode, stderr } = await msd(['bench', '--shape', '65x96'], { env });
  expect(exitCode).toBe(2);
  expect(stderr).toContain('Expected KxN as in 896x4864, K a multiple of 32.');
});
