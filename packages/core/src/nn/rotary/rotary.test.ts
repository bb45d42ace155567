import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectBits, expectTrials, kernelHashes, referenceOp, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { VALUE_KINDS, type ValueKind, values } from '../../../test/values.ts';
import { elementCount, type Tensor, type TensorType } from '../../ops/op.ts';
import { checkPositions, type RotaryOp, rotaryShape } from './contract.ts';
import { rotary } from './rotary.ts';
import { type RotaryKernel, rotaryKernels, rotaryVariants } from './rotary.wasm.ts';

const f32 = (...dims: number[]): TensorType => ({ dtype: 'f32', dims });
const i32 = (...dims: number[]): TensorType => ({ dtype: 'i32', dims });

const cases = fc
  .record({
    kernel: fc.constantFrom(...rotaryVariants()),
    seed: fc.integer(),
    kind: fc.constantFrom<ValueKind>(...VALUE_KINDS),
    batch: fc.constantFrom(0, 1, 2, 3),
    sequence: fc.constantFrom(0, 1, 2, 5),
    heads: fc.constantFrom(1, 2, 3),
    half: fc.constantFrom(0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32),
    rest: fc.constantFrom(0, 1, 3, 4, 6, 64),
    headsFirst: fc.boolean(),
    cacheRows: fc.constantFrom(1, 4, 9),
  })
  .map(example);

interface Parameters {
  readonly kernel: RotaryKernel;
  readonly seed: number;
  readonly kind: ValueKind;
  readonly batch: number;
  readonly sequence: number;
  readonly heads: number;
  readonly half: number;
  readonly rest: number;
  readonly headsFirst: boolean;
  readonly cacheRows: number;
}

function example(parameters: Parameters) {
  const { kernel, seed, kind, batch, sequence, heads, half, rest, headsFirst, cacheRows } = parameters;
  const next = random(seed);
  const size = Math.max(1, 2 * half + rest);
  const make = (dims: number[], of: ValueKind) => tensor('f32', dims, values(next, of, elementCount(dims)));
  const positions = {
    ids: () => tensor('i32', [batch, sequence], draw(batch * sequence)),
    first: () => tensor('i32', [1], draw(1)),
    token: () => undefined,
  }[kernel.positions]();
  function draw(count: number) {
    return Array.from({ length: count }, () => Math.floor(next() * (cacheRows + 3)) - 1); // past both ends, too
  }
  const cache = positions ? [cacheRows, half] : [batch, sequence, half];
  const op: RotaryOp = { interleaved: kernel.interleaved, heads, rotaryDim: 2 * half };
  const inputs: (Tensor | undefined)[] = [
    make(headsFirst ? [batch, heads, sequence, size] : [batch, sequence, heads * size], kind),
    make(cache, 'gaussian'),
    make(cache, 'gaussian'),
    positions,
  ];
  return { op, inputs };
}

describe('rotary', () => {
  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(rotaryKernels, rotaryVariants)).toMatchSnapshot();
  });

  it('every kernel that ships gives the bits of the f32 contract, and can be tried', () => {
    for (const kernel of rotaryVariants())
      for (const headsFirst of [false, true]) {
        const shape = { batch: 2, sequence: 3, heads: 2, half: 7, rest: 3, headsFirst, cacheRows: 4 };
        const { op, inputs } = example({ kernel, seed: 1, kind: 'special', ...shape });
        expectBits(rotary, op, inputs);
      }
    expectTrials(rotaryKernels, rotaryVariants);
  });

  it('gives the bits of the f32 contract for any shape', () => {
    fc.assert(
      fc.property(cases, ({ op, inputs }) => {
        expectBits(rotary, op, inputs);
      }),
      { numRuns: 500 },
    );
  });

  it('turns by an angle: within two roundings of the mathematics, whatever the layout', () => {
    const [sequence, heads, size] = [4, 3, 16];
    const x = tensor('f32', [1, sequence, heads * size], values(random(1), 'gaussian', sequence * heads * size));
    const angles = Array.from({ length: (9 * size) / 2 }, (_, i) => Math.floor((2 * i) / size) / 10 ** ((i % 8) / 8));
    const cos = tensor('f32', [9, size / 2], angles.map(Math.cos));
    const sin = tensor('f32', [9, size / 2], angles.map(Math.sin));
    const positions = tensor('i32', [1], [5]);
    for (const interleaved of [false, true]) {
      const [got] = referenceOp(rotary, { interleaved }, [x, cos, sin, positions]);
      const [want] = referenceOp(rotary, { interleaved }, [x, cos, sin, positions], 'float64');
      for (let s = 0; s < sequence; s++)
        for (let h = 0; h < heads; h++)
          for (let j = 0; j < size / 2; j++) {
            const at = (s * heads + h) * size;
            const [i, k] = interleaved ? [at + 2 * j, at + 2 * j + 1] : [at + j, at + j + size / 2];
            const angle = angles[((5 + s) * size) / 2 + j];
            const [a, b] = [x.data[i], x.data[k]];
            expect(want.data[i]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
            expect(want.data[k]).toBeCloseTo(b * Math.cos(angle) + a * Math.sin(angle), 5);
            const bound = 2 * 2 ** -24 * (Math.abs(a) + Math.abs(b));
            for (const at of [i, k]) expect(Math.abs(got.data[at] - want.data[at])).toBeLessThanOrEqual(bound);
          }
      // The same heads, outside of the sequence.
      const moved = Float32Array.from(x.data, (_, i) => {
        const [h, s, k] = [Math.floor(i / (sequence * size)), Math.floor(i / size) % sequence, i % size];
        return x.data[(s * heads + h) * size + k];
      });
      const [headsFirst] = expectBits(rotary, { interleaved }, [
        tensor('f32', [1, heads, sequence, size], moved),
        cos,
        sin,
        tensor('i32', [1, sequence], [5, 6, 7, 8]),
      ]);
      headsFirst.data.forEach((value, i) => {
        const [h, s, k] = [Math.floor(i / (sequence * size)), Math.floor(i / size) % sequence, i % size];
        expect(value).toBe(got.data[(s * heads + h) * size + k]);
      });
    }
  });

  it('refuses what does not fit, and says what would', () => {
    const x = f32(2, 3, 64);
    const cache = f32(10, 8);
    const refusals: [RotaryOp, (TensorType | undefined)[], string][] = [
      [{}, [x, cache], 'rotary: sin expected a tensor, got none.'],
      [{}, [i32(2, 3, 64), cache, cache, i32(1)], 'rotary: x expected f32, got i32.'],
      [
        {},
        [f32(3, 64), cache, cache, i32(1)],
        'rotary: x expected [batch, sequence, heads·size] or [batch, heads, sequence, size], got [3,64].',
      ],
      [{ heads: 3 }, [x, cache, cache, i32(1)], 'rotary: heads expected a divisor of 64 for x [2,3,64], got 3.'],
      [
        { heads: 2, rotaryDim: 34 },
        [x, cache, cache, i32(1)],
        'rotary: rotaryDim expected an even number up to the 32 of a head, got 34.',
      ],
      [{ heads: 2 }, [x, cache, cache, i32(1)], 'rotary: cos expected [positions, 16], got [10,8].'],
      [{ rotaryDim: 16, heads: 2 }, [x, cache, f32(9, 8), i32(1)], 'rotary: sin expected [positions, 8], got [9,8].'],
      [{ heads: 2 }, [x, cache, cache], 'rotary: cos expected [2,3,16] without positions, got [10,8].'],
      [{}, [x, cache, cache, i32(3)], 'rotary: positions expected [1] or [2,3], got [3].'],
      [{}, [x, cache, cache, f32(1)], 'rotary: positions expected i32, got f32.'],
      [{}, [x, f32(0, 8), f32(0, 8), i32(1)], 'rotary: cos expected a position at least, got [0,8].'],
      [{ heads: 2 }, [f32(2, 4, 3, 16), cache, cache, i32(1)], 'rotary: heads expected 4 for x [2,4,3,16], got 2.'],
    ];
    for (const [op, inputs, message] of refusals)
      expect(() => rotary.infer(op, inputs)).toThrow(new RangeError(message));
    expect(rotary.infer({}, [x, cache, cache, i32(1)])).toEqual([x]);
  });

  it('checks positions that are known', () => {
    const types = [f32(2, 3, 64), f32(10, 8), f32(10, 8)];
    const ids = rotaryShape({}, [...types, i32(2, 3)]);
    checkPositions(ids, Int32Array.of(0, 9, 5));
    expect(() => checkPositions(ids, Int32Array.of(0, 10))).toThrow(
      new RangeError('rotary: positions[1] expected 0..9 for a cos and sin of 10 rows, got 10.'),
    );
    const first = rotaryShape({}, [...types, i32(1)]);
    checkPositions(first, Int32Array.of(7));
    expect(() => checkPositions(first, Int32Array.of(8))).toThrow(
      new RangeError('rotary: positions[0] expected 0..7 for a cos and sin of 10 rows, got 8.'),
    );
  });
});
