/** What weights cost on the heap of tfjs's wasm backend, stock beside MSD: growth of the memory, each in its own process. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const probe = fileURLToPath(new URL('./heap-probe.ts', import.meta.url));

async function measure(name: string, side: string): Promise<{ loaded: number; run: number; tensors: number }> {
  const { stdout } = await promisify(execFile)(process.execPath, [probe, name, side]);
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

describe('the wasm heap', () => {
  it.each(['graphModel', 'layersModel', 'tensors'])('%s: int8 takes at most 0.27, int4 0.16 of stock', async (name) => {
    const stock = await measure(name, 'stock');
    expect(stock.tensors).toBe(12 * 4 * 1024 ** 2);
    for (const [side, share] of [
      ['int8', 0.27],
      ['int4', 0.16],
    ] as const) {
      const msd = await measure(name, side);
      // Growth has a granularity; nothing may hide in what was there before.
      expect(msd.run).toBeGreaterThan(msd.tensors);
      expect(msd.tensors / stock.tensors).toBeLessThanOrEqual(share);
      expect(msd.run / stock.run).toBeLessThanOrEqual(share);
      expect(msd.loaded / stock.loaded).toBeLessThanOrEqual(1.1 * share); // before stock has packed its second copy
      console.log(
        `${name} ${side}: heap ${(msd.run / stock.run).toFixed(3)} of stock's ${(stock.run / 1e6).toFixed(1)} MB`,
      );
    }
  });

  it('a sentence encoder: int4 takes no more than int8, and both a quarter of stock at most', async () => {
    const [stock, int8, int4] = [
      await measure('sentences', 'stock'),
      await measure('sentences', 'int8'),
      await measure('sentences', 'int4'),
    ];
    expect(int4.tensors).toBeLessThan(0.75 * int8.tensors); // its table stays int8
    expect(int4.loaded).toBeLessThanOrEqual(int8.loaded);
    expect(int4.run).toBeLessThanOrEqual(int8.run);
    expect(int8.run / stock.run).toBeLessThan(0.3);
    console.log(`sentences: heap ${[stock, int8, int4].map(({ run }) => (run / 1e6).toFixed(1)).join(', ')} MB`);
  });
});
