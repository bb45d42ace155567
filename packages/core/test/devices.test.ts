import { createBackend } from '../src/index.ts';
import { deviceConformance } from './device-conformance.ts';

deviceConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
deviceConformance('wasm, one thread, i16', () => createBackend('wasm', { threads: 1, carrier: 'i16' }), {
  bits: 'exact',
});
deviceConformance('reference f32', () => createBackend('reference', { arithmetic: 'float32' }), { bits: 'exact' });
deviceConformance('reference f64', () => createBackend('reference'), { bits: 'bound' });
