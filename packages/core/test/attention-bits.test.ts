import { describe, expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { attentionBits, CUTS, RECORDED_ATTENTION } from './attention-bits.ts';

describe('recorded bits of attention', () => {
  it.each(CUTS)('%i tokens at once', async (cut) => {
    for (const carrier of ['i16', 'auto'] as const)
      for (const threads of [1, 2]) {
        const backend = await createBackend('wasm', { carrier, threads });
        expect(attentionBits(backend, cut)).toBe(RECORDED_ATTENTION);
        backend.dispose();
      }
  });

  it('the reference', async () => {
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    expect(attentionBits(reference, 7)).toBe(RECORDED_ATTENTION);
  });
});
