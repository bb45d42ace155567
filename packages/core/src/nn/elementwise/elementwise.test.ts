import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, kernelHashes, tensor } from '../../../test/ops.ts';
import { gaussian, type Random, random } from '../../../test/random.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import { elementwise } from './elementwise.ts';
import { elementwiseKernel, elementwiseVariants } from './elementwise.wasm.ts';
import { type Elementwise, type ElementwiseNode, expressionText, typedExpression } from './expression.ts';
import { functionIds, functionOf } from './functions.ts';

const add: Elementwise = { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] };
const type = (dtype: DType, dims: readonly number[]) => ({ dtype, dims });

const draw: Record<DType, (next: Random) => number> = {
  f32: (next) => (next() < 0.05 ? [Number.NaN, Infinity, -0, 2 ** -140][Math.floor(next() * 4)] : 3 * gaussian(next)),
  i32: (next) => Math.floor(next() * 2 ** 32) | 0,
  bool: (next) => Math.floor(next() * 2),
};
const drawn = (next: Random, dtype: DType, dims: readonly number[]): Tensor =>
  tensor(
    dtype,
    dims,
    Array.from({ length: elementCount(dims) }, () => draw[dtype](next)),
  );

/** An input of a result of these dimensions: some of them repeated, leading ones left out. */
const repeated = (next: Random, dims: readonly number[]): number[] =>
  dims.slice(Math.floor(next() ** 2 * (dims.length + 1))).map((dim) => (next() < 0.3 ? 1 : dim));

/** Any nodes that the types allow. */
function expression(next: Random, inputs: readonly DType[]): Elementwise {
  const types = [...inputs];
  const nodes: ElementwiseNode[] = [];
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)];
  for (let left = 1 + Math.floor(next() * 6); left > 0; left--) {
    const fn = pick(functionIds);
    const { forms, values = [] } = functionOf(fn);
    const form = pick(forms);
    const args = form.args.map((own) => types.flatMap((known, i) => (known === own ? [i] : [])));
    if (args.some(({ length }) => length === 0)) continue;
    nodes.push({ fn, args: args.map(pick), values: values.map(() => pick([0.5, 2, -1, 0.1, 3])) });
    types.push(form.result);
  }
  const outputs = Array.from({ length: 1 + Math.floor(next() * 3) }, () => Math.floor(next() * types.length));
  return { nodes, outputs };
}

const dim = fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 0);
const dims = fc.array(dim, { maxLength: 4 }).filter((all) => elementCount(all) < 20_000);

describe('elementwise', () => {
  it('gives the bits of the f32 contract for any expression, any types and any broadcast', () => {
    fc.assert(
      fc.property(dims, fc.integer({ min: 1, max: 4 }), fc.integer(), (result, count, seed) => {
        const next = random(seed);
        const types = Array.from(
          { length: count },
          () => (['f32', 'f32', 'i32', 'bool'] as const)[Math.floor(next() * 4)],
        );
        const inputs = types.map((dtype) => drawn(next, dtype, repeated(next, result)));
        expectBits(elementwise, expression(next, types), inputs);
      }),
      { numRuns: process.env.MSD_TEST_ALL === '1' ? 3000 : 200 },
    );
  });

  it.each([
    [[], [], []],
    [[5], [], [5]],
    [[3, 5], [5], [3, 5]],
    [
      [3, 1],
      [1, 5],
      [3, 5],
    ],
    [
      [2, 3, 4, 5],
      [3, 1, 5],
      [2, 3, 4, 5],
    ],
    [
      [2, 1, 4, 1],
      [3, 1, 17],
      [2, 3, 4, 17],
    ],
    [[0, 3], [1], [0, 3]],
    [[1], [0], [0]],
  ])('broadcasts %j and %j to %j', (a, b, result) => {
    const next = random(5);
    const inputs = [drawn(next, 'f32', a), drawn(next, 'f32', b)];
    expect(expectBits(elementwise, add, inputs)[0].dims).toEqual(result);
    expect(expectBits(elementwise, add, inputs.toReversed())[0].dims).toEqual(result);
  });

  it('needs no inputs', () => {
    const op: Elementwise = { nodes: [{ fn: 'ConstantF32', args: [], values: [0.1] }], outputs: [0] };
    expect([...expectBits(elementwise, op, [])[0].data]).toEqual([Math.fround(0.1)]);
  });

  it('has one output for each value that is asked for, in its own type', () => {
    const op: Elementwise = {
      nodes: [
        { fn: 'Less', args: [0, 1] },
        { fn: 'Where', args: [2, 0, 1] },
      ],
      outputs: [2, 3, 0],
    };
    const [less, least, same] = expectBits(elementwise, op, [tensor('f32', [3], [1, 2, 3]), tensor('f32', [], [2])]);
    expect([less, least, same].map(({ dtype, data }) => [dtype, ...data])).toEqual([
      ['bool', 1, 0, 0],
      ['f32', 1, 2, 2],
      ['f32', 1, 2, 3],
    ]);
  });

  it('names kernels by what they compute', () => {
    const texts = [
      {
        nodes: [
          { fn: 'Mul', args: [0, 1] },
          { fn: 'Add', args: [2, 0] },
        ],
        outputs: [3],
      },
      {
        nodes: [
          { fn: 'Mul', args: [0, 1] },
          { fn: 'Add', args: [2, 0] },
        ],
        outputs: [2],
      },
      { nodes: [{ fn: 'LeakyRelu', args: [0], values: [0.1] }], outputs: [2] },
      { nodes: [{ fn: 'ConstantF32', args: [], values: [-0] }], outputs: [2] },
      { nodes: [{ fn: 'ConstantF32', args: [], values: [0] }], outputs: [2] },
      { nodes: [], outputs: [1] },
    ] as const satisfies readonly Elementwise[];
    expect(texts.map((op) => expressionText(typedExpression(op, ['f32', 'f32'])))).toEqual([
      'Mul0.1-Add2.0',
      'Mul0.1-Add2.0_to2',
      'LeakyRelu0v0.100000001',
      'ConstantF32v-0',
      'ConstantF32v0',
      '',
    ]);
    const long = (values: readonly number[]) => {
      const nodes = [0, 1, 2, 3, 4].map((i) => ({ fn: 'HardSigmoid', args: [i], values }) as const);
      return elementwiseKernel.id({
        expression: typedExpression({ nodes, outputs: [5] }, ['f32']),
        steps: [true],
        loops: 0,
      });
    };
    expect(long([0.1, 0.5]).length).toBeLessThanOrEqual(80);
    expect(long([0.1, 0.5])).not.toBe(long([0.1, 0.25]));
  });

  it('has one kernel for expressions that differ in constants alone, unless they are more than it has arguments', () => {
    const sum = (values: readonly number[]): Elementwise => ({
      nodes: values.flatMap((value, i): ElementwiseNode[] => [
        { fn: 'ConstantF32', args: [], values: [value] },
        { fn: i % 2 ? 'Add' : 'Mul', args: [2 * i, 2 * i + 1] },
      ]),
      outputs: [2 * values.length],
    });
    const x = tensor(
      'f32',
      [2, 7],
      [-0, Number.NaN, Infinity, 2 ** -140, ...Array.from({ length: 10 }, (_, i) => i - 4)],
    );
    const kernels = (values: readonly number[]): string[] => {
      expectBits(elementwise, sum(values), [x]);
      return elementwise.wasm(sum(values), [x], [x]).calls.map(({ id }) => id);
    };
    const few = [
      [0.1, -0],
      [3e38, -7],
      [Number.NaN, Infinity],
    ].map((values) => kernels(values));
    expect(new Set(few.flat()).size).toBe(1);
    const many = [0, 1].map((first) => kernels(Array.from({ length: 40 }, (_, i) => (first + i) / 7)));
    expect(new Set(many.flat()).size).toBe(2);
  });

  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(elementwiseKernel, elementwiseVariants)).toMatchSnapshot();
  });

  it.each<[Elementwise, string]>([
    [{ nodes: [], outputs: [] }, 'elementwise: outputs expected at least one value, got none.'],
    [{ nodes: [], outputs: [2] }, 'elementwise: outputs expected values 0..1, got 2.'],
    [
      { nodes: [{ fn: 'Sinh' as 'Sin', args: [0] }], outputs: [2] },
      'elementwise: node 0 expected a function of the table, got Sinh.',
    ],
    [{ nodes: [{ fn: 'Sin', args: [2] }], outputs: [2] }, 'elementwise: node 0 (Sin) expected values 0..1, got 2.'],
    [{ nodes: [{ fn: 'Sin', args: [1] }], outputs: [2] }, 'elementwise: node 0 expected Sin of (f32), got (i32).'],
    [
      { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] },
      'elementwise: node 0 expected Add of (f32, f32) or (i32, i32), got (f32, i32).',
    ],
    [
      { nodes: [{ fn: 'Elu', args: [0] }], outputs: [2] },
      'elementwise: node 0 expected 1 values for Elu (alpha), got 0.',
    ],
  ])('refuses %j', (op, message) => {
    expect(() => elementwise.infer(op, [type('f32', [2]), type('i32', [2])])).toThrow(new RangeError(message));
  });

  it('refuses shapes that do not fit, and absent inputs', () => {
    expect(() => elementwise.infer(add, [type('f32', [2, 3]), type('f32', [2])])).toThrow(
      new RangeError('elementwise: dimensions expected to broadcast, got [2,3], [2].'),
    );
    expect(() => elementwise.infer(add, [type('f32', []), undefined])).toThrow(
      new RangeError('elementwise: input 1 expected a tensor, got nothing.'),
    );
  });
});
