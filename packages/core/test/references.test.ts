/** Both references as backends. */
import { createBackend } from '../src/index.ts';
import { conformance } from './conformance.ts';
import { halfPrecision } from './half-precision.ts';

conformance('reference f32', () => createBackend('reference', { arithmetic: 'float32' }), { bits: 'exact' });
conformance('reference f64', () => createBackend('reference'), { bits: 'bound' });
halfPrecision('reference f32', () => createBackend('reference', { arithmetic: 'float32' }), 'float32');
halfPrecision('reference f64', () => createBackend('reference'), 'float64');
