import { expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { bitsOf, RECORDED_BITS } from './bits.ts';
import { conformance } from './conformance.ts';
import { halfPrecision } from './half-precision.ts';

conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
halfPrecision('wasm', () => createBackend('wasm', { debug: true }), 'float32');

it('gives the recorded bits', async () => {
  expect(bitsOf(await createBackend('wasm'))).toBe(RECORDED_BITS);
});
