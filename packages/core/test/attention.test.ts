import { createBackend } from '../src/index.ts';
import { attentionConformance } from './attention-conformance.ts';

attentionConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
attentionConformance('reference f64', () => createBackend('reference'), { bits: 'bound' });
