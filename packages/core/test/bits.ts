/** One number over many results: equal wherever the f32 contract holds. */
import type { WasmBackend } from '../src/index.ts';
import { random, rawWeights, type WeightShape } from './random.ts';

const SHAPES: readonly WeightShape[] = [
  { format: 'int4', N: 49, K: 800, blockSize: 32, asymmetric: false },
  { format: 'int4', N: 33, K: 517, blockSize: 128, asymmetric: true },
  { format: 'int8', N: 40, K: 600, blockSize: null, asymmetric: false },
  { format: 'int8', N: 17, K: 300, blockSize: 64, asymmetric: true },
  { format: 'mxfp4', N: 20, K: 320, blockSize: 32, asymmetric: false },
  { format: 'int2', N: 18, K: 288, blockSize: 32, asymmetric: false },
];

/**
 * What `bitsOf` gave in Node 20, 22 and 24 (V8 11 to 13) on x86-64. It was 074c0aa3 as long as activationBlock 32 formed ws · S first,
 * which underflows where weights are tiny; without that block size the results are those from the beginning.
 */
export const RECORDED_BITS = '99f66b8a';

/** FNV-1a over the bits of results of every format, shape class and decomposition. Inputs use no Math function. */
export function bitsOf(backend: WasmBackend): string {
  let hash = 0x811c9dc5;
  for (const [seed, shape] of SHAPES.entries())
    for (const M of [1, 3, 11])
      for (const activationBlock of ['row', 256, 32] as const) {
        const next = random(seed + 1);
        const prepared = backend.prepare(rawWeights(next, shape, () => next() - 0.5));
        const x = Float32Array.from({ length: M * shape.K }, () => (next() - 0.5) * 8);
        const y = backend.matmul(x, prepared, { activationBlock });
        for (const bits of new Uint32Array(y.buffer)) hash = Math.imul(hash ^ bits, 0x01000193) >>> 0;
        prepared.dispose();
      }
  return hash.toString(16).padStart(8, '0');
}
