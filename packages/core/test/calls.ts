/** What threads have to give to bound calls, in Node and in pages: the bits of one thread, whatever happens to workers. */
import { afterEach, describe, expect, it } from 'vitest';
import { WasmBackend } from '../src/backends/wasm/backend.ts';
import { i32Params, type KernelSpec, kernelCall } from '../src/kernel-spec.ts';
import { norm } from '../src/nn/index.ts';
import type { OpSpec, TensorType } from '../src/ops/op.ts';
import { threadPool } from '../src/threads/pool.ts';
import { createTeam, type Team } from '../src/threads/team.ts';
import { f32, f32x4, v128 } from '../src/wasm/emitter.ts';
import { advance } from '../src/wasm/loops.ts';
import { attentionBits, CUTS, RECORDED_ATTENTION } from './attention-bits.ts';
import { firstDifference, gaussians, random, randomWeights } from './random.ts';
import { hangingEnds, hangingKernels, type SpoiledWorker, trappingEnds } from './threads.ts';

const ARGS = ['x', 'y', 'rows', 'vectors'] as const;

/** y = x + by, four at a time. */
const addKernels: KernelSpec<number, (typeof ARGS)[number]> = {
  family: 'test_add',
  args: ARGS,
  id: (by) => `test_add_${by}`,
  emit(module, by) {
    module.func(this.id(by), i32Params(ARGS), (f, p) => {
      f.repeat(p.rows, () =>
        f.repeat(p.vectors, () => {
          f.storeV128(p.y, f32x4.add(v128.load(p.x), f32x4.splat(f32.const(by))));
          for (const pointer of [p.x, p.y]) advance(pointer, 16);
        }),
      );
    });
  },
  trial: (_, at) => ({ x: at, y: at, rows: 1, vectors: 1000 }),
};

/** y = (x + 1) + 2, where the second addition works in place: done twice, it would show. */
const addTwice: OpSpec<object> = {
  name: 'add_twice',
  infer: (_, [x]) => [x as TensorType],
  reference() {},
  wasm(_, [x]) {
    const [rows, columns] = x!.dims;
    const share = { rows, macsPerRow: 100 * columns };
    const at = (operand: number) => ({ operand, perRow: 4 * columns });
    const call = (by: number, from: number) =>
      kernelCall(addKernels, by, { x: at(from), y: at(1), rows: { rows: 1 }, vectors: columns / 4 }, share);
    return { calls: [call(1, 0), call(2, 1)], scratchBytes: 0 };
  },
};

export function callSuite(spoiled: SpoiledWorker): void {
  describe('bound calls on threads', () => {
    const teams: Team[] = [];

    async function create(threads: number, spoil?: string): Promise<WasmBackend> {
      const team = await createTeam({ threads, worker: spoil === undefined ? undefined : () => spoiled(spoil) });
      teams.push(team);
      threadPool().chunkMacs = 1;
      return new WasmBackend({ debug: true }, team);
    }

    afterEach(() => {
      for (const team of teams.splice(0)) team.release();
      const pool = threadPool();
      pool.stop();
      pool.warnings.length = 0;
      pool.chunkMacs = undefined;
    });

    /** A bound product whose bits each run compares with those of one thread. */
    async function withEnd(spoil: string, M: number): Promise<{ backend: WasmBackend; run: () => Promise<void> }> {
      const shape = { format: 'int4', blockSize: 32, N: 2000, K: 512, asymmetric: false } as const;
      const backend = await create(2, spoil);
      const weights = randomWeights(random(1), shape);
      const values = gaussians(random(2), M * shape.K);
      const single = new WasmBackend();
      const want = single.matmul(values, single.prepare(weights), { activation: 'gelu' });
      const [x, y] = [backend.alloc(values.byteLength), backend.alloc(want.byteLength)];
      backend.write(x, values);
      const matrices = [backend.prepare(weights)];
      const call = backend.bind({ kind: 'product', matrices, M, each: [{ activation: 'gelu' }] }, [
        x,
        ...[undefined, undefined, undefined, y],
      ]);
      const run = async () => {
        backend.run(call);
        expect(firstDifference(backend.arena.float32(y), want)).toBe(-1);
        await new Promise((resolve) => setTimeout(resolve, 1));
      };
      return { backend, run };
    }

    it.each([1, 2, 3])('give the same bits on %i, in place and apart', async (threads) => {
      const backend = await create(threads);
      const dims = [67, 30];
      const values = gaussians(random(1), 67 * 30);
      const op = { kind: 'layer', epsilon: 1e-5 } as const;
      const absent = [undefined, undefined, undefined, undefined];
      const want = new Float32Array(values.length);
      const type = { dtype: 'f32', dims } as const;
      norm.reference(op, [{ ...type, data: values }, ...absent], [{ ...type, data: want }], 'float32');
      const [x, y] = [backend.alloc(values.byteLength), backend.alloc(values.byteLength)];
      const spec = norm as OpSpec<unknown>;
      const call = backend.bind({ kind: 'op', spec, op, inputs: [type, ...absent] }, [x, ...absent, y]);
      for (const to of [y, x, y]) {
        backend.write(x, values);
        backend.run(call, { operands: { 5: to } });
        expect(firstDifference(backend.arena.float32(to), want)).toBe(-1);
      }
    });

    it('an op of which a worker is lost is done again from the start', async () => {
      const backend = await create(2, hangingKernels);
      threadPool().patienceMs = 100;
      const dims = [64, 4096];
      const [x, y] = [backend.alloc(4 * 64 * 4096), backend.alloc(4 * 64 * 4096)];
      const spec = addTwice as OpSpec<unknown>;
      const call = backend.bind({ kind: 'op', spec, op: {}, inputs: [{ dtype: 'f32', dims }] }, [x, y]);
      const { memory } = backend.arena;
      for (let i = 0; i < 2000 && backend.arena.memory === memory; i++) {
        backend.run(call);
        expect(backend.arena.float32(y).every((value) => value === 3)).toBe(true);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect(backend.arena.memory).not.toBe(memory);
      backend.run(call);
      expect(backend.arena.float32(y).every((value) => value === 3)).toBe(true);
    });

    it.each([
      ['in any of its kernels', hangingKernels, 33],
      ['in an end that goes on with a chunk', hangingEnds, 33],
      ['in an end of its own', hangingEnds, 1],
    ])('a product with an end of which a worker is lost %s gives its bits', async (_, spoil, M) => {
      const { backend, run } = await withEnd(spoil, M);
      threadPool().patienceMs = 100;
      const { memory } = backend.arena;
      for (let i = 0; i < 2000 && backend.arena.memory === memory; i++) await run();
      expect(backend.arena.memory).not.toBe(memory);
    });

    it('chunks that a worker cannot go on with are repeated by the calling thread', async () => {
      const { backend, run } = await withEnd(trappingEnds, 33);
      const { memory } = backend.arena;
      for (let i = 0; i < 20; i++) await run();
      expect(backend.arena.memory).toBe(memory);
      expect(backend.threads.warnings).toEqual([]);
    });

    it.each(CUTS)('attention to %i tokens at once, of which a worker is lost, gives the recorded bits', async (cut) => {
      const backend = await create(2, hangingKernels);
      threadPool().patienceMs = 100;
      const { memory } = backend.arena;
      for (let i = 0; i < 200 && backend.arena.memory === memory; i++) {
        expect(attentionBits(backend, cut)).toBe(RECORDED_ATTENTION);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      expect(backend.arena.memory).not.toBe(memory);
      expect(attentionBits(backend, cut)).toBe(RECORDED_ATTENTION);
    });
  });
}
