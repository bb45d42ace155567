/** Products of floats. */
import { matMul } from '@msd/core/nn';
import { caseOf, type Data, f32, node } from './case.ts';

/** Row by row of w, which engines vectorize no better than anything else. */
function plainMatMul(batch: number, M: number, N: number, K: number) {
  return ([a, w]: readonly Data[], [y]: readonly Data[]): void => {
    y!.fill(0);
    for (let b = 0; b < batch; b++)
      for (let m = 0; m < M; m++)
        for (let k = 0; k < K; k++) {
          const value = a![(b * M + m) * K + k]!;
          const [from, to] = [(b * K + k) * N, (b * M + m) * N];
          for (let n = 0; n < N; n++) y![to + n]! += value * w![from + n]!;
        }
  };
}

/** Weights that are read once per call: what decides is reading them; with many rows it is arithmetic. */
const limitOf = (M: number) => (M === 1 ? 'read' : 'mulAdd');

const heads = (name: string, N: number, K: number) =>
  caseOf(matMul)(name, (M) => ({
    op: {},
    inputs: [f32([14, M, K]), f32([14, K, N], 2)],
    onnx: { nodes: [node('MatMul', ['x0', 'x1'], ['y0'])] },
    plain: plainMatMul(14, M, N, K),
    macs: 14 * M * N * K,
    limit: limitOf(M),
  }));

const layer = (name: string, N: number, K: number) =>
  caseOf(matMul)(name, (M) => ({
    op: {},
    inputs: [f32([M, K]), f32([K, N], 2)],
    constants: [1],
    onnx: { nodes: [node('MatMul', ['x0', 'x1'], ['y0'])] },
    plain: plainMatMul(1, M, N, K),
    macs: M * N * K,
    limit: limitOf(M),
  }));

export const matMulEntries = [
  heads('q·kᵀ of 14 heads, 128 keys, Qwen2.5-0.5B', 128, 64),
  heads('p·v of 14 heads, 128 keys, Qwen2.5-0.5B', 64, 128),
  layer('float layer 896², Qwen2.5-0.5B', 896, 896),
  layer('float layer 64², stories260k', 64, 64),
];
