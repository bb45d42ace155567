import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { opOf } from '../../test/attention-cases.ts';
import type { AttentionOp, AttentionRun, KvCache } from '../attention/contract.ts';
import { attentionWork, createKvCache } from '../attention-work.ts';
import { createWasmBackend, type WasmBackend } from '../index.ts';
import type { ArenaHandle } from './arena.ts';

const SIZES = { batch: 2, heads: 4, kvHeads: 2, headSize: 8, valueSize: 8, rows: 3 };
const OP = opOf(SIZES);
const isTyped = (error: unknown) => error instanceof TypeError || error instanceof RangeError;

describe('what attention is asked', () => {
  let backend: WasmBackend;
  let cache: KvCache;
  let memory: ArenaHandle;
  beforeAll(() => {
    backend = createWasmBackend({ debug: true });
    cache = createKvCache(backend, SIZES);
    memory = backend.alloc(8192);
    backend.write(memory, new Float32Array(2048).fill(0.5));
  });
  afterAll(() => backend.dispose());

  /** q, k, v, sinks, bias, mask, out, 1024 bytes each. */
  const operandsOf = (present: readonly boolean[]) =>
    present.map((is, i) => (is ? backend.part(memory, 1024 * i, 1024) : undefined));
  const USUAL = [true, true, true, false, false, false, true];

  function attempt(
    op: AttentionOp,
    run: () => AttentionRun<KvCache>,
    operands: readonly (ArenaHandle | undefined)[] = operandsOf(USUAL),
  ): unknown {
    try {
      backend.run(backend.bind(attentionWork(op, run), operands));
      return undefined;
    } catch (error) {
      return error;
    }
  }

  it('runs as it is', () => {
    expect(attempt(OP, () => ({ cache }))).toBeUndefined();
    expect(cache.lengths).toEqual([3, 3]);
  });

  it('refuses ops that cannot be, whatever is wrong in them', () => {
    const odd = fc.constantFrom<unknown>(
      -1,
      0.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 40,
      null,
      '3',
      {},
      [],
      [1, 2, 3],
    );
    const fields: readonly (keyof AttentionOp)[] = [
      ...([
        'batch',
        'rows',
        'newKeys',
        'heads',
        'kvHeads',
        'headSize',
        'valueSize',
        'window',
        'softcap',
        'scale',
      ] as const),
      ...(['alibi', 'bias', 'mask', 'q', 'k', 'v', 'out'] as const),
    ];
    const before = [cache.lengths, backend.arena.usedBytes];
    fc.assert(
      fc.property(fc.constantFrom(...fields), odd, (field, value) => {
        if (field === 'scale' && typeof value === 'number' && Number.isFinite(value)) return; // any will do
        if (field === 'softcap' && typeof value === 'number' && value > 0 && Number.isFinite(value)) return;
        const error = attempt({ ...OP, [field]: value } as AttentionOp, () => ({ cache }));
        expect(isTyped(error), `${field}: ${String(value)} gives ${String(error)}`).toBe(true);
        expect((error as Error).message).toMatch(/^(attention|bind): /);
      }),
      { numRuns: 300 },
    );
    expect([cache.lengths, backend.arena.usedBytes]).toEqual(before);
  });

  it('refuses runs that cannot be', () => {
    const other = createWasmBackend();
    const disposed = createKvCache(backend, SIZES);
    disposed.dispose();
    const bad: readonly unknown[] = [
      {},
      { cache: undefined },
      { cache: createKvCache(other, SIZES) },
      { cache: createKvCache(backend, { ...SIZES, headSize: 16 }) },
      { cache: createKvCache(backend, { ...SIZES, batch: 1 }) },
      { cache: disposed },
      { cache, past: [4, 0] },
      { cache, past: 3 },
      { cache, past: [0] },
      { cache, counts: [4, 0] },
      { cache, queries: [0, 4] },
      { cache, positions: [0, -1] },
      { cache, starts: [0, Number.NaN] },
      { cache, bias: { dims: [1, 1, 1, 5], data: new Float32Array(5) } },
      { cache, bias: { dims: [3, 1, 1, 6], data: new Float32Array(18) } },
      { cache, bias: { dims: [1, 1, 6], data: new Float32Array(6) } },
      { cache, bias: { dims: [1, 1, 1, 6], data: new Float64Array(6) } },
      { cache, mask: { dims: [1, 1, 1, 6], data: new Uint8Array(7) } },
    ];
    const before = cache.lengths;
    for (const run of bad) {
      const error = attempt(OP, () => run as AttentionRun<KvCache>);
      expect(isTyped(error), `${JSON.stringify(Object.keys(run as object))} gives ${String(error)}`).toBe(true);
      expect(cache.lengths).toEqual(before);
    }
    other.dispose();
  });

  it('refuses operands that are missing, too many, too small, or in the way', () => {
    const at = (i: number, begin: number, bytes: number) =>
      operandsOf(USUAL).map((operand, j) => (i === j ? backend.part(memory, begin, bytes) : operand));
    const bad: readonly (readonly unknown[])[] = [
      [],
      operandsOf([false, true, true, false, false, false, true]),
      operandsOf([true, false, true, false, false, false, true]),
      operandsOf([true, true, true, false, false, false, false]),
      operandsOf([true, true, true, false, true, false, true]), // the op has no bias
      at(0, 0, 700),
      at(1, 1024, 380),
      at(3, 3072, 8),
      at(6, 0, 1024), // on q
      at(6, 1020, 1024), // on k
      [memory, 1, 2, undefined, undefined, undefined, memory],
      [new Float32Array(256), ...operandsOf(USUAL).slice(1)],
    ];
    for (const operands of bad)
      expect(isTyped(attempt(OP, () => ({ cache }), operands as readonly (ArenaHandle | undefined)[]))).toBe(true);
    const call = backend.bind(
      attentionWork(OP, () => ({ cache })),
      operandsOf(USUAL),
    );
    expect(() => backend.run(call, { operands: { 6: backend.part(memory, 0, 1024) } })).toThrow(RangeError);
    expect(() => backend.run(call, { operands: { 4: memory } })).toThrow(/absent/);
    expect(
      () => attentionWork(OP, 3 as never) && backend.bind(attentionWork(OP, 3 as never), operandsOf(USUAL)),
    ).toThrow(TypeError);
  });
});
