import { BackendUnavailableError } from '@msd/core';
import { expect, it } from 'vitest';
import { typedError } from '../src/execute/raw-errors.ts';
import { int64Elements } from '../src/ir/info.ts';

const thrownBy = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

it('says where and what to do when the engine has no memory for an array', () => {
  for (const raw of [
    thrownBy(() => new ArrayBuffer(2 ** 52)),
    thrownBy(() => new Float32Array(2 ** 50)),
    thrownBy(() => new Uint8Array(2 ** 52)),
  ]) {
    expect(raw).toBeInstanceOf(RangeError);
    const typed = typedError('create', raw) as Error;
    expect(typed).toBeInstanceOf(BackendUnavailableError);
    expect(typed.message).toMatch(
      /^create: memory, expected room for another array, got none \(.+\)\. Close other pages/,
    );
    expect(typed.cause).toBe(raw);
  }
});

it('tells a size that cannot be apart from that, and leaves other errors alone', () => {
  const negative = typedError(
    'run',
    thrownBy(() => new Float32Array(-3)),
  ) as Error;
  expect(negative).toBeInstanceOf(RangeError);
  expect(negative.message).toContain('run: size of a value, expected at least 0, got -3');
  for (const other of [new RangeError('run: components, expected 1'), new Error('out of memory'), 'text'])
    expect(typedError('run', other)).toBe(other);
});

it('says what an int64 cannot be', () => {
  expect(int64Elements([2 ** 63, -(2 ** 63), 7.9, Number.POSITIVE_INFINITY])).toEqual(
    BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 7n, 2n ** 63n - 1n),
  );
  expect(() => int64Elements([Number.NaN])).toThrow('int64 element, expected a whole number, got NaN');
});
