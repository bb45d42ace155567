import { attentionConformance } from '../../test/attention-conformance.ts';
import { createBackend } from '../index.ts';

attentionConformance('wasm', () => createBackend('wasm', { debug: true }));
