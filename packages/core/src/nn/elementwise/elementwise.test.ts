import { describe, it } from 'vitest';
import { expectBits, tensor } from '../../../test/ops.ts';
import { elementwise } from './elementwise.ts';
import type { Elementwise } from './expression.ts';

const swiglu: Elementwise = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [2, 1] },
  ],
  outputs: [3],
};
const add: Elementwise = { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] };

describe('elementwise', () => {
  it('smoke', () => {
    for (const n of [1, 2, 3, 4, 5, 15, 16, 17, 64]) {
      const a = tensor(
          'f32',
          [n],
          Float32Array.from({ length: n }, (_, i) => i - 3.3),
        ),
        b = tensor(
          'f32',
          [n],
          Float32Array.from({ length: n }, (_, i) => i * 0.7),
        );
      expectBits(elementwise, swiglu, [a, b]);
      expectBits(elementwise, add, [a, b]);
      expectBits(elementwise, add, [
        tensor(
          'f32',
          [3, n],
          Float32Array.from({ length: 3 * n }, (_, i) => i * 0.3),
        ),
        b,
      ]);
      expectBits(elementwise, add, [b, tensor('f32', [3, 1], [1, 2, 3])]);
      expectBits(elementwise, add, [
        tensor(
          'f32',
          [2, 1, n],
          Float32Array.from({ length: 2 * n }, (_, i) => i * 0.3),
        ),
        tensor('f32', [3, 1], [1, 2, 3]),
      ]);
    }
  });
});
