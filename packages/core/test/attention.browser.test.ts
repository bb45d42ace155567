import { createBackend } from '../src/index.ts';
import { attentionConformance } from './attention-conformance.ts';

attentionConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
