import { describe, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../../test/random.ts';
import { halves } from '../../formats/half.ts';
import { packedByteLength } from '../../formats/packed.ts';
import { createBackend } from '../create.ts';

const shape = { format: 'int4', blockSize: 32, N: 33, K: 320, asymmetric: false } as const;

describe('WasmBackend', () => {
  it('gives the same bits for arrays, arena handles and views of the arena, into arrays and handles', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const { arena } = backend;
    const next = random(1);
    const prepared = backend.prepare(randomWeights(next, shape));
    for (const M of [1, 5, 300]) {
      const x = gaussians(next, M * shape.K);
      const bias = gaussians(next, shape.N);
      const want = backend.matmul(x, prepared, { bias });
      const [xs, bs, ys] = [arena.alloc(x.byteLength), arena.alloc(bias.byteLength), arena.alloc(want.byteLength)];
      arena.float32(xs).set(x);
      arena.float32(bs).set(bias);
      const same = (got: Float32Array) => expect(firstDifference(got, want)).toBe(-1);
      expect(backend.matmul(xs, prepared, { bias: bs, out: ys })).toBe(ys);
      same(arena.float32(ys));
      arena.float32(ys).fill(7);
      backend.matmul(arena.float32(xs), prepared, { bias: arena.float32(bs), out: arena.float32(ys) });
      same(arena.float32(ys));
      const out = new Float32Array(M * shape.N);
      expect(backend.matmul(xs, prepared, { bias, out })).toBe(out);
      same(out);
      for (const handle of [xs, bs, ys]) arena.free(handle);
    }
    backend.dispose();
    expect(arena.usedBytes).toBe(0);
  });

  it('ends with operands in arrays, handles or views, and with out itself', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const { arena } = backend;
    const next = random(5);
    const prepared = backend.prepare(randomWeights(next, shape));
    for (const M of [1, 5, 300]) {
      const x = gaussians(next, M * shape.K);
      const [multiply, residual] = [gaussians(next, M * shape.N), gaussians(next, M * shape.N)];
      const want = backend.matmul(x, prepared, { activation: 'gelu', multiply, residual });
      const put = (values: Float32Array) => {
        const handle = arena.alloc(values.byteLength);
        arena.float32(handle).set(values);
        return handle;
      };
      const [ms, rs, ys] = [put(multiply), put(residual), put(want)];
      for (const by of [multiply, ms, arena.float32(ms)])
        for (const plus of [residual, rs, arena.float32(rs)])
          for (const out of [ys, undefined]) {
            const y = backend.matmul(x, prepared, { activation: 'gelu', multiply: by, residual: plus, out });
            expect(firstDifference(y instanceof Float32Array ? y : arena.float32(ys), want)).toBe(-1);
          }
      backend.matmul(x, prepared, { activation: 'gelu', multiply: ms, residual: rs, out: rs });
      expect(firstDifference(arena.float32(rs), want)).toBe(-1);
      backend.matmul(x, prepared, { activation: 'gelu', multiply: ms, residual, out: ms });
      expect(firstDifference(arena.float32(ms), want)).toBe(-1);
      for (const handle of [ms, rs, ys]) arena.free(handle);
    }
    backend.dispose();
    expect(arena.usedBytes).toBe(0);
  });

  it('reads and writes half precision in arrays, handles and views of the arena, over several slices', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const { arena } = backend;
    const next = random(21);
    const { N, K } = shape;
    const prepared = backend.prepare(randomWeights(next, shape));
    for (const type of ['f16', 'bf16'] as const)
      for (const M of [1, 5, 300]) {
        const x = Uint16Array.from(gaussians(next, M * K), halves[type].bits);
        const residual = gaussians(next, M * N);
        const types = { xType: type, outType: type, residual } as const;
        const y = backend.matmul(Float32Array.from(x, halves[type].value), prepared, { residual });
        const want = Uint16Array.from(y, halves[type].bits);
        const same = (got: Uint16Array) => expect(firstDifference(got, want)).toBe(-1);
        same(backend.matmul(x, prepared, types));
        // Handles at addresses that are odd multiples of 2, with something beside them.
        const [xs, ys] = [arena.alloc(x.byteLength + 2), arena.alloc(want.byteLength + 4)];
        arena.uint16(xs).set(x, 1);
        arena.uint16(ys).fill(0xabcd);
        const from = { ...xs, ptr: xs.ptr + 2, byteLength: x.byteLength };
        const to = { ...ys, ptr: ys.ptr + 2, byteLength: want.byteLength };
        for (const input of [from, arena.uint16(from), x])
          for (const out of [to, arena.uint16(to), new Uint16Array(M * N)]) {
            expect(backend.matmul(input, prepared, { ...types, out })).toBe(out);
            same('ptr' in out ? arena.uint16(out) : out);
            arena.uint16(to).fill(0);
          }
        expect([arena.uint16(ys)[0], arena.uint16(ys)[M * N + 1]]).toEqual([0xabcd, 0xabcd]);
        for (const handle of [xs, ys]) arena.free(handle);
      }
    const each = [{ outType: 'f16' as const }, {}, { outType: 'bf16' as const }];
    const x = Uint16Array.from(gaussians(next, 2 * K), halves.bf16.bits);
    const many = backend.matmulMany(x, [prepared, prepared, prepared], { xType: 'bf16', each });
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    expect(many.map((y) => y.constructor.name)).toEqual(['Uint16Array', 'Float32Array', 'Uint16Array']);
    each.forEach(({ outType }, i) => {
      const y = backend.matmul(x, prepared, { xType: 'bf16', outType });
      expect(firstDifference(many[i] as Uint16Array, y as Uint16Array)).toBe(-1);
    });
    expect(() => reference.matmul(x, reference.prepare(randomWeights(next, shape)), { outType: 'f16' })).toThrow(
      /Say xType: 'f16' or xType: 'bf16'/,
    );
    backend.warmUp(prepared, 1, { xType: 'f16', outType: 'bf16' });
    backend.dispose();
    expect(arena.usedBytes).toBe(0);
  });

  it('multiplies x by several matrices with the bits of separate calls, whatever their formats and carriers', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const next = random(8);
    const K = shape.K;
    const matrices = [
      shape,
      { ...shape, N: 70 },
      { format: 'int8', blockSize: null, N: 16, K, asymmetric: false } as const,
      { format: 'int4', blockSize: 32, N: 33, K, asymmetric: true } as const,
    ].map((each) => backend.prepare(randomWeights(next, each)));
    for (const M of [1, 5, 300])
      for (const components of [1, 2] as const) {
        const x = gaussians(next, M * K);
        const each = matrices.map(({ N }, i) =>
          i % 2 ? { bias: gaussians(next, N), activation: 'relu' as const } : {},
        );
        const together = backend.matmulMany(x, matrices, { components, each });
        matrices.forEach((matrix, i) => {
          expect(firstDifference(together[i], backend.matmul(x, matrix, { components, ...each[i] }))).toBe(-1);
        });
        // up first, then gate · up
        const [up, gate] = [matrices[3], matrices[0]];
        const out = new Float32Array(M * gate.N);
        const [, gated] = backend.matmulMany(x, [up, gate], { each: [{ out }, { activation: 'silu', multiply: out }] });
        const multiply = backend.matmul(x, up);
        expect(firstDifference(gated, backend.matmul(x, gate, { activation: 'silu', multiply }))).toBe(-1);
      }
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    const [codes, x] = [randomWeights(next, shape), gaussians(next, K)];
    const [want] = reference.matmulMany(x, [reference.prepare(codes)], { each: [{ activation: 'gelu' }] });
    const [got] = backend.matmulMany(x, [backend.prepare(codes)], { each: [{ activation: 'gelu' }] });
    expect(firstDifference(got, want)).toBe(-1);
    expect(backend.matmulMany(new Float32Array(K), [])).toEqual([]);
    expect(() => backend.matmulMany(new Float32Array(K), matrices, { each: [{}] })).toThrow(/each expected 4 options/);
    const other = backend.prepare(randomWeights(next, { ...shape, K: 64 }));
    expect(() => backend.matmulMany(new Float32Array(K), [matrices[0], other], { M: 1 })).toThrow(
      /matrix 1 expected K=320 like the first one, got 64/,
    );
    backend.dispose();
  });

  it('allocates nothing per call once warm, and gives everything back', async () => {
    const backend = await createBackend('wasm');
    const prepared = backend.prepare(randomWeights(random(2), shape));
    const x = gaussians(random(3), 8 * shape.K);
    const out = new Float32Array(8 * shape.N);
    backend.matmul(x, prepared, { out });
    const { usedBytes, byteLength } = backend.arena;
    for (let i = 0; i < 200; i++) backend.matmul(x, prepared, { out });
    expect(backend.arena.usedBytes).toBe(usedBytes);
    expect(backend.arena.byteLength).toBe(byteLength);
    const { packedBytes, scratchBytes } = backend.memory();
    expect(packedBytes).toBe(prepared.byteLength);
    expect(packedBytes).toBe(packedByteLength(shape, false));
    expect(scratchBytes).toBeGreaterThan(0);
    for (let i = 0; i < 1000; i++) backend.prepare(randomWeights(random(i), { ...shape, N: 3, K: 32 })).dispose();
    expect(backend.arena.byteLength).toBe(byteLength);
    backend.dispose();
    expect(backend.arena.usedBytes).toBe(0);
    expect(backend.memory().packedBytes).toBe(0);
  });

  it('packs into at most 1.07 times the bytes of the file', () => {
    for (const [N, K] of [
      [256, 896],
      [4864, 896],
      [896, 4864],
    ])
      for (const [format, blockSizes] of [
        ['int4', [32, 64, 128, 256, 1024]],
        ['int8', [null, 32, 128, 1024]],
      ] as const)
        for (const blockSize of blockSizes)
          for (const zero of [false, true]) {
            const blocks = blockSize ? Math.ceil(K / blockSize) : 1;
            const bits = format === 'int4' ? 4 : 8;
            const row =
              ((blockSize ? blocks * blockSize : K) * bits) / 8 + 4 * blocks + (zero ? (blocks * bits) / 8 : 0);
            const packed = packedByteLength({ format, N, K, blockSize }, zero);
            expect(packed / (N * row), `${format} ${blockSize} ${zero} [${N},${K}]`).toBeLessThanOrEqual(1.07);
          }
  });

  it('changes nothing when memory runs out', async () => {
    const backend = await createBackend('wasm');
    const small = backend.prepare(randomWeights(random(2), shape));
    const { usedBytes } = backend.arena;
    // The sizes are right and the arrays are real, only larger than 4 GiB could hold: no array of that size is made here.
    expect(() => backend.arena.alloc(2 ** 32 - 1, 'weights')).toThrow(/4 GiB/);
    expect(backend.arena.usedBytes).toBe(usedBytes);
    expect(backend.matmul(gaussians(random(1), shape.K), small)).toHaveLength(shape.N);
    backend.dispose();
  });

  it('names the kernel it takes', async () => {
    const backend = await createBackend('wasm', { carrier: 'i16' });
    const prepared = backend.prepare(randomWeights(random(2), shape));
    backend.warmUp(prepared, 1);
    expect([1, 2, 4, 5, 7, 8, 1000].map((M) => backend.kernelFor(prepared, M))).toEqual([
      expect.stringMatching(/^gemm_i16_int4_f32_1x16_b32_s4(_a2)?$/),
      expect.stringMatching(/^gemm_i16_int4_f32_(4x8_b32_u2|3x8_b32)$/),
      expect.stringMatching(/^gemm_i16_int4_f32_(4x8_b32_u2|3x8_b32)$/),
      expect.stringMatching(/^gemm_i16_int4_f32_2x16_b32(_u2)?_widen$/),
      expect.stringMatching(/^gemm_i16_int4_f32_2x16_b32(_u2)?_widen$/),
      expect.stringMatching(/^gemm_i16_int4_f32_2x16_b32(_u2)?_widen$/),
      expect.stringMatching(/^gemm_i16_int4_f32_2x16_b32(_u2)?_widen$/),
    ]);
    backend.dispose();
  });
});
