/** Between the products of an MLP: gates, residuals, activations. */
import { elementwise } from '@msd/core/nn';
import { caseOf, type Data, f32, microsoft, node } from './case.ts';

/** Abramowitz and Stegun 7.1.26, as copied from page to page. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const y =
    1 -
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
  return x < 0 ? -y : y;
}

const each =
  (f: (x: number, other: number) => number) =>
  ([x, other = x]: readonly Data[], [y]: readonly Data[]): void => {
    for (let i = 0; i < y!.length; i++) y![i] = f(x![i]!, other![i]!);
  };

export const elementwiseEntries = [
  caseOf(elementwise)('gate silu(g)·u, Qwen2.5-0.5B', (M) => ({
    op: {
      nodes: [
        { fn: 'Silu', args: [0] },
        { fn: 'Mul', args: [2, 1] },
      ],
      outputs: [3],
    },
    inputs: [f32([M, 4864], 1), f32([M, 4864], 2)],
    onnx: {
      nodes: [node('Sigmoid', ['x0'], ['s']), node('Mul', ['x0', 's'], ['t']), node('Mul', ['t', 'x1'], ['y0'])],
    },
    plain: each((g, u) => (g / (1 + Math.exp(-g))) * u),
  })),
  caseOf(elementwise)('residual a + b, Qwen2.5-0.5B', (M) => ({
    op: { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] },
    inputs: [f32([M, 896], 1), f32([M, 896], 2)],
    onnx: { nodes: [node('Add', ['x0', 'x1'], ['y0'])] },
    plain: each((a, b) => a + b),
    limit: 'read',
  })),
  caseOf(elementwise)('GELU, BERT-base', (M) => ({
    op: { nodes: [{ fn: 'Gelu', args: [0] }], outputs: [1] },
    inputs: [f32([M, 3072])],
    onnx: { nodes: [microsoft('Gelu', ['x0'], ['y0'])] },
    plain: each((x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2))),
  })),
  caseOf(elementwise)('GELU by tanh, GPT-2', (M) => ({
    op: { nodes: [{ fn: 'GeluTanh', args: [0] }], outputs: [1] },
    inputs: [f32([M, 3072])],
    onnx: { nodes: [microsoft('FastGelu', ['x0'], ['y0'])] },
    plain: each((x) => 0.5 * x * (1 + Math.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))),
  })),
];
