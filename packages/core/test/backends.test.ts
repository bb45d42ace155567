import { createBackend } from '../src/index.ts';
import { conformance } from './conformance.ts';

conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
conformance('reference f32', () => createBackend('reference', { arithmetic: 'float32' }), { bits: 'exact' });
conformance('reference f64', () => createBackend('reference'), { bits: 'bound' });
