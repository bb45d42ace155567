import { createWasmBackend, dequantizeWeights, errorBound, quantizeWeights } from '@msd/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Activation,
  DisposedError,
  matMul,
  quantize,
  quantizedTensor,
  register,
  unregister,
} from '../src/index.ts';
import { BACKENDS, gaussian, relativeL2, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** [K,N] -> [N,K] */
const transposed = (w: Float32Array, K: number, N: number) =>
  Float32Array.from({ length: N * K }, (_, i) => w[(i % K) * N + Math.floor(i / K)]!);

describe.each(BACKENDS)('matMul on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('gives the bits of @msd/core for odd shapes, every format, any rank, bias', async () => {
    const core = createWasmBackend();
    const cases = fc.record({
      format: fc.constantFrom('int8' as const, 'int4' as const, 'mxfp4' as const, 'int2' as const),
      asymmetric: fc.boolean(),
      lead: fc.constantFrom<number[][]>([], [1], [3], [2, 5], [9], [1, 3, 3]),
      N: fc.constantFrom(1, 15, 16, 17, 40),
      K: fc.constantFrom(1, 31, 32, 70, 256, 300),
      components: fc.constantFrom(1 as const, 2 as const),
      activationBlock: fc.constantFrom('row' as const, 256 as const, 32 as const),
      withBias: fc.boolean(),
      seed: fc.nat(1e6),
    });
    await withoutLeaks(() =>
      fc.assert(
        fc.property(cases, ({ format, asymmetric, lead, N, K, components, activationBlock, withBias, seed }) => {
          const w = gaussian(seed, K * N);
          const zero = format === 'mxfp4' ? false : asymmetric;
          const x = gaussian(seed + 1, lead.reduce((a: number, b) => a * b, 1) * K);
          const bias = withBias ? gaussian(seed + 2, N) : undefined;
          const weights = quantizeWeights(transposed(w, K, N), { N, K, format, asymmetric: zero });
          const prepared = core.prepare(weights);
          const want = core.matmul(x, prepared, { bias, components, activationBlock });
          prepared.dispose();
          tf.tidy(() => {
            const q = quantize(tf.tensor(w, [K, N]), { format, asymmetric: zero });
            const options = { components, activationBlock, ...(bias && { bias: tf.tensor1d(bias) }) };
            const y = matMul(tf.tensor(x, [...lead, K]), q, options);
            expect(y.shape).toEqual([...lead, N]);
            expect(y.dataSync()).toEqual(want);
          });
        }),
        { numRuns: 60 },
      ),
    );
    core.dispose();
  });

  it('stays within the proved bound of the real product', () => {
    const [M, K, N] = [5, 520, 33];
    const [x, w] = [gaussian(1, M * K), transposed(gaussian(2, K * N), K, N)];
    for (const format of ['int8', 'int4'] as const) {
      const weights = quantizeWeights(w, { N, K, format });
      const bound = errorBound(x, weights, {});
      const real = dequantizeWeights(weights);
      const y = tf.tidy(() =>
        matMul(tf.tensor(x, [M, K]), quantize(tf.tensor(w, [N, K]), { format, transpose: true })).dataSync(),
      );
      for (let i = 0; i < M * N; i++) {
        let exact = 0;
        for (let k = 0; k < K; k++) exact += x[Math.floor(i / N) * K + k]! * real[(i % N) * K + k]!;
        expect(Math.abs(y[i]! - exact)).toBeLessThanOrEqual(bound[i]!);
      }
    }
  });

  it('broadcasts batched weights like tf.matMul', async () => {
    await withoutLeaks(() => {
      for (const [xShape, wShape] of [
        [
          [4, 3, 64],
          [4, 64, 5],
        ],
        [
          [3, 64],
          [2, 64, 5],
        ],
        [
          [2, 1, 3, 64],
          [4, 64, 5],
        ],
        [
          [1, 3, 64],
          [2, 1, 64, 5],
        ],
        [
          [2, 4, 3, 64],
          [1, 64, 5],
        ],
        [
          [5, 3, 64],
          [1, 1, 64, 5],
        ],
      ] as const)
        tf.tidy(() => {
          const [x, w] = [tensor(1, [...xShape]), tensor(2, [...wShape])];
          const q = quantize(w);
          expect(q.shape).toEqual(wShape);
          const got = matMul(x, q);
          const spread = spreadTo(xShape, wShape);
          const want = tf.matMul(spread(x), spread(w));
          expect(got.shape).toEqual(want.shape);
          expect(relativeL2(got.dataSync(), want.dataSync())).toBeLessThan(0.01);
        });
    });
  });

  it('applies each activation, casts integers, and handles no rows', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const q = quantize(tensor(2, [32, 7]));
        const x = tensor(1, [3, 32]);
        const plain = matMul(x, q);
        for (const activation of ['relu', 'relu6', 'elu', 'sigmoid', 'tanh'] as const) {
          const error = tf.max(tf.abs(tf.sub(matMul(x, q, { activation }), tf[activation](plain)))).dataSync()[0]!;
          expect(error, activation).toBeLessThanOrEqual(
            activation.endsWith('u') || activation === 'relu6' ? 0 : 2 ** -22,
          );
        }
        const ints = tf.cast(tf.mul(x, 10), 'int32');
        expect(matMul(ints, q).dataSync()).toEqual(matMul(tf.cast(ints, 'float32'), q).dataSync());
        expect(matMul(tf.zeros([0, 32]), q).shape).toEqual([0, 7]);
      }),
    );
  });

  it('has the gradient of the real weights with respect to x and bias', async () => {
    await withoutLeaks(() => {
      for (const [xShape, wShape] of [
        [
          [3, 32],
          [32, 5],
        ],
        [
          [2, 3, 32],
          [32, 5],
        ],
        [
          [3, 32],
          [2, 32, 5],
        ],
        [
          [2, 1, 3, 32],
          [4, 32, 5],
        ],
      ] as const)
        tf.tidy(() => {
          const [x, w] = [tensor(1, [...xShape]), tensor(2, [...wShape])];
          const q = quantize(w);
          const real = realOf(q, wShape);
          const spread = spreadTo(xShape, wShape);
          const bias = tf.tensor1d(gaussian(3, 5));
          const loss = (y: tf.Tensor) => tf.sum(tf.square(y));
          const got = tf.grads((a, b) => loss(matMul(a!, q, { bias: b!, activation: 'tanh' })).asScalar())([x, bias]);
          const want = tf.grads((a, b) => loss(tf.tanh(tf.add(tf.matMul(spread(a!), spread(real)), b!))).asScalar())([
            x,
            bias,
          ]);
          got.forEach((g, i) => {
            expect(g.shape).toEqual(want[i]!.shape);
            expect(relativeL2(g.dataSync(), want[i]!.dataSync())).toBeLessThan(1e-3); // tanh' at a point 2⁻¹⁵ away
          });
        });
    });
  });

  it('fails with typed errors that say what to do, and leaks nothing', async () => {
    const q = tidied(() => quantize(tensor(2, [32, 7])));
    const x = tensor(1, [3, 32]);
    await withoutLeaks(() => {
      const bad: [() => unknown, unknown, RegExp][] = [
        [() => matMul(tf.zeros([3, 31]), q), RangeError, /x, expected \[…,32\] for weights \[32,7\], got \[3,31\]/],
        [() => matMul(tf.scalar(1), q), RangeError, /got \[\]/],
        [() => matMul(null as never, q), TypeError, /x, expected a tf\.Tensor, got null/],
        [() => matMul(tf.tensor1d(['a']), q), TypeError, /expected numbers, got string/],
        [() => matMul(x, x as never), TypeError, /w, expected a QuantizedTensor from quantize\(\), got/],
        [() => matMul(x, q, { bias: tf.zeros([6]) }), RangeError, /bias, expected float32 \[7\], got float32 \[6\]/],
        [() => matMul(x, q, { activation: 'swish' as Activation }), RangeError, /activation, expected one of/],
        [() => matMul(x, q, { components: 3 as never }), RangeError, /components, expected 1 or 2, got 3/],
        [() => matMul(x, q, { activationBlock: 64 as never }), RangeError, /activationBlock/],
        [() => matMul(x, q, { scale: 1 } as never), TypeError, /option 'scale'/],
        [() => quantize(tf.zeros([3])), RangeError, /expected a non-empty \[…, K, N\], got \[3\]/],
        [() => quantize(tf.zeros([0, 3])), RangeError, /non-empty/],
        [() => quantize(tf.zeros([2, 3], 'int32')), TypeError, /expected float32, got int32/],
        [() => quantize(tf.fill([2, 3], Number.NaN)), RangeError, /finite/],
        [() => quantize(x, { format: 'int3' as never }), RangeError, /format expected one of/],
        [() => quantize(x, { blockSize: 48 }), RangeError, /blockSize of int8/],
        [() => quantize(x, { bits: 4 } as never), TypeError, /option 'bits'/],
        [() => quantize([1] as never), TypeError, /expected a tf\.Tensor/],
        [
          () => quantizedTensor(q.packed, { ...q.spec, N: 17 } as never),
          RangeError,
          /expected \d+ int32 elements, got/,
        ],
        [() => quantizedTensor(x, q.spec), TypeError, /expected an int32 tensor, got float32/],
        [() => quantizedTensor(q.packed, { kind: 'tensor' } as never), RangeError, /kind/],
      ];
      for (const [run, type, message] of bad)
        tf.tidy(() => {
          expect(run, String(message)).toThrow(type as ErrorConstructor);
          expect(run, String(message)).toThrow(message);
        });
    });
    q.dispose();
    q.dispose();
    expect(() => matMul(x, q)).toThrow(DisposedError);
    x.dispose();
    expect(() => quantize(x)).toThrow(DisposedError);
  });
});

/** Stock wasm gets two-sided broadcasting wrong, and its gradient refuses any: operands are spread out first. */
function spreadTo(x: readonly number[], w: readonly number[]): (t: tf.Tensor) => tf.Tensor {
  const lead = tf.backend_util.assertAndGetBroadcastShape(x.slice(0, -2), w.slice(0, -2));
  return (t) => tf.broadcastTo(t, [...lead, ...t.shape.slice(-2)]);
}

function realOf(q: ReturnType<typeof quantize>, shape: readonly number[]): tf.Tensor {
  const identity = tf.eye(shape.at(-2)!);
  return tf.reshape(matMul(identity, q), [...shape]);
}

describe('quantized tensors', () => {
  it('live in tfjs: tidy, dispose, memory, moves, setBackend, save and load', async () => {
    await useBackend('wasm');
    const [K, N] = [64, 48];
    const before = tf.memory().numBytes;
    const q = tidied(() => quantize(tensor(2, [K, N]), { format: 'int8' }));
    expect(tf.memory().numBytes - before).toBe(K * N + 4 * N);
    expect(q.byteLength).toBe(K * N + 4 * N);
    const x = tensor(1, [2, K]);
    const want = tf.tidy(() => matMul(x, q).dataSync());
    for (const backend of ['cpu', 'wasm', 'cpu', 'wasm']) {
      await useBackend(backend);
      expect(tf.tidy(() => matMul(x, q).dataSync())).toEqual(want);
    }
    const saved = await tf.io.encodeWeights({ packed: q.packed });
    const loaded = tf.io.decodeWeights(saved.data, saved.specs);
    const again = quantizedTensor(loaded.packed!, JSON.parse(JSON.stringify(q.spec)));
    expect(tf.tidy(() => matMul(x, again).dataSync())).toEqual(want);
    tf.dispose([q, again, x] as never);
    expect(q.isDisposed && again.isDisposed).toBe(true);
    expect(tf.memory().numBytes).toBe(before);
  });

  it('are int8 in 0.26 and int4 in 0.16 of the float bytes, in tf.memory and on the wasm heap', async () => {
    await useBackend('wasm');
    const shape = [1024, 1024];
    const float = 4 * 1024 * 1024;
    for (const [format, share] of [
      ['int8', 0.26],
      ['int4', 0.16],
    ] as const) {
      const q = tidied(() => quantize(tensor(2, shape), { format, ...(format === 'int4' && { scale: 'f16' }) }));
      expect(q.byteLength / float).toBeLessThan(share);
      q.dispose();
    }
  });
});

describe('register', () => {
  it('is idempotent, replaces options, and unregisters without traces', async () => {
    await useBackend('cpu');
    const x = tensor(1, [2, 300]);
    const q = tidied(() => quantize(tensor(2, [300, 5])));
    register(tf);
    const two = tf.tidy(() => matMul(x, q).dataSync());
    register(tf, { components: 1 });
    const one = tf.tidy(() => matMul(x, q).dataSync());
    expect(one).not.toEqual(two);
    unregister(tf);
    unregister(tf);
    expect(tf.getKernel('MsdMatMul', 'cpu')).toBeUndefined();
    expect(() => matMul(x, q)).toThrow(/not registered. Call register\(tf\) first/);
    register(tf);
    expect(tf.tidy(() => matMul(x, q).dataSync())).toEqual(two);
    tf.dispose([x, q] as never);
    for (const bad of [null, {}, 1, 'tf'])
      expect(() => register(bad as never)).toThrow(/register: tf, expected a namespace/);
    expect(() => register(tf, { overide: true } as never)).toThrow(/option 'overide'/);
    expect(() => register(tf, { components: 0 as never })).toThrow(RangeError);
  });

  it('overrides tf.matMul for quantized operands only', async () => {
    for (const backend of BACKENDS) {
      await useBackend(backend);
      register(tf, { override: true });
      await withoutLeaks(() =>
        tf.tidy(() => {
          const [x, w, other] = [tensor(1, [6, 64]), tensor(2, [64, 9]), tensor(3, [64, 9])];
          const stock = tf.matMul(x, w).dataSync();
          const q = quantize(w);
          const msd = matMul(x, q).dataSync();
          expect(tf.matMul(x, w).dataSync()).toEqual(msd);
          expect(msd).not.toEqual(stock);
          const bias = tf.tensor1d(gaussian(4, 9));
          const fused = tf.fused.matMul({ a: x as tf.Tensor2D, b: w as tf.Tensor2D, bias, activation: 'relu' });
          expect(fused.dataSync()).toEqual(matMul(x, q, { bias, activation: 'relu' }).dataSync());
          expect(tf.matMul(x, other).dataSync()).not.toEqual(msd);
          expect(tf.matMul(x, tf.transpose(w), false, true).shape).toEqual([6, 9]);
          q.dispose();
          expect(tf.matMul(x, w).dataSync()).toEqual(stock);
        }),
      );
      register(tf);
      const names = ['BatchMatMul', '_FusedMatMul'].map((name) => String(tf.getKernel(name, backend)?.kernelFunc));
      for (const text of names) expect(text).not.toContain('remembered');
    }
  });
});
