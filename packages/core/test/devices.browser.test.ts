import { createBackend } from '../src/index.ts';
import { deviceConformance } from './device-conformance.ts';

deviceConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
