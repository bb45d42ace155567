import { describe, expect, it } from 'vitest';
import { checkFamily } from '../../test/kernels.ts';
import { kernelHashes } from '../../test/ops.ts';
import { random, rawWeights } from '../../test/random.ts';
import type { ArenaHandle } from '../backends/arena.ts';
import { createBackend } from '../backends/create.ts';
import type { WasmBackend } from '../backends/wasm/backend.ts';
import { headsSpec, headsVariants } from '../formats/heads.wasm.ts';
import { formats } from '../formats/index.ts';
import { rowsOf } from '../formats/layout.ts';
import { packSpec, packVariants } from '../formats/pack.wasm.ts';
import { packedShape, packWeights } from '../formats/packed.ts';
import { dequantizeWeights } from '../formats/quantize.ts';
import type { QuantizedWeights } from '../formats/weights.ts';
import { zerosSpec, zerosVariants } from '../formats/zeros.wasm.ts';
import { familyOf } from '../kernel-spec.ts';
import { packKernels } from './pack-kernels.ts';
import { preparedAs, prepareRows, reserveRows, type WeightRows } from './prepare-rows.ts';
import { preparedRows } from './prepared-rows.ts';

/** Large enough for the kernel, several slabs of rows, and ends that are no whole panels or blocks. */
const SHAPES = [
  [1024, 256],
  [1000, 300],
  [333, 896],
  [17, 16384],
  [1, 2 ** 18],
] as const;
const KINDS = [
  { format: 'int4', blockSizes: [16, 32, 64, 128, 512] },
  { format: 'int8', blockSizes: [null, 32, 256, 1024] },
  { format: 'int2', blockSizes: [32] },
  { format: 'mxfp4', blockSizes: [32] },
  { format: 'nf4', blockSizes: [16, 64] },
] as const;

/** Engines without Node have no `Buffer.compare`, and matchers take seconds for millions of bytes. */
const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);

/** The same rows, in memory that kernels reach. @returns them, and what frees it */
function insideOf(
  { arena }: WasmBackend,
  rows: WeightRows['rows'],
  { data, scales }: QuantizedWeights,
): readonly [WeightRows['rows'], () => void] {
  const handles = [arena.alloc(data.byteLength), arena.alloc(scales.byteLength)] as const;
  const put = <T extends QuantizedWeights['data' | 'scales']>(handle: ArenaHandle, values: T): T => {
    arena.write(handle, values);
    const Elements = values.constructor as new (buffer: ArrayBufferLike, offset: number, length: number) => T;
    return new Elements(arena.memory.buffer, handle.ptr, values.length);
  };
  const inside: WeightRows['rows'] = (n, count, into) => {
    const slab = rows(n, count, into);
    return { ...slab, data: put(handles[0], slab.data), scales: put(handles[1], slab.scales) };
  };
  const free = (): void => {
    for (const handle of handles) arena.free(handle);
  };
  return [inside, free];
}

describe('packing by a kernel', () => {
  it('is what its spec says', () => {
    for (const family of [
      familyOf(packSpec, packVariants),
      familyOf(headsSpec, headsVariants),
      familyOf(zerosSpec, zerosVariants),
    ])
      checkFamily(family);
    expect(
      [
        kernelHashes(packSpec, packVariants),
        kernelHashes(headsSpec, headsVariants),
        kernelHashes(zerosSpec, zerosVariants),
      ].flat(),
    ).toMatchSnapshot();
  });

  it.each(KINDS)('gives the bytes that JavaScript gives: $format', async ({ format, blockSizes }) => {
    const backend = await createBackend('wasm', { debug: true });
    const next = random(1);
    for (const blockSize of blockSizes)
      for (const asymmetric of formats[format].asymmetric === false ? [false] : [false, true])
        for (const [N, K] of SHAPES) {
          const scale = next() < 0.5 ? 'f16' : 'f32';
          const weights = rawWeights(next, { format, N, K, blockSize, asymmetric, scale }, () => next() - 0.5);
          const want = packWeights(weights).bytes;
          const rows: WeightRows['rows'] = (n, count) => rowsOf(weights, n, n + count);
          const [inside, free] = insideOf(backend, rows, weights);
          for (const [by, from] of [
            [packKernels, rows],
            [packKernels, inside],
            [undefined, rows],
          ] as const) {
            const prepared = prepareRows(backend, { ...packedShape(weights), rows: from }, by);
            const { address } = prepared as unknown as { readonly address: number };
            const got = new Uint8Array(backend.arena.memory.buffer, address, want.length);
            expect(sameBytes(got, want)).toBe(true);
            prepared.dispose();
            backend.arena.check();
          }
          free();
        }
    expect(backend.arena.usedBytes).toBe(0);
    backend.dispose();
  });
});

it('packs rows from any address, into shared memory, too', async () => {
  for (const shared of [false, true]) {
    const backend = await createBackend('wasm', { debug: true, threads: 1, shared });
    const shape = { format: 'int4', N: 299, K: 896, blockSize: 32, asymmetric: true } as const;
    const weights = rawWeights(random(9), shape, () => 0.25);
    const want = packWeights(weights).bytes;
    for (let skew = 0; skew < 9; skew++) {
      const moved = (bytes: Uint8Array, by: number): Uint8Array => {
        const room = new Uint8Array(by + bytes.length).subarray(by);
        room.set(bytes);
        return room;
      };
      const rows: WeightRows['rows'] = (n, count) => {
        const slab = rowsOf(weights, n, n + count);
        const { buffer, byteOffset, byteLength } = slab.scales;
        const scales = moved(new Uint8Array(buffer, byteOffset, byteLength), 4 * skew);
        return {
          ...slab,
          data: moved(slab.data as Uint8Array, skew),
          scales: new Float32Array(scales.buffer, scales.byteOffset, byteLength / 4),
          zeroPoints: moved(slab.zeroPoints as Uint8Array, skew),
        };
      };
      const prepared = prepareRows(backend, { ...packedShape(weights), rows }, packKernels);
      const { address } = prepared as unknown as { readonly address: number };
      expect(sameBytes(new Uint8Array(backend.arena.memory.buffer, address, want.length), want)).toBe(true);
      prepared.dispose();
    }
    backend.dispose();
  }
});

describe('preparedRows', () => {
  it('gives the rows back, wherever memory has moved to, and only of its own matrices', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const weights = rawWeights(
      random(5),
      { format: 'int4', N: 37, K: 200, blockSize: 32, asymmetric: true },
      () => 0.25,
    );
    const rows = (n: number, count: number) => rowsOf(weights, n, n + count);
    const prepared = prepareRows(backend, { ...packedShape(weights), rows });
    const read = preparedRows(prepared);
    const real = dequantizeWeights(weights);
    const out = new Float32Array(2 * 200);
    for (const grown of [false, true]) {
      if (grown) backend.alloc(2 ** 24);
      read(36, out, 200);
      expect(out.subarray(200)).toEqual(real.subarray(36 * 200));
    }
    const other = backend.prepare(weights);
    expect(() => preparedRows(other)).toThrow(TypeError);
    backend.dispose();
  });
});

describe('preparedAs', () => {
  it('multiplies the same bytes in another format, and frees nothing', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const shape = { format: 'nf4', N: 33, K: 128, blockSize: 64, asymmetric: false } as const;
    const weights = rawWeights(random(6), shape, () => 0.25);
    const rows = (n: number, count: number) => rowsOf(weights, n, n + count);
    const prepared = prepareRows(backend, { ...packedShape(weights), rows });
    const low = preparedAs(backend, prepared, 'nf4low');
    const x = Float32Array.from({ length: 128 }, (_, k) => Math.fround(k / 7 - 5));
    const want = backend.matmul(x, backend.prepare({ ...weights, format: 'nf4low' }));
    expect(backend.matmul(x, low)).toEqual(want);
    low.dispose();
    expect(backend.matmul(x, prepared)).toEqual(backend.matmul(x, backend.prepare(weights)));
    expect(() => preparedAs(backend, prepared, 'int8')).toThrow(RangeError);
    expect(() => preparedAs(backend, backend.prepare(weights), 'nf4low')).toThrow(TypeError);
    backend.dispose();
  });
});

describe('prepareRows', () => {
  const weights = rawWeights(
    random(2),
    { format: 'int4', N: 1000, K: 512, blockSize: 32, asymmetric: true },
    () => 0.25,
  );
  const source = (rows: WeightRows['rows']): WeightRows => ({ ...packedShape(weights), rows });

  it('takes a matrix some rows at a time, where they are put or where they lie', async () => {
    const backend = await createBackend('wasm');
    const want = packWeights(weights).bytes;
    for (const [inPlace, by] of [false, true].flatMap((each) => [
      [each, packKernels] as const,
      [each, undefined] as const,
    ])) {
      let seen = 0;
      const prepared = prepareRows(
        backend,
        source((n, count, into) => {
          expect(n).toBe(seen);
          seen += count;
          const rows = rowsOf(weights, n, n + count);
          if (!inPlace) return rows;
          into.set(rows.data);
          return { ...rows, data: into };
        }),
        by,
      );
      expect(seen).toBe(1000);
      const { address } = prepared as unknown as { readonly address: number };
      expect(sameBytes(new Uint8Array(backend.arena.memory.buffer, address, want.length), want)).toBe(true);
      prepared.dispose();
    }
    backend.dispose();
  });

  it('refuses rows that are not of the matrix, and leaves nothing', async () => {
    const backend = await createBackend('wasm');
    const bad: [WeightRows['rows'], string][] = [
      [(n, count) => rowsOf(weights, n, n + count - 1), 'prepareRows: rows from 0 on expected N 1000, got 999.'],
      [
        (n, count) => ({ ...rowsOf(weights, n, n + count), scales: new Float32Array(16 * count).fill(Number.NaN) }),
        'prepareRows: weights.scales[0] expected a finite value below 2^90 in magnitude, got NaN.',
      ],
    ];
    for (const [rows, message] of bad)
      for (const by of [packKernels, undefined])
        expect(() => prepareRows(backend, source(rows), by)).toThrow(new RangeError(message));
    expect(backend.arena.usedBytes).toBe(0);
    expect(backend.memory().packedBytes).toBe(0);
    backend.dispose();
  });
});

describe('a scale outside of the contract', () => {
  const limit = 2 ** 90;
  const bad = {
    f32: Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, limit, -limit),
    f16: Uint16Array.of(0x7c00, 0xfc00, 0x7c01, 0xffff),
  };
  const good = { f32: Math.fround(limit * (1 - 2 ** -24)), f16: 0xfbff };

  it.each(['f32', 'f16'] as const)('is named wherever it stands: %s', async (scale) => {
    const backend = await createBackend('wasm', { debug: true });
    const shape = { format: 'int4', N: 1013, K: 288, blockSize: 32, asymmetric: false, scale } as const;
    const weights = rawWeights(random(7), shape, () => 0.25);
    const { scales } = weights;
    const rows: WeightRows['rows'] = (n, count) => rowsOf(weights, n, n + count);
    const prepared = () => prepareRows(backend, { ...packedShape(weights), rows }, packKernels);
    for (const value of bad[scale])
      for (const at of [0, 1, 7, 8, 143, 144, scales.length - 1]) {
        const before = scales[at];
        scales[at] = value;
        expect(prepared).toThrow(/prepareRows: weights.scales\[\d+\] expected a finite value below 2\^90/);
        scales[at] = before;
      }
    scales[5] = good[scale];
    prepared().dispose();
    expect(backend.arena.usedBytes).toBe(0);
    backend.dispose();
  });
});

describe('reserveRows', () => {
  const weights = rawWeights(random(3), { format: 'int4', N: 70, K: 96, blockSize: 32, asymmetric: true }, () => 0.25);
  const rows: WeightRows['rows'] = (n, count) => rowsOf(weights, n, n + count);

  it('gives a matrix that calls can be bound to before its rows are there', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const x = Float32Array.from({ length: 96 }, (_, k) => Math.sin(k));
    const { prepared, handle, fill } = reserveRows(backend, packedShape(weights));
    expect(handle.byteLength).toBe(prepared.byteLength);
    const [from, to] = [backend.alloc(4 * 96), backend.alloc(4 * 70)];
    backend.write(from, x);
    const work = { kind: 'product' as const, matrices: [prepared], M: 1 };
    const call = backend.bind(work, [from, undefined, undefined, undefined, to]);
    fill(rows);
    backend.run(call);
    const got = new Float32Array(70);
    backend.read(to, got);
    expect(got).toEqual(backend.matmul(x, prepareRows(backend, { ...packedShape(weights), rows })));
    backend.dispose();
  });

  it('keeps its place if the rows are wrong, and gives it back', async () => {
    const backend = await createBackend('wasm', { debug: true });
    const { prepared, fill } = reserveRows(backend, packedShape(weights));
    expect(() => fill((n, count) => rowsOf(weights, n, n + count - 1))).toThrow('expected N 70, got 69.');
    fill(rows);
    expect(backend.memory().packedBytes).toBe(prepared.byteLength);
    prepared.dispose();
    expect(backend.arena.usedBytes).toBe(0);
    backend.dispose();
  });
});
