import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { weightShapes } from '../../test/conformance.ts';
import { RECORDED_SHAPES, recordedBytes, recordedWeights } from '../../test/golden/packed-v1.ts';
import { firstDifference, gaussians, random, randomWeights, rawWeights } from '../../test/random.ts';
import { createBackend } from '../backends/create.ts';
import { UnsupportedError } from '../errors.ts';
import { PACKED_VERSION, packedByteLength, packedShape, packWeights, upgradePacked } from './packed.ts';
import { packedRows } from './packed-rows.ts';
import { dequantizeWeights } from './quantize.ts';

describe('packed weights', () => {
  it('give every row back, rounded once, for every format, block size and zero point', () => {
    fc.assert(
      fc.property(weightShapes, fc.nat(), (shape, seed) => {
        const next = random(seed);
        const weights = rawWeights(next, shape, () => next() - 0.5);
        const packed = packWeights(weights);
        expect(packed.bytes.length).toBe(packedByteLength(shape, packed.storedZeroPoints, packed.scale));
        const row = packedRows(packed, packed.bytes);
        const real = dequantizeWeights(weights);
        const got = new Float32Array(shape.K + 2);
        for (let n = 0; n < shape.N; n++) {
          row(n, got, 1);
          const want = real.subarray(n * shape.K, (n + 1) * shape.K);
          const at = firstDifference(got.subarray(1, shape.K + 1), want);
          if (at >= 0) throw new Error(`row ${n}, k ${at}: expected ${want[at]}, got ${got[at + 1]}`);
        }
        expect([got[0], got[shape.K + 1]]).toEqual([0, 0]);
      }),
      { numRuns: 200 },
    );
  });

  it('are adopted where they lie, with the same bits as prepared ones, and stay their owner’s', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const next = random(1);
    for (const format of ['int8', 'int4'] as const) {
      const weights = randomWeights(next, { format, N: 33, K: 100, blockSize: 32, asymmetric: true });
      const x = gaussians(next, 300);
      const prepared = backend.prepare(weights);
      const want = backend.matmul(x, prepared);
      const packed = packWeights(weights);
      const handle = backend.arena.alloc(packed.bytes.length);
      backend.arena.bytes(handle).set(packed.bytes);
      const adopted = backend.adopt(packed, handle);
      expect(firstDifference(backend.matmul(x, adopted), want)).toBe(-1);
      expect(backend.memory().packedBytes).toBe(prepared.byteLength);
      adopted.dispose();
      expect(() => backend.matmul(x, adopted)).toThrow(/disposed/);
      backend.arena.free(handle); // still alive: dispose freed nothing
      prepared.dispose();
    }
    backend.dispose();
  });

  it('are refused if their bytes cannot be the matrix', async () => {
    const backend = await createBackend('wasm');
    const packed = packWeights(
      randomWeights(random(1), { format: 'int4', N: 8, K: 64, blockSize: 32, asymmetric: false }),
    );
    const handle = backend.arena.alloc(packed.bytes.length);
    const bad: [() => unknown, RegExp][] = [
      [() => backend.adopt({ ...packed, K: 65 }, handle), /packed int4 \[N=8,K=65\] expected \d+ bytes, got \d+/],
      [() => backend.adopt({ ...packed, storedZeroPoints: true }, handle), /expected \d+ bytes/],
      [() => backend.adopt({ ...packed, scale: 'e8m0' }, handle), /scale of int4 expected f32 or f16, got e8m0/],
      [
        () => backend.adopt({ ...packed, format: 'int8', blockSize: null, scale: 'f16' }, handle),
        /expected f32, got f16/,
      ],
      [() => backend.adopt({ ...packed, N: 0 }, handle), /N expected a positive integer/],
      [() => backend.adopt(packed, backend.arena.at(2 ** 31, packed.bytes.length)), /not a buffer of this backend/],
      [() => packedRows(packed, packed.bytes.subarray(4)), /expected \d+ bytes/],
    ];
    for (const [run, message] of bad) expect(run).toThrow(message);
    backend.dispose();
  });

  it.each(RECORDED_SHAPES.map((shape, i) => [i, shape] as const))('of layout 1 are repacked: %i %j', (i) => {
    const weights = recordedWeights(i);
    const bytes = recordedBytes(i);
    const before = { ...packedShape(weights), version: 1, bytes };
    const after = upgradePacked(before);
    expect(after).toEqual(packWeights(weights));
    expect(bytes).toEqual(recordedBytes(i));
    expect(upgradePacked(after)).toBe(after);
    expect(() => packedRows(before, bytes)).toThrow(
      /expected layout version 2, got 1. Pass them through upgradePacked once/,
    );
    expect(() => upgradePacked({ ...before, bytes: bytes.subarray(4) })).toThrow(/expected \d+ bytes, got \d+/);
  });

  it('of another version are refused, with what to do', async () => {
    const backend = await createBackend('wasm');
    const packed = packWeights(
      randomWeights(random(1), { format: 'int4', N: 8, K: 64, blockSize: 32, asymmetric: false }),
    );
    const handle = backend.arena.alloc(packed.bytes.length);
    const newer = { ...packed, version: PACKED_VERSION + 1 };
    for (const run of [
      () => backend.adopt(newer, handle),
      () => packedRows(newer, packed.bytes),
      () => upgradePacked(newer),
      () => upgradePacked({ ...packed, version: 0.5 }),
    ]) {
      expect(run).toThrow(UnsupportedError);
      expect(run).toThrow(/packed int4 \[N=8,K=64\] expected layout version 2, got \S+ Update @msd\/core, or pack/);
    }
    expect(() => backend.adopt({ ...packed, version: 1 }, handle)).toThrow(/Pass them through upgradePacked once/);
    const { version: _, ...unversioned } = packed;
    backend.adopt(unversioned, handle).dispose();
    backend.dispose();
  });
});
