/** Latencies against tiles that are really sent through the parts, one after the other, and against limits by hand. */
import { describe, expect, it } from 'vitest';
import { dequantizeFirst, pipelined, severalPasses } from './gemm.ts';
import type { Accelerator } from './machine.ts';
import { accelerators, machineOf } from './machines.ts';

const INT8 = { bytes: 1, unit: 'int8' } as const;
const FP4 = { bytes: 17 / 32, unit: 'fp4' } as const;
const SHAPES = [1, 8, 128, 4096].flatMap((M) => [256, 4096].map((N) => ({ M, N, K: 4096 })));
const machines = [
  ...accelerators,
  machineOf({ dotGmacs: 40, readGigabytes: 30 }),
  machineOf({ dotGmacs: 48, relaxedDotGmacs: 110, readGigabytes: 30 }),
];

/** When the last tile leaves the last part, if each part takes one tile at a time. */
function simulated(stages: readonly number[], tiles: number): number {
  const free = stages.map(() => 0);
  let done = 0;
  for (let tile = 0; tile < tiles; tile++) {
    done = 0;
    for (const [i, stage] of stages.entries()) {
      done = Math.max(done, free[i]!) + stage / tiles;
      free[i] = done;
    }
  }
  return done;
}

describe('pipelined', () => {
  it.each([1, 2, 7, 100])('%i tiles', (tiles) => {
    for (const stages of [[1], [3, 1, 2], [0, 5, 5], [2, 0, 0]])
      expect(pipelined(stages, tiles)).toBeCloseTo(simulated(stages, tiles), 9);
  });

  it('is the sum of one tile, and the longest stage of very many', () => {
    expect(pipelined([1, 2, 3], 1)).toBe(6);
    expect(pipelined([1, 2, 3], Number.POSITIVE_INFINITY)).toBe(3);
  });
});

describe('latency of a product', () => {
  it.each(machines.map((machine) => [machine.name, machine] as const))('%s', (_, machine) => {
    for (const shape of SHAPES) {
      for (const result of [dequantizeFirst(machine, shape, INT8), severalPasses(machine, shape, INT8, 2)]) {
        const { busy, seconds, limit, bytes } = result;
        const parts = Object.values(busy);
        // Never less than the part that is busy longest, never more than all of them in a row.
        expect(seconds).toBeGreaterThanOrEqual(busy[limit]);
        expect(seconds).toBeLessThanOrEqual(parts.reduce((a, b) => a + b) * (1 + 1e-12));
        expect(busy[limit]).toBe(Math.max(...parts));
        expect(busy.memory).toBeCloseTo(bytes / (machine.memoryTerabytes * 1e12), 12);
      }
      const seconds = [1, 2, 3].map((passes) => severalPasses(machine, shape, INT8, passes).seconds);
      expect(seconds).toEqual([...seconds].sort((a, b) => a - b));
      const larger = { ...shape, N: 2 * shape.N };
      for (const ask of [dequantizeFirst, severalPasses] as const)
        expect(ask(machine, larger, INT8, 2 as never).seconds).toBeGreaterThan(
          ask(machine, shape, INT8, 2 as never).seconds,
        );
    }
  });

  const decoupled = accelerators.find(({ units }) => units === 'decoupled')!;

  it('decoupled units write dequantized weights and read them again: 5 bytes per weight for 1', () => {
    const shape = { M: 1, N: 4096, K: 4096 };
    const first = dequantizeFirst(decoupled, shape, INT8);
    expect(first.bytes / severalPasses(decoupled, shape, INT8, 2).bytes).toBeCloseTo(5, 1);
    const coupled: Accelerator = { ...decoupled, units: 'coupled' };
    expect(first.bytes - dequantizeFirst(coupled, shape, INT8).bytes).toBe(4 * 4096 * 4096);
    expect(first.seconds).toBeGreaterThan(2 * severalPasses(decoupled, shape, INT8, 2).seconds);
  });

  it('two passes are free where their rows fit into one tile, and cost twice as much in long prompts', () => {
    const matrix = (M: number, passes: number) =>
      severalPasses(decoupled, { M, N: 4096, K: 4096 }, INT8, passes).busy.matrix;
    expect(matrix(8, 2)).toBe(matrix(8, 1));
    expect(matrix(4096, 2)).toBe(2 * matrix(4096, 1));
    // INT8 is twice as fast as BF16: two passes of long prompts take what one in BF16 takes.
    expect(matrix(4096, 2)).toBeCloseTo(
      dequantizeFirst(decoupled, { M: 4096, N: 4096, K: 4096 }, INT8).busy.matrix,
      12,
    );
  });

  it('two passes of MXFP4 take what one of FP8 takes, where both exist', () => {
    const both = accelerators.filter(({ matrixTmacs: { fp4, fp8 } }) => fp4 !== undefined && fp8 !== undefined);
    expect(both.length).toBeGreaterThan(0);
    for (const machine of both) {
      const { busy } = severalPasses(machine, { M: 4096, N: 4096, K: 4096 }, FP4, 2);
      expect(busy.matrix).toBeCloseTo(4096 ** 3 / machine.matrixTmacs.fp8! / 1e12, 9);
    }
  });

  it('refuses products that the machine has no unit for', () => {
    expect(() => severalPasses(decoupled, SHAPES[0]!, FP4, 2)).toThrow(
      new RangeError(`severalPasses: ${decoupled.name} expected to multiply fp4, it has no rate for it.`),
    );
  });

  it('one unit for both: what is dequantized is added to what is multiplied', () => {
    const machine = machineOf({ dotGmacs: 40, readGigabytes: 30 });
    const { busy, seconds } = dequantizeFirst(machine, { M: 1, N: 1000, K: 1000 }, INT8, {
      tiles: Number.POSITIVE_INFINITY,
    });
    expect(seconds).toBeCloseTo(Math.max(busy.memory, busy.vector + busy.matrix), 15);
    expect(busy.matrix).toBeCloseTo(1e6 / 20e9, 12);
    expect(busy.vector).toBeCloseTo(2e6 / 40e9, 12);
  });
});

describe('accelerators', () => {
  it('name their sources, and have rates in the order that their makers give', () => {
    for (const { source, matrixTmacs, vectorTops, memoryTerabytes } of accelerators) {
      expect(source.length).toBeGreaterThan(20);
      expect(matrixTmacs.int8).toBeGreaterThanOrEqual(matrixTmacs.bf16);
      expect(matrixTmacs.bf16).toBeGreaterThan(vectorTops);
      expect(vectorTops).toBeGreaterThan(memoryTerabytes);
    }
  });
});
