/**
 * What the WebGPU backend has to hold, in a browser and in Node. A software GPU takes about a second to compile a kernel, so
 * the fast tier meets every format and shape class once; MSD_TEST_ALL runs the generated cases.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GpuBinding, GpuDevice } from '../src/backends/webgpu/api.ts';
import type { WebGpuBackend } from '../src/backends/webgpu/index.ts';
import { digitsOf, resolveDecomposition } from '../src/decompose/contract.ts';
import { decompose } from '../src/decompose/decompose.reference.ts';
import { wgslDecompose } from '../src/decompose/decompose.wgsl.ts';
import { QUAD } from '../src/formats/format.ts';
import { createBackend, type DecompositionOptions, errorBound, msdMatmul, packedShape } from '../src/index.ts';
import { conformance, longTier } from './conformance.ts';
import { testGpu } from './gpu.ts';
import { complaintsOf, minimalDevice } from './gpu-device.ts';
import { gaussians, random, randomWeights, rawWeights, type WeightShape } from './random.ts';
import { dispatch, gpuBuffer, readBuffer } from './run-wgsl.ts';

const gpu = await testGpu();

const INT4: WeightShape = { format: 'int4', blockSize: 32, N: 33, K: 320, asymmetric: false };

export function webgpuSuite(): void {
  const tiers = [
    ['webgpu', undefined, longTier() ? 0.04 : 0.01],
    ['webgpu without packed dot and subgroups', { packedDot: false, subgroups: false }, longTier() ? 0.01 : 0],
  ] as const;
  for (const [name, features, share] of tiers)
    if (share)
      describe.skipIf(!gpu)('skipped where there is no adapter', () => {
        let complaints: string[] = [];
        const create = async () => {
          const backend = await createBackend('webgpu', { gpu, features });
          complaints = complaintsOf(backend.gpuDevice);
          return backend;
        };
        conformance(name, create, { bits: 'bound', device: 'webgpu', share });
        afterAll(() => expect(complaints).toEqual([]));
      });

  describe.skipIf(!gpu)('webgpu kernels', () => {
    let device: GpuDevice;
    let complaints: string[];
    beforeAll(async () => {
      ({ device, complaints } = await minimalDevice(gpu!));
    });
    afterAll(() => {
      expect(complaints).toEqual([]);
      device.destroy();
    });

    const decompositions: DecompositionOptions[] = [
      { activationBlock: 256 },
      { activationBlock: 32, components: 1 },
      { activationBlock: 'row' },
      { decomposition: 'mxfp4' },
      { decomposition: 'mxfp4', components: 1 },
    ];
    it.each(decompositions)('decompose %o: q within 1 of the f32 contract, its scale within 2 ulp', async (options) => {
      const decomposition = resolveDecomposition(options, 'test');
      const next = random(5);
      const [M, K] = [6, 333];
      const x = gaussians(next, M * K);
      x.fill(0, K, 2 * K);
      x[2 * K + 40] = 1e30;
      x.fill(2 ** -101, 3 * K, 4 * K);
      x.fill(Number.NaN, 4 * K + 5, 4 * K + 6);
      const words = Math.ceil(K / 32) * 8;
      const blocks = Math.ceil(K / (decomposition.activationBlock === 32 ? 32 : 256));
      const want = decompose(x, M, K, decomposition, 'float32');
      for (const rows of [1, 4] as const) {
        const kernel = wgslDecompose({ decomposition, rows, subgroups: false });
        const paddedM = rows * Math.ceil(M / rows);
        const digits = gpuBuffer(device, 4 * digitsOf(decomposition) * paddedM * words);
        const scales = gpuBuffer(device, 4 * paddedM * blocks);
        const source = gpuBuffer(device, Float32Array.of(7, ...x));
        const groups = decomposition.activationBlock === 'row' ? paddedM : paddedM * Math.ceil(words / 64);
        dispatch(device, kernel, [M, K, 1, words, paddedM, blocks], [source, digits, scales], groups);
        const d = new Int8Array(await readBuffer(device, digits));
        const s = new Float32Array(await readBuffer(device, scales));
        for (let m = 0; m < paddedM; m++)
          for (let k = 0; k < 4 * words; k++) {
            const at = (p: number) => {
              const word = (Math.floor(m / rows) * words + Math.floor(k / 4)) * rows + (m % rows);
              return 4 * (p * paddedM * words + word) + QUAD.indexOf((k % 4) as 0);
            };
            const q = digitsOf(decomposition) === 2 ? 254 * d[at(0)] + d[at(1)] : d[at(0)];
            const expected = m < M && k < K ? want.q[m * K + k] : 0;
            // E2M1 is exact: powers of two and rounding only. A quotient next to a tie may fall on either side of it.
            const slack = decomposition.id === 'mxfp4' ? 0 : 1;
            if (!(Math.abs(q - expected) <= slack))
              throw new Error(`${kernel.id}: q[${m},${k}] expected ${expected}, got ${q}`);
          }
        for (let m = 0; m < M; m++)
          for (let b = 0; b < blocks; b++) {
            const got = s[(Math.floor(m / rows) * blocks + b) * rows + (m % rows)];
            const block = decomposition.activationBlock === 'row' ? 0 : b;
            const expected = want.scales[m * (want.scales.length / M) + block];
            if (Number.isNaN(expected)) expect(got).toBeNaN();
            else expect(Math.abs(got - expected)).toBeLessThanOrEqual(expected * 2 ** -22);
          }
      }
    });
  });

  describe.skipIf(!gpu)('webgpu backend on a device with minimum limits', () => {
    let device: GpuDevice;
    let complaints: string[];
    let backend: WebGpuBackend;
    beforeAll(async () => {
      ({ device, complaints } = await minimalDevice(gpu!));
      backend = await createBackend('webgpu', { gpu, device });
    });
    afterAll(async () => {
      backend.dispose();
      await device.queue.onSubmittedWorkDone(); // it was given: it lives on
      expect(complaints).toEqual([]);
      expect(backend.memory().packedBytes).toBe(0);
      device.destroy();
    });

    async function multiply(shape: WeightShape, M: number, options: DecompositionOptions = {}, seed = 1) {
      const next = random(seed);
      const weights = randomWeights(next, shape);
      const x = gaussians(next, M * shape.K);
      const bias = gaussians(next, shape.N);
      const prepared = await backend.prepare(weights);
      const y = await backend.matmul(x, prepared, { ...options, bias });
      prepared.dispose();
      const want = msdMatmul(x, weights, { M, ...options, bias });
      const bound = errorBound(x, weights, { ...options, bias, device: 'webgpu' });
      for (
        let i = 0;
        i < y.length;
        i++ // both are within the bound of the real product
      )
        if (!(Math.abs(y[i] - want[i]) <= 2 * bound[i]))
          throw new Error(`y[${i}] expected ${want[i]} ± ${2 * bound[i]}, got ${y[i]}`);
      return y;
    }

    it.each([
      ['int8', null, 1, 256],
      ['int8', 64, 9, 32],
      ['int4', 16, 9, 256],
      ['int4', 128, 3, 'row'],
      ['mxfp4', 32, 1, 32],
      ['int2', 32, 9, 256],
    ] as const)(
      'multiplies %s in blocks of %o, M=%i, activationBlock %o',
      async (format, blockSize, M, activationBlock) => {
        const asymmetric = format !== 'mxfp4';
        await multiply({ format, blockSize, N: 70, K: 333, asymmetric, scale: 'f16' }, M, { activationBlock });
      },
    );

    const exactFormats = [
      ['int4', false],
      ['int4', true],
      ['int8', false],
      ['int8', true],
      ['mxfp4', false],
      ['int2', true],
    ] as const;
    it.each(longTier() ? exactFormats : exactFormats.slice(0, 1))(
      'is exact in the integers: %s, stored zero points %o',
      async (format, asymmetric) => {
        // S = 1 where the largest |x| is the limit, and scales of 1: every sum is below 2²⁴, so y is the integer itself.
        const next = random(3);
        const [N, K, M] = [33, 32, 5];
        const some = rawWeights(next, { format, blockSize: 32, N, K, asymmetric }, () => 1);
        const weights = format === 'mxfp4' ? { ...some, scales: new Uint8Array(N).fill(127) } : some;
        const spread = format === 'int8' ? 1000 : 32258;
        const x = Float32Array.from({ length: M * K }, (_, i) =>
          i % K ? Math.round((next() - 0.5) * 2 * spread) : 32258,
        );
        const prepared = await backend.prepare(weights);
        for (const rows of [1, M]) {
          const y = await backend.matmul(x.subarray(0, rows * K), prepared);
          const want = msdMatmul(x.subarray(0, rows * K), weights, { M: rows, arithmetic: 'float32' });
          expect(want.every((value) => Number.isInteger(2 * value) && Math.abs(value) < 2 ** 24)).toBe(true);
          expect(Array.from(y)).toEqual(Array.from(want));
        }
        prepared.dispose();
      },
    );

    it('takes buffers at odd offsets, in its own submissions and in a caller’s pass', async () => {
      const next = random(7);
      const { N, K } = INT4;
      const weights = randomWeights(next, INT4);
      const [x, bias] = [gaussians(next, K), gaussians(next, N)];
      const prepared = await backend.prepare(weights);
      const want = await backend.matmul(x, prepared, { bias });
      // Everything in one buffer but the bias, at offsets that no alignment knows.
      const shared = gpuBuffer(device, 4 * (3 + K + 67 + N + 5));
      const biasBuffer = gpuBuffer(device, Float32Array.of(9, ...bias));
      const at = (offset: number, length: number): GpuBinding => ({
        buffer: shared,
        offset: 4 * offset,
        byteLength: 4 * length,
      });
      device.queue.writeBuffer(shared, 12, x as Float32Array<ArrayBuffer>);
      const options = {
        out: at(3 + K + 67, N),
        bias: { buffer: biasBuffer, offset: 4, byteLength: 4 * N },
      };
      const result = async () =>
        new Float32Array(await readBuffer(device, shared)).subarray(3 + K + 67, 3 + K + 67 + N + 5);
      expect(await backend.matmul(at(3, K), prepared, options)).toBe(options.out);
      expect(Array.from(await result())).toEqual([...want, 0, 0, 0, 0, 0]);

      device.queue.writeBuffer(shared, 4 * (3 + K + 67), new Float32Array(N));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (let i = 0; i < 100; i++) backend.record(pass, at(3, K), prepared, options);
      pass.end();
      device.queue.submit([encoder.finish()]);
      await backend.flush();
      expect(Array.from(await result())).toEqual([...want, 0, 0, 0, 0, 0]);
      expect(() => backend.record(pass, at(3, K), prepared, { ...options, bias: options.out })).toThrow(
        /bias expected to lie apart from out/,
      );
      expect(() => backend.record(pass, { ...at(3, K), offset: 2 }, prepared, options)).toThrow(/multiple of 4/);
      for (const half of [{ xType: 'f16' }, { outType: 'bf16' }])
        expect(() => backend.record(pass, at(3, K), prepared, { ...options, ...half })).toThrow(
          /got half precision, which the wasm and reference backends take/,
        );
      prepared.dispose();
    });

    it('chains results on the GPU, and takes packed bytes where they are', async () => {
      const next = random(8);
      const [first, second] = [INT4, { ...INT4, N: 20, K: INT4.N }];
      const weights = [randomWeights(next, first), randomWeights(next, second)];
      const [a, b] = await Promise.all(weights.map((w) => backend.prepare(w)));
      const x = gaussians(next, first.K);
      const hidden: GpuBinding = { buffer: gpuBuffer(device, 4 * first.N), byteLength: 4 * first.N };
      void backend.matmul(x, a, { out: hidden });
      const y = await backend.matmul(hidden, b);
      const want = await backend.matmul(await backend.matmul(x, a), b);
      expect(Array.from(y)).toEqual(Array.from(want));

      const { buffer, layout } = b.pieces![0];
      const adopted = backend.adopt(packedShape(weights[1]), { buffer, byteLength: layout.byteLength });
      expect(Array.from(await backend.matmul(hidden, adopted))).toEqual(Array.from(want));
      adopted.dispose();
      expect(Array.from(await backend.matmul(hidden, b))).toEqual(Array.from(want));
      expect(() => backend.adopt(packedShape(weights[1]), { buffer, byteLength: 64 })).toThrow(/adopt: packed int4/);
      for (const matrix of [a, b]) matrix.dispose();
    });

    it('cuts a matrix into pieces that can be bound, and changes nothing by it', async () => {
      const next = random(12);
      const shape = { ...INT4, N: 100 };
      const weights = randomWeights(next, shape);
      const [x, bias] = [gaussians(next, shape.K), gaussians(next, shape.N)];
      const whole = await backend.prepare(weights);
      const cut = await createBackend('webgpu', { gpu, device, pieceBytes: 7000 });
      const pieces = await cut.prepare(weights);
      expect(whole.pieces).toHaveLength(1);
      expect(pieces.pieces!.length).toBe(4);
      expect(pieces.byteLength).toBe(whole.byteLength);
      expect(Array.from(await cut.matmul(x, pieces, { bias }))).toEqual(
        Array.from(await backend.matmul(x, whole, { bias })),
      );
      const one = {
        ...randomWeights(next, { ...shape, format: 'int8', blockSize: null }),
        scales: Float32Array.of(0.5),
      };
      const [wholeOne, cutOne] = [await backend.prepare(one), await cut.prepare(one)];
      expect(cutOne.pieces!.length).toBeGreaterThan(1);
      expect(Array.from(await cut.matmul(x, cutOne))).toEqual(Array.from(await backend.matmul(x, wholeOne)));
      wholeOne.dispose();
      const tiny = await createBackend('webgpu', { gpu, device, pieceBytes: 100 });
      await expect(tiny.prepare(weights)).rejects.toThrow(/16 columns of int4/);
      for (const other of [cut, tiny]) other.dispose();
      whole.dispose();
    });

    it('survives many dispatches', { timeout: 600_000 }, async () => {
      const prepared = await backend.prepare(randomWeights(random(2), { ...INT4, N: 16, K: 32 }));
      const x = { buffer: gpuBuffer(device, gaussians(random(3), 32) as Float32Array<ArrayBuffer>), byteLength: 128 };
      const out = { buffer: gpuBuffer(device, 64), byteLength: 64 };
      const want = await backend.matmul(x, prepared);
      for (let i = 0; i < (longTier() ? 50 : 2); i++) {
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        for (let j = 0; j < 100; j++) backend.record(pass, x, prepared, { out }); // two dispatches each
        pass.end();
        device.queue.submit([encoder.finish()]);
      }
      await backend.flush();
      expect(Array.from(new Float32Array(await readBuffer(device, out.buffer)))).toEqual(Array.from(want));
      expect(backend.lost).toBeUndefined();
      prepared.dispose();
    });

    it.skipIf(!longTier())('dispatches more than 65,535 workgroups', { timeout: 300_000 }, async () => {
      const [N, K] = [16 * 65_537, 32]; // gemv: one workgroup per panel of 16
      const next = random(4);
      const data = Uint8Array.from({ length: 8 * N }, () => Math.floor(256 * next()));
      const weights = { format: 'int2', N, K, blockSize: 32, data, scales: new Float32Array(N).fill(1) } as const;
      const prepared = await backend.prepare(weights);
      const x = Float32Array.from({ length: K }, (_, i) => (i ? i : 32258));
      const y = await backend.matmul(x, prepared);
      for (const n of [0, 16, 16 * 65_535, N - 1]) {
        const row = { ...weights, N: 1, data: data.subarray(8 * n, 8 * n + 8), scales: Float32Array.of(1) };
        expect(y[n], `column ${n}`).toBe(msdMatmul(x, row, { M: 1, arithmetic: 'float32' })[0]);
      }
      prepared.dispose();
    });
  });

  describe.skipIf(!gpu)('webgpu device loss', () => {
    it('is reported, and preparing again recovers', async () => {
      const backend = await createBackend('webgpu', { gpu });
      const weights = randomWeights(random(2), INT4);
      const x = gaussians(random(3), INT4.K);
      const prepared = await backend.prepare(weights);
      const want = await backend.matmul(x, prepared);
      const old = backend.gpuDevice;
      old.destroy();
      await old.lost;
      await expect(backend.matmul(x, prepared)).rejects.toThrow(/device was lost.*Prepare the weights again/);
      expect(backend.lost?.reason).toBe('destroyed');
      const again = await backend.prepare(weights);
      expect(backend.lost).toBeUndefined();
      expect(Array.from(await backend.matmul(x, again))).toEqual(Array.from(want));
      await expect(backend.matmul(x, prepared)).rejects.toThrow(/disposed/);
      backend.dispose();
      await expect(backend.matmul(x, again)).rejects.toThrow(/backend has been disposed/);
    });
  });
}
