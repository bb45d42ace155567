/** Weights of manifests in every form that a converter may have written, and what MSD may be off them. */
import { elementBound } from '@msd/core';
import { expect } from 'vitest';
import { artifactsOf, type CodedEntry, placeholder } from './graph.ts';
import { gaussian, tf } from './tf.ts';

export type Codes = Omit<CodedEntry, 'name'>;

export const uint8 = (shape: number[], scale: number, min: number, codeOf: (i: number) => number): Codes => ({
  shape,
  codes: Uint8Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => codeOf(i)),
  quantization: { dtype: 'uint8', scale, min },
});
export const uint16 = (shape: number[], scale: number, min: number, codeOf: (i: number) => number): Codes => ({
  shape,
  codes: Uint16Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => codeOf(i)),
  quantization: { dtype: 'uint16', scale, min },
});

export const any8 = (i: number) => (i * 97 + ((i * i) % 31)) % 256;
export const any16 = (i: number) => (i * 40503 + 7) % 65536;
export const [K, N] = [96, 32];

/** The converter writes one value as zeros with scale 1; all else is range / levels. */
export const CASES: Readonly<Record<string, Codes>> = {
  'one value, 0.0731': uint8([K, N], 1, 0.0731, () => 0),
  'one value, negative': uint8([K, N], 1, -3.7, () => 0),
  'one value, 1e-9': uint8([K, N], 1, 1e-9, () => 0),
  'one value, 1e9': uint8([K, N], 1, 1e9, () => 0),
  'one value, uint16': uint16([K, N], 1, 0.25, () => 0),
  'all zero': uint8([K, N], 1, 0, () => 0),
  'all zero, uint16': uint16([K, N], 1, 0, () => 0),
  'zero is a level': uint8([K, N], 0.01, -1.28, any8),
  'zero is the first level': uint8([K, N], 0.01, 0, any8),
  'zero is the last level': uint8([K, N], 0.01, -2.55, any8),
  'zero lies between two levels': uint8([K, N], 1, -0.3, (i) => (any8(i) % 5 === 0 ? 1 : 0)),
  'a huge minimum beside a small range': uint8([K, N], 1e-4, 1000, any8),
  'a huge negative minimum': uint8([K, N], 1e-4, -1000, any8),
  'a range far from zero': uint8([K, N], 0.5, 60, any8),
  'a range just above zero': uint8([K, N], 0.01, 0.02, any8),
  'a range just below zero': uint8([K, N], 0.01, -2.57, any8),
  'few codes of a wide range': uint8([K, N], 2, -1, (i) => i % 2),
  'a negative scale': uint8([K, N], -0.01, 1.28, any8),
  'a negative scale, one side': uint8([K, N], -0.01, -4, any8),
  'scale 0': uint8([K, N], 0, 0.5, any8),
  'uint16, zero is a level': uint16([K, N], 1e-4, -1e-4 * 20000, any16),
  'uint16, little around zero': uint16([K, N], 1e-4, -1e-4 * 20000, (i) => 20000 + (i % 7) - 3),
  'uint16, zero is the first level': uint16([K, N], 1e-4, 0, (i) => i % 9),
  'uint16, zero lies between two levels': uint16([K, N], 1, -300.25, (i) => 299 + (i % 3)),
  'uint16, far from zero': uint16([K, N], 1e-6, 5, any16),
  'uint16, a negative scale': uint16([K, N], -1e-4, 3, any16),
};

/** x that hides nothing: ordinary rows, one whose sum is zero, one with a large mean, and zeros. */
export function rowsOf(k: number): Float32Array {
  const x = gaussian(5, 4 * k);
  for (let i = 0; i < k; i++) {
    x[k + i] = i === k - 1 && k % 2 ? 0 : i % 2 ? -0.37 : 0.37;
    x[2 * k + i] = 50 + x[2 * k + i]!;
    x[3 * k + i] = 0;
  }
  return x;
}

/**
 * Σ_k x[m,k] · w[k,n] in float64, and what MSD may be off it: the decomposition's part, and the f32 roundings of partial sums.
 *
 * @param step a level of the manifest. A zero between two levels puts half of one beside a weight; bytes of uint16 are up to 256
 * levels large before they are added
 */
export function expected(
  x: Float32Array,
  w: ArrayLike<number>,
  k: number,
  n: number,
  step: number,
  { components = 2, device }: { readonly components?: 1 | 2; readonly device?: 'webgpu' } = {},
) {
  const M = x.length / k;
  // A GPU rounds either way and sums in any order, as in core's errorBound.
  const inOrder = 12 + Math.ceil(k / 256);
  const roundings = device ? 2 * (inOrder + Math.min(64, Math.ceil(k / 4))) : inOrder;
  const smallest = roundings * (device ? 2 ** -126 : 2 ** -149);
  const [y, bound] = [new Float64Array(M * n), new Float64Array(M * n)];
  for (let m = 0; m < M; m++)
    for (let column = 0; column < n; column++) {
      let [sum, own] = [0, smallest];
      for (let g = 0; g < k; g += 256) {
        const block = x.subarray(m * k + g, m * k + Math.min(k, g + 256));
        const element = elementBound(
          block.reduce((max, value) => Math.max(max, Math.abs(value)), 0),
          components,
          'int8',
          device,
        );
        block.forEach((value, i) => {
          const weight = w[(g + i) * n + column]!;
          const size = Math.abs(weight);
          sum += value * weight;
          own += element * (size + step / 2) + roundings * 2 ** -24 * Math.abs(value) * (size + 512 * step);
        });
      }
      y[m * n + column] = sum;
      bound[m * n + column] = own;
    }
  return { y, bound };
}

export const graphOf = (weight: Codes) =>
  artifactsOf({
    nodes: [placeholder('x'), { name: 'y', op: 'MatMul', input: ['x', 'w'] }],
    weights: [{ name: 'w', ...weight }],
  });

export const decoded = (artifacts: tf.io.ModelArtifacts): Float32Array => {
  const w = tf.io.decodeWeights(artifacts.weightData as ArrayBuffer, artifacts.weightSpecs!).w!;
  const values = w.dataSync<'float32'>().slice();
  w.dispose();
  return values;
};

export function within(got: ArrayLike<number>, { y, bound }: ReturnType<typeof expected>): void {
  let worst = 0;
  for (let i = 0; i < y.length; i++) {
    const error = Math.abs(got[i]! - y[i]!);
    if (!(error <= bound[i]!)) worst = Math.max(worst, error / bound[i]!, Number.isNaN(error) ? Infinity : 0);
  }
  expect(worst).toBe(0);
}

export const stepOf = ({ scale = 0 }: Codes['quantization']): number => Math.abs(scale);
