import { describe, expect, it } from 'vitest';
import { referenceOp, tensor } from '../../../test/ops.ts';
import { firstDifference, gaussians, random, randomWeights, type WeightShape } from '../../../test/random.ts';
import { BackendUnavailableError } from '../../errors.ts';
import { elementwise } from '../../nn/elementwise/elementwise.ts';
import { norm } from '../../nn/norm/norm.ts';
import type { OpSpec } from '../../ops/op.ts';
import { Arena, type ArenaHandle } from '../arena.ts';
import { createBackend } from '../create.ts';
import type { OpWork, ProductWork } from '../device.ts';
import type { WasmBackend } from './backend.ts';

const shape = { format: 'int4', blockSize: 32, N: 40, K: 320, asymmetric: false } as const;
const backend: WasmBackend = await createBackend('wasm', { debug: true });
const { arena } = backend;
const next = random(7);

function put(values: Float32Array): ArenaHandle {
  const handle = backend.alloc(values.byteLength);
  backend.write(handle, values);
  return handle;
}

function floats(handle: ArenaHandle): Float32Array {
  const values = new Float32Array(handle.byteLength / 4);
  backend.read(handle, values);
  return values;
}

const swish = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [2, 1] },
  ],
  outputs: [3],
} as const;
const work = (dims: readonly number[]): OpWork => ({
  kind: 'op',
  spec: elementwise as OpSpec<unknown>,
  op: swish,
  inputs: [
    { dtype: 'f32', dims },
    { dtype: 'f32', dims },
  ],
});

describe('bound ops', () => {
  it('run where their operands are, and where they have moved to', () => {
    const dims = [3, 50];
    const values = Array.from({ length: 4 }, () => gaussians(next, 150));
    const [a, b, c, d] = values.map(put);
    const [y, z] = [backend.alloc(600), backend.alloc(600)];
    const want = ([i, j]: readonly [number, number]) =>
      referenceOp(elementwise, swish, [tensor('f32', dims, values[i]), tensor('f32', dims, values[j])])[0].data;
    const call = backend.bind(work(dims), [a, b, y]);
    expect(call.kernels).toHaveLength(1);
    backend.run(call);
    expect(firstDifference(floats(y), want([0, 1]))).toBe(-1);
    backend.run(call, { operands: { 0: c, 2: z } });
    expect(firstDifference(floats(z), want([2, 1]))).toBe(-1);
    backend.run(call, { operands: { 1: d } });
    expect(firstDifference(floats(z), want([2, 3]))).toBe(-1);
    expect(call.operands).toEqual([c, d, z]);
    arena.move();
    backend.run(call, { operands: { 0: a, 2: a } }); // in place
    expect(firstDifference(floats(a), want([0, 3]))).toBe(-1);
    for (const handle of [a, b, c, d, y, z]) backend.free(handle);
  });

  it('have parts of one buffer as operands, and optional ones that are absent', () => {
    const block = backend.alloc(64 * 8);
    const [x, y] = [backend.part(block, 64, 120), backend.part(block, 256, 120)];
    const values = gaussians(next, 30);
    backend.write(x, values);
    const op = { kind: 'rms', epsilon: 1e-6 } as const;
    const inputs = [{ dtype: 'f32', dims: [2, 15] }, undefined, undefined, undefined, undefined] as const;
    const of: OpWork = { kind: 'op', spec: norm as OpSpec<unknown>, op, inputs };
    backend.run(backend.bind(of, [x, undefined, undefined, undefined, undefined, y]));
    const [want] = referenceOp(norm, op, [tensor('f32', [2, 15], values), undefined, undefined, undefined, undefined]);
    expect(firstDifference(floats(y), want.data)).toBe(-1);
    backend.free(block);
  });

  it('refuse what cannot be', () => {
    const [a, b, y] = Array.from({ length: 3 }, () => backend.alloc(600));
    const dims = [3, 50];
    expect(() => backend.bind(work(dims), [a, b])).toThrow(/expected 2 inputs and 1 outputs, got 2 operands/);
    expect(() => backend.bind(work(dims), [a, undefined, y])).toThrow(TypeError);
    expect(() => backend.bind(work([3, 51]), [a, b, y])).toThrow(/input 0 expected 612 bytes of f32 \[3,51\], got 600/);
    const shifted = { ...a, ptr: a.ptr + 4, byteLength: 596 };
    expect(() => backend.bind(work([149]), [a, b, shifted])).toThrow(/output 0 expected memory of its own/);
    const other = new Arena().alloc(600);
    expect(() => backend.bind(work(dims), [a, b, other])).toThrow(/operand 2 is not a live buffer/);
    const call = backend.bind(work(dims), [a, b, y]);
    expect(() => backend.run(call, { operands: { 0: { ...a, byteLength: 596 } } })).toThrow(/operand 0 expected 600/);
    expect(() => backend.run(call, { operands: { 1: other } })).toThrow(/operand 1 expected 600 bytes of this/);
    expect(() => backend.part(a, 590, 20)).toThrow(RangeError);
    expect(() => backend.write(a, new Uint8Array(601))).toThrow(/at most 600 bytes, as the handle has, got 601/);
    expect(() => backend.read(a, new Float32Array(151))).toThrow(RangeError);
    for (const handle of [a, b, y]) backend.free(handle);
    expect(() => backend.bind(work(dims), [a, b, y])).toThrow(/operand 0 is not a live buffer/);
  });
});

describe('bound products', () => {
  const matrices = [shape, { ...shape, N: 33 }, { ...shape, format: 'int8', blockSize: null } as const].map((each) =>
    backend.prepare(randomWeights(next, each)),
  );

  it.each([1, 3, 300])('give the bits of matmulMany, for M = %i, wherever operands move', (M) => {
    const { K } = shape;
    const xs = [gaussians(next, M * K), gaussians(next, M * K)];
    const bias = gaussians(next, 33);
    const [x, x2] = xs.map(put);
    const b = put(bias);
    const outs = matrices.map(({ N }) => backend.alloc(4 * M * N));
    const residual = gaussians(next, M * 40);
    const r = put(residual);
    const work: ProductWork<(typeof matrices)[number]> = {
      kind: 'product',
      matrices,
      M,
      each: [{ activation: 'silu' }, {}, {}],
    };
    const call = backend.bind(work, [
      x,
      ...[undefined, undefined, undefined, outs[0]],
      ...[b, undefined, undefined, outs[1]],
      ...[undefined, outs[0], r, r],
    ]);
    const want = (of: Float32Array) => {
      const first = backend.matmul(of, matrices[0], { activation: 'silu' });
      const last = backend.matmul(of, matrices[2], { multiply: first, residual });
      return [first, backend.matmul(of, matrices[1], { bias }), last];
    };
    const same = (handles: readonly ArenaHandle[], of: Float32Array) => {
      want(of).forEach((values, i) => {
        expect(firstDifference(floats(handles[i]), values), `matrix ${i}`).toBe(-1);
      });
      backend.write(r, residual);
    };
    backend.run(call);
    same([outs[0], outs[1], r], xs[0]);
    backend.run(call);
    same([outs[0], outs[1], r], xs[0]);
    backend.matmul(gaussians(next, 300 * 2048), backend.prepare(randomWeights(next, { ...shape, K: 2048 }))); // scratch grows
    const other = backend.alloc(4 * M * 33);
    backend.run(call, { operands: { 0: x2, 8: other } });
    same([outs[0], other, r], xs[1]);
    arena.move();
    if (M === 1) backend.autotune(matrices[1], 1);
    backend.run(call, { operands: { 0: x, 12: outs[2] } }); // no longer its own residual
    same([outs[0], other, outs[2]], xs[0]);
    expect(call.kernels.some((id) => id.startsWith('end_f32_silu'))).toBe(true);
    for (const handle of [x, x2, b, r, other, ...outs]) backend.free(handle);
  });

  it('read and write half precision', () => {
    const { N, K } = shape;
    const x = Uint16Array.from(gaussians(next, 2 * K), () => 0x3c00 + Math.floor(next() * 1000));
    const [from, to] = [backend.alloc(x.byteLength), backend.alloc(4 * N)];
    backend.write(from, x);
    const work = { kind: 'product', matrices: [matrices[0]], M: 2, xType: 'f16', each: [{ outType: 'bf16' }] } as const;
    backend.run(backend.bind(work, [from, undefined, undefined, undefined, to]));
    const got = new Uint16Array(2 * N);
    backend.read(to, got);
    const want = backend.matmul(x, matrices[0], { xType: 'f16', outType: 'bf16' });
    expect(firstDifference(got, want)).toBe(-1);
    for (const handle of [from, to]) backend.free(handle);
  });

  it('refuse what cannot be, and matrices that are gone', () => {
    const { N, K } = shape;
    const matrix = backend.prepare(randomWeights(next, shape));
    const [x, out] = [backend.alloc(4 * K), backend.alloc(4 * N)];
    const work = { kind: 'product', matrices: [matrix], M: 1 } as const;
    const none = undefined;
    expect(() => backend.bind({ ...work, matrices: [] }, [x])).toThrow(/at least one matrix/);
    expect(() => backend.bind(work, [x, none, none, out])).toThrow(/expected 5 operands, got 4/);
    expect(() => backend.bind(work, [x, none, none, none, none])).toThrow(
      /out of matrix 0 expected an arena handle, got undefined/,
    );
    expect(() => backend.bind(work, [none, none, none, none, out])).toThrow(TypeError);
    expect(() => backend.bind({ ...work, M: 2 }, [x, none, none, none, out])).toThrow(/x expected 640 values/);
    const call = backend.bind(work, [x, none, none, none, out]);
    expect(() => backend.run(call, { operands: { 1: out } })).toThrow(/operand 1 was absent/);
    expect(() => backend.run(call, { operands: { 4: { ...out, byteLength: 156 } } })).toThrow(/expected 160 bytes/);
    backend.run(call);
    matrix.dispose();
    expect(() => backend.run(call)).toThrow(/disposed of/);
    expect(() => backend.bind(work, [x, none, none, none, out])).toThrow(/disposed of/);
    for (const handle of [x, out]) backend.free(handle);
  });

  it('belong to one backend', async () => {
    const other = await createBackend('wasm');
    const call = backend.bind(work([1]), [backend.alloc(4), backend.alloc(4), backend.alloc(4)]);
    expect(() => other.run(call)).toThrow(/bound by another backend/);
    other.dispose();
  });
});

describe('a device whose memory ran out', () => {
  /** @returns runs a product that is bound to buffers of its own */
  function bound(device: WasmBackend, weights: WeightShape, M: number): () => Float32Array {
    const matrices = [device.prepare(randomWeights(next, weights))];
    const [x, y] = [device.alloc(4 * M * weights.K), device.alloc(4 * M * weights.N)];
    device.write(x, gaussians(next, M * weights.K));
    const call = device.bind({ kind: 'product', matrices, M }, [x, undefined, undefined, undefined, y]);
    return (): Float32Array => {
      const values = new Float32Array(M * weights.N).fill(Number.NaN);
      device.write(y, values);
      device.run(call);
      device.read(y, values);
      return values;
    };
  }

  it('computes what it had bound, whichever working buffer of a larger product there was no memory for', async () => {
    let failures = 0;
    for (let failing = 0, hasFailed = true; hasFailed; failing++) {
      const device = await createBackend('wasm', { debug: true });
      const small = bound(device, shape, 2);
      const large = () => bound(device, { ...shape, K: 2048 }, 40)();
      const before = small();
      const { alloc } = device.arena;
      let count = 0;
      device.arena.alloc = (byteLength, label) => {
        if (count++ === failing) throw new BackendUnavailableError('no memory');
        return alloc.call(device.arena, byteLength, label);
      };
      let error: unknown;
      try {
        large();
      } catch (caught) {
        error = caught;
      }
      device.arena.alloc = alloc;
      hasFailed = error !== undefined;
      if (hasFailed) expect(error).toBeInstanceOf(BackendUnavailableError);
      failures += Number(hasFailed);
      expect(firstDifference(small(), before), `allocation ${failing}`).toBe(-1);
      expect(large().every(Number.isFinite)).toBe(true);
      device.dispose();
    }
    expect(failures).toBeGreaterThan(2);
  });
});
