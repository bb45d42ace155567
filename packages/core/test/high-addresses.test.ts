/** Models of gigabytes lie beyond 2 GiB, where an address is no positive int32: the same bits there. */
import { describe, expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { attentionBits, CUTS, RECORDED_ATTENTION } from './attention-bits.ts';
import { bitsOf, RECORDED_BITS } from './bits.ts';
import { deviceConformance } from './device-conformance.ts';

/** A backend whose lower half is taken: by pages that nobody touches, so no memory is used. */
async function highBackend(threads: number) {
  const backend = await createBackend('wasm', { threads, initialBytes: 2 ** 31 });
  backend.alloc(2 ** 31, 'taken');
  return backend;
}

describe.each([1, 2])('%i threads beyond 2 GiB', (threads) => {
  it('products: the recorded bits', async () => {
    const backend = await highBackend(threads);
    expect(bitsOf(backend)).toBe(RECORDED_BITS);
    backend.dispose();
  });

  it('attention: the recorded bits', async () => {
    const backend = await highBackend(threads);
    for (const cut of CUTS) expect(attentionBits(backend, cut)).toBe(RECORDED_ATTENTION);
    backend.dispose();
  });
});

deviceConformance('wasm beyond 2 GiB', () => highBackend(1), { bits: 'exact' });
