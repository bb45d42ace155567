/** What the WebGPU backend asks of a device, what it gives back, and what it says when the device refuses. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BufferUsage, type GpuBinding, type GpuDevice } from '../src/backends/webgpu/api.ts';
import {
  attentionWork,
  BackendUnavailableError,
  createBackend,
  createKvCache,
  errorBound,
  GpuError,
  msdMatmul,
  packedShape,
  UnsupportedError,
} from '../src/index.ts';
import { opOf } from './attention-cases.ts';
import { longTier } from './conformance.ts';
import { testGpu } from './gpu.ts';
import { complaintsOf, liveBytes, minimalDevice, withLimits } from './gpu-device.ts';
import { gaussians, random, randomWeights, rawWeights, type WeightShape } from './random.ts';
import { gpuBuffer } from './run-wgsl.ts';

const gpu = await testGpu();

const INT4: WeightShape = { format: 'int4', blockSize: 32, N: 70, K: 320, asymmetric: false };
const SMALL: WeightShape = { ...INT4, N: 16, K: 32 };

/** The smallest product: one panel, one step. */
const one = { weights: randomWeights(random(2), SMALL), x: gaussians(random(3), SMALL.K) };

export function webgpuDeviceSuite(): void {
  describe.skipIf(!gpu)('webgpu: asking for a device', () => {
    it('passes the power preference on, takes the limits of the adapter and the features that it uses', async () => {
      const asked: unknown[] = [];
      const backend = await createBackend('webgpu', {
        gpu: {
          requestAdapter(options) {
            asked.push(options);
            return gpu!.requestAdapter(options);
          },
        },
        powerPreference: 'low-power',
      });
      expect(asked).toEqual([{ powerPreference: 'low-power' }]);
      const adapter = await gpu!.requestAdapter();
      expect(backend.gpuDevice.limits.maxStorageBufferBindingSize).toBe(adapter!.limits.maxStorageBufferBindingSize);
      expect(backend.features.subgroups).toBe(adapter!.features.has('subgroups'));
      backend.dispose();
      const without = await createBackend('webgpu', { gpu, features: { packedDot: false, subgroups: false } });
      expect(without.features).toEqual({ packedDot: false, subgroups: false });
      expect(without.kernelFor(await without.prepare(one.weights), 1)).toMatch(/_shifts$/);
      without.dispose();
    });

    it('says what is missing', async () => {
      const nothing = { requestAdapter: async () => null };
      await expect(createBackend('webgpu', { gpu: nothing })).rejects.toThrow(BackendUnavailableError);
      await expect(createBackend('webgpu', { gpu: nothing })).rejects.toThrow(/found no adapter\. Use device 'wasm'/);
    });
  });

  it.skipIf(!gpu)('has no attention yet, and says so', async () => {
    const backend = await createBackend('webgpu', { gpu });
    const shape = { batch: 1, kvHeads: 1, headSize: 8 };
    expect(() => createKvCache(backend, shape)).toThrow(UnsupportedError);
    const op = opOf({ ...shape, heads: 1, valueSize: 8, rows: 1 });
    expect(() =>
      backend.bind(
        attentionWork(op, () => ({}) as never),
        [],
      ),
    ).toThrow(UnsupportedError);
    backend.dispose();
  });

  describe.skipIf(!gpu)('webgpu: a given device', () => {
    let device: GpuDevice;
    let complaints: string[];
    beforeEach(async () => {
      ({ device, complaints } = await minimalDevice(gpu!));
    });
    afterEach(() => {
      expect(complaints).toEqual([]);
      device.destroy();
    });

    it.each([1, 3, 9, 70])('takes more workgroups than one dimension has: M=%i', async (M) => {
      // With three per dimension, all kernels fold: 5 panels, 2 or 4 tiles, 2·M blocks.
      const backend = await createBackend('webgpu', {
        gpu,
        device: withLimits(device, { maxComputeWorkgroupsPerDimension: 3 }),
      });
      const weights = randomWeights(random(4), { ...INT4, N: M > 4 ? 4 * 64 + 6 : INT4.N });
      const x = gaussians(random(5), M * INT4.K);
      const y = await backend.matmul(x, await backend.prepare(weights));
      const want = msdMatmul(x, weights, { M });
      const bound = errorBound(x, weights, { device: 'webgpu' });
      const at = y.findIndex((value, i) => !(Math.abs(value - want[i]) <= 2 * bound[i]));
      expect(at, `y[${at}] expected ${want[at]}, got ${y[at]}`).toBe(-1);
      backend.dispose();
    });

    it('gives every buffer back, and keeps no more the longer it runs', { timeout: 300_000 }, async () => {
      const live = liveBytes(device);
      const out: GpuBinding = { buffer: gpuBuffer(device, 64), byteLength: 64 };
      const [own, cycles] = [live(), longTier() ? 1000 : 30];
      const backend = await createBackend('webgpu', { gpu, device });
      let first: number | undefined;
      for (let i = 0; i < cycles; i++) {
        const prepared = await backend.prepare(one.weights);
        const adopted = backend.adopt(packedShape(one.weights), {
          buffer: prepared.pieces![0].buffer,
          byteLength: prepared.byteLength,
        });
        await backend.matmul(one.x, prepared);
        await backend.matmul(one.x, adopted, { out });
        for (const matrix of [adopted, prepared]) matrix.dispose();
        first ??= live();
        expect([live(), backend.memory().packedBytes]).toEqual([first, 0]);
      }
      expect(first! - own).toBe(backend.memory().scratchBytes);
      backend.dispose();
      expect(live()).toBe(own);
      // Backends that come and go on one device, with a matrix each that nobody disposed.
      for (let i = 0; i < cycles; i++) {
        const other = await createBackend('webgpu', { gpu, device });
        await other.prepare(one.weights);
        expect(live()).toBeGreaterThan(own);
        other.dispose();
        expect(live()).toBe(own);
      }
    });

    it('keeps nothing of what it was doing when it is disposed of', async () => {
      const live = liveBytes(device);
      const backend = await createBackend('webgpu', { gpu, device });
      const prepared = await backend.prepare(one.weights);
      const running = [backend.matmul(one.x, prepared), backend.prepare(one.weights)];
      backend.dispose();
      for (const { status, reason } of (await Promise.allSettled(running)) as PromiseRejectedResult[]) {
        expect(status).toBe('rejected');
        expect(reason.message).toMatch(/backend has been disposed/);
      }
      expect(live()).toBe(0);
    });

    it('names the kernel that was refused, in matmul at once, after record later, and works on', async () => {
      const backend = await createBackend('webgpu', { gpu, device });
      const prepared = await backend.prepare(one.weights);
      const want = await backend.matmul(one.x, prepared);
      const id = backend.kernelFor(prepared, 1);
      const byteLength = 4 * SMALL.K;
      const noStorage = device.createBuffer({ size: byteLength, usage: BufferUsage.COPY_DST });
      const bad: GpuBinding = { buffer: noStorage, byteLength };
      const refused = await backend.matmul(bad, prepared).catch((error) => error);
      expect(refused).toBeInstanceOf(GpuError);
      expect(refused.message).toContain(`matmul: the GPU refused ${id}: `);

      const out: GpuBinding = { buffer: gpuBuffer(device, 64), byteLength: 64 };
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      backend.record(pass, bad, prepared, { out });
      pass.end(); // a pass with an error in it: its owner does not submit it
      const later = await backend.flush().catch((error) => error);
      expect(later).toBeInstanceOf(GpuError);
      expect(later.message).toContain(`record: the GPU refused ${id}: `);
      await backend.flush();
      expect(await backend.matmul(one.x, prepared)).toEqual(want);
      backend.dispose();
    });

    it('names the matrix that was refused, and keeps nothing of it', async () => {
      const live = liveBytes(device);
      const { maxBufferSize } = device.limits;
      const backend = await createBackend('webgpu', { gpu, device });
      const before = live();
      // More than a device may have, told by the device itself.
      const createBuffer = device.createBuffer;
      device.createBuffer = (descriptor) =>
        createBuffer({
          ...descriptor,
          size: descriptor.label?.includes('weights') ? maxBufferSize + 4 : descriptor.size,
        });
      const error = await backend.prepare(one.weights).catch((problem) => problem);
      device.createBuffer = createBuffer;
      expect(error).toBeInstanceOf(BackendUnavailableError);
      expect(error.message).toContain('prepare: the GPU refused int4 [16,32]: ');
      expect([live(), backend.memory().packedBytes]).toEqual([before, 0]);
      (await backend.prepare(one.weights)).dispose();
      backend.dispose();
    });

    it('asks for another device once it is lost', async () => {
      const backend = await createBackend('webgpu', { gpu, device });
      const prepared = await backend.prepare(one.weights);
      device.destroy();
      await device.lost;
      const lost = /device was lost \(destroyed\).*Create a backend with a new device/;
      await expect(backend.matmul(one.x, prepared)).rejects.toThrow(lost);
      await expect(backend.prepare(one.weights)).rejects.toThrow(lost);
      await expect(backend.flush()).rejects.toThrow(lost);
      backend.dispose();
    });
  });

  // A gigabyte in all, more than a page may have. Rows repeat after 64, so that every one of them is known.
  describe.skipIf(!gpu || !longTier() || typeof document !== 'undefined')('webgpu: a large vocabulary', () => {
    it('multiplies 151,936 x 4096 in pieces', { timeout: 600_000 }, async () => {
      const [N, K] = [151_936, 4096];
      const backend = await createBackend('webgpu', { gpu });
      const complaints = complaintsOf(backend.gpuDevice);
      const next = random(6);
      const some = rawWeights(next, { ...INT4, N: 64, K }, () => (next() - 0.5) / 8);
      const repeat = <A extends { length: number; set(values: A, at: number): void }>(values: A, into: A): A => {
        for (let at = 0; at < into.length; at += values.length) into.set(values, at);
        return into;
      };
      const weights = {
        ...some,
        N,
        data: repeat(some.data as Uint8Array, new Uint8Array((N * K) / 2)),
        scales: repeat(some.scales as Float32Array, new Float32Array((N * K) / 32)),
      };
      const prepared = await backend.prepare(weights);
      expect(prepared.pieces!.length).toBeGreaterThan(1);
      for (const { layout } of prepared.pieces!) expect(layout.byteLength).toBeLessThanOrEqual(2 ** 26);
      const x = gaussians(next, K);
      const y = await backend.matmul(x, prepared);
      const period = await backend.prepare(some);
      const want = await backend.matmul(x, period);
      const at = y.findIndex((value, n) => value !== want[n % 64]);
      expect(at, `y[${at}] expected ${want[at % 64]}, got ${y[at]}`).toBe(-1);
      backend.dispose();
      expect(complaints).toEqual([]);
    });
  });
}
