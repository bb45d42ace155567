/** A model of 4B parameters in 4 bits: 2.5 GB of weights in three files beside a table of 1.6 GB, all of it seeded. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DECODERS } from '../models/decoder.ts';
import { writeDecoder } from '../models/decoder-files.ts';
import { runLarge } from './large.ts';

const TOKENS = 6;

describe.runIf(process.env.MSD_TEST_ALL === '1')('4B in one memory (test:all)', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'msd-large-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([1, 2])(
    '%i threads: loads from its files, writes, refuses what cannot fit and goes on',
    { timeout: 600_000 },
    (threads) => {
      const shape = DECODERS.find(({ name }) => name === 'qwen3-4b')!;
      const files = writeDecoder({ folder, shape, embedding: 'float', packaging: 'parts' });
      expect(files.files.length).toBeGreaterThan(3);
      const beyond = threads === 1;
      const result = runLarge({ files, threads, tokens: TOKENS, beyond });
      const { packedBytes, peakRss, wasmBytes } = result;
      console.log(
        `4B, ${threads} threads: ${packedBytes} bytes packed, peak ${(peakRss / packedBytes).toFixed(3)} of them, ` +
          `${wasmBytes} of WebAssembly${beyond ? `; context of ${result.tooMany}: ${result.refusal}` : ''}`,
      );
      expect(packedBytes).toBeGreaterThan(2.4e9);
      expect(peakRss).toBeLessThanOrEqual(1.25 * packedBytes);
      expect(result.foreignRuns).toBe(0);
      expect(result.text).toHaveLength(TOKENS);
      if (beyond) expect(result.refusal).toMatch(/^BackendUnavailableError: KvCache: .* need \d+ bytes/);
      expect(result.again).toEqual(result.text);
    },
  );
});
