import { createBackend } from '../src/index.ts';
import { conformance } from './conformance.ts';

conformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
