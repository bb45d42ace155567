import { expect, it } from 'vitest';
import { createBackend } from '../src/index.ts';
import { bitsOf, RECORDED_BITS } from './bits.ts';
import { conformance } from './conformance.ts';

conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
conformance('reference f32', () => createBackend('reference', { arithmetic: 'float32' }), { bits: 'exact' });
conformance('reference f64', () => createBackend('reference'), { bits: 'bound' });

it('gives the recorded bits', async () => {
  expect(bitsOf(await createBackend('wasm'))).toBe(RECORDED_BITS);
});
