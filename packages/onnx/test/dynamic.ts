/** Seeded products of dynamically quantized activations, in every spelling that exporters have. */
import { errorBound, type QuantizedWeights } from '@msd/core';
import { type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { gaussian, random } from './models.ts';

export interface DynamicOptions {
  readonly name?: string;
  readonly N: number;
  readonly K: number;
  readonly type?: 'int8' | 'uint8';
  /** Dims of the scale: [] or [1] = one, [N] or [1, N] = one of each column. */
  readonly scale?: readonly number[];
  /** Likewise; absent = omitted. `128` = all of them 128. */
  readonly zeroPoints?: readonly number[] | 'middle' | undefined;
  readonly bias?: boolean;
  readonly spelling?: Spelling;
  /** Exchanges the operands of every Mul and Add. */
  readonly flipped?: boolean;
  readonly seed?: number;
}

/** How the scales of x and of the weights multiply the sums. */
export const SPELLINGS = ['together', 'x first', 'weights first', 'three factors', 'three in a row'] as const;
export type Spelling = (typeof SPELLINGS)[number];

export interface DynamicProduct {
  readonly N: number;
  readonly K: number;
  readonly initializers: readonly TensorSpec[];
  readonly weights: QuantizedWeights;
  readonly biasValues: Float32Array | undefined;
  /** From the outputs of DynamicQuantizeLinear to `y`. */
  nodes(codes: string, y: string): NodeSpec[];
}

/** The class of a tensor's elements. */
export const bytesOf = (type: 'int8' | 'uint8'): ByteArrays => (type === 'int8' ? Int8Array : Uint8Array);

interface ByteArrays {
  of(...elements: number[]): Int8Array | Uint8Array;
  from(source: { readonly length: number }, value: (_: unknown, i: number) => number): Int8Array | Uint8Array;
}

const at = <T>(array: ArrayLike<T>, i: number): T => array[array.length === 1 ? 0 : i]!;
const count = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

export function dynamicProduct(options: DynamicOptions): DynamicProduct {
  const { name = 'w', N, K, type = 'int8', scale = [], zeroPoints, bias = false, spelling = 'together' } = options;
  const { flipped = false, seed = 1 } = options;
  const next = random(seed);
  const array = bytesOf(type);
  const symmetric = type === 'int8' ? 0 : 128;
  const codes = (length: number) => array.from({ length }, () => next() * 256 - (type === 'int8' ? 128 : 0));
  const data = codes(K * N);
  const scales = Float32Array.from({ length: count(scale) }, () => (next() - 0.5) / 64);
  const second = Float32Array.of(0.75);
  const zeros =
    zeroPoints === 'middle'
      ? array.from({ length: 1 }, () => symmetric)
      : zeroPoints
        ? codes(count(zeroPoints))
        : (undefined as undefined);
  const zeroDims = zeroPoints === 'middle' ? [] : (zeroPoints ?? []);
  const biasValues = bias ? gaussian(next, N) : undefined;
  const isThree = spelling.startsWith('three');
  const initializers: TensorSpec[] = [
    { name: `${name}_quantized`, dtype: type, dims: [K, N], data },
    { name: `${name}_scale`, dtype: 'float32', dims: scale, data: scales },
    ...(isThree ? [{ name: `${name}_more`, dtype: 'float32', dims: [1], data: second } as TensorSpec] : []),
    ...(zeros ? [{ name: `${name}_zero_point`, dtype: type, dims: zeroDims, data: zeros } as TensorSpec] : []),
    ...(biasValues ? [{ name: `${name}_bias`, dtype: 'float32', dims: [N], data: biasValues } as TensorSpec] : []),
  ];
  const real = isThree ? scales.map((value) => value * second[0]!) : scales;
  const weights: QuantizedWeights = {
    format: 'int8',
    N,
    K,
    blockSize: null,
    data: array.from({ length: N * K }, (_, i) => data[(i % K) * N + Math.floor(i / K)]!),
    scales: Float32Array.from({ length: N }, (_, n) => at(real, n)),
    zeroPoints: array.from({ length: N }, (_, n) => (zeros ? at(zeros, n) : 0)),
  };
  const pair = (a: string, b: string): string[] => (flipped ? [b, a] : [a, b]);
  const nodes = (x: string, y: string): NodeSpec[] => {
    const [xq, xScale, xZero] = [`${x}_quantized`, `${x}_scale`, `${x}_zero_point`];
    const out = (suffix: string): string => `${y}_${suffix}`;
    const inputs = [xq, `${name}_quantized`, xZero, ...(zeros ? [`${name}_zero_point`] : [])];
    const list: NodeSpec[] = [
      { opType: 'MatMulInteger', name: `${y}_quant`, inputs, outputs: [out('sums')] },
      { opType: 'Cast', inputs: [out('sums')], outputs: [out('cast')], attributes: { to: { int: 1 } } },
    ];
    let last = out('cast');
    const times = (value: string): void => {
      const result = `${last}_times`;
      list.push({ opType: 'Mul', inputs: pair(last, value), outputs: [result] });
      last = result;
    };
    const scaled = (a: string, b: string, result: string): string => {
      list.unshift({ opType: 'Mul', name: `${result}_mul`, inputs: pair(a, b), outputs: [result] });
      return result;
    };
    const [w, more] = [`${name}_scale`, `${name}_more`];
    if (spelling === 'together') times(scaled(xScale, w, out('scales')));
    else if (spelling === 'x first') for (const each of [xScale, w]) times(each);
    else if (spelling === 'weights first') for (const each of [w, xScale]) times(each);
    else if (spelling === 'three in a row') for (const each of [w, scaled(xScale, more, out('scales'))]) times(each);
    else {
      const both = out('both');
      times(scaled(both, more, out('scales')));
      scaled(xScale, w, both);
    }
    if (biasValues) list.push({ opType: 'Add', inputs: pair(last, `${name}_bias`), outputs: [y] });
    else list.push({ ...list.pop()!, outputs: [y] });
    return list;
  };
  return { N, K, initializers, weights, biasValues, nodes };
}

export const quantizeLinear = (x: string): NodeSpec => ({
  opType: 'DynamicQuantizeLinear',
  name: `${x}_QuantizeLinear`,
  inputs: [x],
  outputs: [`${x}_quantized`, `${x}_scale`, `${x}_zero_point`],
});

/** One product, or several of one x: x -> y, y1, … */
export function dynamicModel(products: readonly DynamicProduct[], lead: readonly (number | string)[]): Uint8Array {
  const ys = products.map((_, i) => (i === 0 ? 'y' : `y${i}`));
  return writeModel({
    graph: {
      nodes: [quantizeLinear('x'), ...products.flatMap((product, i) => product.nodes('x', ys[i]!))],
      initializers: products.flatMap(({ initializers }) => initializers),
      inputs: [{ name: 'x', dtype: 'float32', dims: [...lead, products[0]!.K] }],
      outputs: ys.map((name) => ({ name, dtype: 'float32' as const })),
    },
  });
}

/** x · Wᵀ + bias in float64, and the proved bound of MSD's error. */
export function expectedOf(
  { N, K, weights, biasValues }: DynamicProduct,
  x: Float32Array,
): { y: Float64Array; bound: Float64Array } {
  const M = x.length / K;
  const y = new Float64Array(M * N);
  const { data, scales, zeroPoints } = weights;
  for (let m = 0; m < M; m++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * (data[n * K + k]! - zeroPoints![n]!);
      y[m * N + n] = (scales[n] as number) * sum + (biasValues?.[n] ?? 0);
    }
  return { y, bound: errorBound(x, weights, biasValues ? { bias: biasValues } : {}) };
}
