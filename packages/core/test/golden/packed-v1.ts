/**
 * Matrices that layout 1 was recorded of. Their bytes, in packed-v1.json, are what `packWeights` of commit 4c6b489 made of them, in
 * base64: nothing in this tree can make them any more.
 */
import type { QuantizedWeights } from '../../src/index.ts';
import { random, rawWeights, type WeightShape } from '../random.ts';
import recorded from './packed-v1.json' with { type: 'json' };

export const RECORDED_SHAPES: readonly WeightShape[] = [
  { format: 'int8', N: 17, K: 291, blockSize: null, asymmetric: false },
  { format: 'int8', N: 5, K: 40, blockSize: null, asymmetric: true },
  { format: 'int8', N: 18, K: 70, blockSize: 32, asymmetric: true, scale: 'f16' },
  { format: 'int8', N: 16, K: 256, blockSize: 128, asymmetric: false },
  { format: 'int4', N: 33, K: 290, blockSize: 32, asymmetric: false },
  { format: 'int4', N: 17, K: 300, blockSize: 64, asymmetric: true },
  { format: 'int4', N: 20, K: 45, blockSize: 16, asymmetric: true, scale: 'f16' },
  { format: 'mxfp4', N: 19, K: 300, blockSize: 32, asymmetric: false },
  { format: 'int2', N: 17, K: 288, blockSize: 32, asymmetric: false },
  { format: 'int2', N: 16, K: 100, blockSize: 128, asymmetric: true },
];

export function recordedWeights(index: number): QuantizedWeights {
  const next = random(index + 1);
  return rawWeights(next, RECORDED_SHAPES[index], () => next() - 0.5);
}

/** The packed bytes of that matrix in layout 1. */
export const recordedBytes = (index: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(recorded[index]), (char) => char.charCodeAt(0));
