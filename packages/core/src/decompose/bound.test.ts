/** The bound of every single element, over many: 10⁶ here, 10⁸ with MSD_TEST_ALL. */
import { describe, expect, it } from 'vitest';
import { kernelOn } from '../../test/kernels.ts';
import { gaussian, type Random, random } from '../../test/random.ts';
import { elementBound } from '../accuracy/bounds.ts';
import { Arena } from '../backends/arena.ts';
import { K_BLOCK } from '../formats/format.ts';
import { type Decomposition, limitOf } from './contract.ts';
import { decomposeSpec } from './decompose.wasm.ts';

const [M, K] = [64, 2048];
const ELEMENTS = process.env.MSD_TEST_ALL === '1' ? 1e8 : 1e6;

/** Neighbouring floats of a value. */
function nudge(value: number, steps: number): number {
  const bits = new Int32Array(Float32Array.of(value).buffer);
  bits[0] += steps;
  return new Float32Array(bits.buffer)[0];
}

/** Rows as they come, and rows made to be rounded badly: halves of a step and their neighbours, every magnitude. */
const SOURCES: Record<string, (next: Random, limit: number) => (k: number) => number> = {
  Gaussian: (next) => () => gaussian(next),
  'one element 1000x per block': (next) => (k) => (k % 256 === 7 ? 1000 : 1) * gaussian(next),
  'halves of a step': (next, limit) => {
    const max = Math.fround(2 ** (next() * 200 - 100) * (1 + next()));
    return (k) => {
      if (k % 32 === 0) return max;
      const half = (Math.floor(next() * limit) + 0.5) * (max / limit);
      return nudge(half, Math.floor(next() * 5) - 2) * (next() < 0.5 ? -1 : 1);
    };
  },
  'every magnitude': (next) => () => (next() - 0.5) * 2 ** Math.floor(next() * 250 - 140),
};

describe('|x − S·q| ≤ S/2 · (1 + 2⁻⁶), element by element', () => {
  for (const activationBlock of ['row', 256, 32] as const)
    for (const components of [1, 2] as const)
      it(`${components} component(s), activationBlock ${activationBlock}`, { timeout: 600_000 }, () => {
        const decomposition: Decomposition = { id: 'int8', components, activationBlock };
        const arena = new Arena();
        const kernel = kernelOn(arena.memory, decomposeSpec, { decomposition, operands: 'i16' });
        const [x, q, sums, scales] = [4 * M * K, 2 * M * K, (M * K) / 8, 4 * M * (K / 32)].map((bytes) =>
          arena.alloc(bytes),
        );
        const input = arena.float32(x);
        const output = new Int16Array(arena.memory.buffer, q.ptr, M * K);
        const S = arena.float32(scales);
        const block = activationBlock === 'row' ? K : activationBlock;
        const next = random(17);
        let checked = 0;
        for (let turn = 0; checked < ELEMENTS / 6; turn++)
          for (const [name, source] of Object.entries(SOURCES)) {
            for (let m = 0; m < M; m++) {
              const value = source(next, limitOf(components));
              for (let k = 0; k < K; k++) input[m * K + k] = value(k);
            }
            kernel({ x: x.ptr, q: q.ptr, sums: sums.ptr, scale: scales.ptr, scaleStride: 4 * M, M, K });
            for (let m = 0; m < M; m++)
              for (let begin = 0; begin < K; begin += block) {
                const at = m * K + begin;
                let max = 0;
                for (let i = at; i < at + block; i++) max = Math.max(max, Math.abs(input[i]));
                const bound = elementBound(max, components);
                // Row scales are stored once per K-block of 256.
                const scale = S[(activationBlock === 'row' ? 0 : begin / block) * M + m];
                for (let k = begin; k < begin + block; k++) {
                  const value = input[m * K + k];
                  const integer = output[(Math.floor(k / K_BLOCK) * M + m) * K_BLOCK + (k % K_BLOCK)];
                  if (!(Math.abs(value - scale * integer) <= bound))
                    throw new Error(
                      `${name}, turn ${turn}: x = ${value}, S = ${scale}, q = ${integer}, bound ${bound}`,
                    );
                }
              }
            checked += M * K;
          }
        expect(checked).toBeGreaterThanOrEqual(ELEMENTS / 6);
      });
});
