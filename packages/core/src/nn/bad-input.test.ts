/** Whatever an op is given: types of its outputs, or a RangeError before anything is computed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DType, OpSpec, TensorType } from '../ops/op.ts';
import { copy } from './copy/copy.ts';
import { concat, expand, pad, slice, split, tile, transpose } from './copy/layouts.ts';
import { elementwise } from './elementwise/elementwise.ts';
import { functionIds } from './elementwise/functions.ts';
import { gather, gatherRows } from './gather/gather.ts';

const options = { numRuns: process.env.MSD_TEST_ALL === '1' ? 100_000 : 3000 };
const number = fc.oneof(
  fc.integer({ min: -3, max: 5 }),
  fc.constantFrom(0.5, -1, Number.NaN, Infinity, -Infinity, 2 ** 31, 2 ** 53, -0),
);
const numbers = fc.array(number, { maxLength: 4 });
const dims = fc.array(fc.nat(5), { maxLength: 4 });
const dtype = fc.constantFrom<DType>('f32', 'i32', 'bool');
const type: fc.Arbitrary<TensorType | undefined> = fc.option(fc.record({ dtype, dims }), { nil: undefined, freq: 8 });
const types = fc.array(type, { maxLength: 4 });

/** @returns what `make` returns, or nothing if it threw a RangeError */
function refused<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    expect(error.message).toMatch(/expected .*got/);
    return undefined;
  }
}

/** Kernels and references of what `infer` lets through come without a complaint, too. */
function tried<O>(spec: OpSpec<O>, op: O, inputs: readonly (TensorType | undefined)[]): void {
  const outputs = refused(() => spec.infer(op, inputs));
  if (!outputs) return;
  for (const output of outputs) expect(output.dims.every((dim) => Number.isInteger(dim) && dim >= 0)).toBe(true);
  for (const call of spec.wasm(op, inputs, outputs).calls) {
    for (const { value = 0, perRow = 0, rows = 0 } of call.args)
      if (![value, perRow, rows].every(Number.isInteger)) throw new Error(`${call.id}: ${JSON.stringify(call.args)}`);
  }
}

describe('bad input', () => {
  it('elementwise', () => {
    const node = fc.record({ fn: fc.constantFrom(...functionIds), args: numbers, values: numbers });
    const op = fc.record({ nodes: fc.array(node, { maxLength: 3 }), outputs: numbers });
    fc.assert(
      fc.property(op, types, (given, inputs) => tried(elementwise, given, inputs)),
      options,
    );
  });

  it('copy', () => {
    const place = fc.record({ operand: number, offset: number, strides: numbers });
    const from = fc.oneof(place, fc.record({ value: number }));
    const parts = fc.array(fc.record({ dims: numbers, from, to: place }), { maxLength: 2 });
    const op = fc.record({ outputs: fc.array(numbers, { maxLength: 2 }), parts });
    fc.assert(
      fc.property(op, types, (given, inputs) => tried(copy, given, inputs)),
      options,
    );
  });

  it('movements', () => {
    const input = (shape: readonly number[]): TensorType => ({ dtype: 'f32', dims: shape });
    const mode = fc.constantFrom('constant', 'edge', 'reflect', 'wrap');
    fc.assert(
      fc.property(
        dims,
        fc.array(dims, { maxLength: 3 }),
        numbers,
        numbers,
        numbers,
        number,
        mode,
        (x, shapes, a, b, c, n, how) => {
          const makers = [
            () => transpose(x, a),
            () => slice(x, { starts: a, ends: b, axes: c }),
            () => slice(x, { starts: a, ends: b, steps: c }),
            () => split(x, n, a),
            () => expand(x, a),
            () => tile(x, a),
            () => pad(x, { before: a, after: b, mode: how }),
          ];
          for (const make of makers) {
            const op = refused(make);
            if (op) tried(copy, op, [input(x)]);
          }
          const joined = refused(() => concat(shapes, n));
          if (joined) tried(copy, joined, shapes.map(input));
        },
      ),
      options,
    );
  });

  it('gather', () => {
    fc.assert(
      fc.property(number, types, (axis, inputs) => tried(gather, { axis }, inputs)),
      options,
    );
    const blocks = fc.record({
      kind: fc.constant('blocks' as const),
      bits: fc.constantFrom(4 as const, 8 as const),
      signed: fc.boolean(),
      blockSize: number,
      scales: fc.constantFrom('f32' as const, 'f16' as const),
      zeroPoints: fc.constantFrom(undefined, 'flat' as const, 'rows' as const),
    });
    const format = fc.oneof(fc.constantFrom('f32' as const, 'f16' as const, 'bf16' as const), blocks);
    const table = fc.record({ rows: number, columns: number, format });
    fc.assert(
      fc.property(table, types, (given, inputs) => tried(gatherRows, { table: given }, inputs)),
      options,
    );
  });
});
