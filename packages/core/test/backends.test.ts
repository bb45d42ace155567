import { expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { relaxedDot } from '../src/wasm/features.ts';
import { bitsOf, RECORDED_BITS } from './bits.ts';
import { conformance } from './conformance.ts';
import { halfPrecision } from './half-precision.ts';

conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
// Blocks of 16 and, on CPUs that saturate, weights of 8 bits fall to i16 there.
if (relaxedDot())
  conformance('wasm, relaxed dot', () => createBackend('wasm', { debug: true, carrier: 'i8' }), { bits: 'exact' });
else it.skip('conformance: wasm, relaxed dot: this engine has no relaxed SIMD');
halfPrecision('wasm', () => createBackend('wasm', { debug: true }), 'float32');

it('gives the recorded bits', async () => {
  for (const carrier of ['auto', 'i16', ...(relaxedDot() ? (['i8'] as const) : [])] as const)
    expect(bitsOf(await createBackend('wasm', { carrier })), carrier).toBe(RECORDED_BITS);
});
