/** The WebGPU backend as a device: what is bound once and run many times, on memory of its own. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Device, OpWork, ProductWork } from '../src/backends/device.ts';
import type { GpuBinding, GpuDevice } from '../src/backends/webgpu/api.ts';
import type { GpuWeights, WebGpuBackend } from '../src/backends/webgpu/index.ts';
import { createBackend, GpuError, UnsupportedError } from '../src/index.ts';
import { elementwise } from '../src/nn/elementwise/elementwise.ts';
import type { Elementwise } from '../src/nn/elementwise/expression.ts';
import { norm } from '../src/nn/norm/norm.ts';
import { byteLength, elementCount, type OpSpec, type TensorType } from '../src/ops/op.ts';
import { Program, type Slot, type Step } from '../src/program/program.ts';
import { LINEAR_ID, THREADS } from '../src/wgsl/wgsl.ts';
import { longTier } from './conformance.ts';
import { deviceConformance } from './device-conformance.ts';
import { testGpu } from './gpu.ts';
import { minimalDevice } from './gpu-device.ts';
import { gaussians, random, randomWeights, type WeightShape } from './random.ts';
import { gpuBuffer } from './run-wgsl.ts';

const gpu = await testGpu();

const SHAPE: WeightShape = { format: 'int4', blockSize: 32, N: 20, K: 64, asymmetric: false };

const onlyOnGpu = { reference: () => {}, wasm: () => ({ calls: [], scratchBytes: 0 }) };

/** y = a · factor + b */
const scaledSum: OpSpec<{ readonly factor: number }> = {
  name: 'scaledSum',
  infer: (_, [a]) => [a!],
  ...onlyOnGpu,
  inPlace: (_, _output, input) => input === 1,
  wgsl: ({ factor }, [a]) => [
    {
      id: 'scaledSum_f32',
      operands: { a: 0, b: 1, y: 2 },
      params: { count: elementCount(a!.dims), factor },
      code: () => mainOf('if (i < p.count) { set_y(i, a(i) * f32(p.factor) + b(i)); }'),
      workgroups: Math.ceil(elementCount(a!.dims) / THREADS),
    },
  ],
};

/** y = a < 0, four at a time */
const isNegative: OpSpec<null> = {
  name: 'isNegative',
  infer: (_, [a]) => [{ dtype: 'bool', dims: a!.dims }],
  ...onlyOnGpu,
  wgsl: (_, [a]) => [
    {
      id: 'isNegative_f32',
      operands: { a: 0, y: 1 },
      params: { count: elementCount(a!.dims) },
      code: () =>
        mainOf(`if (4u * i >= p.count) { return; }
  var four = 0u;
  for (var j = 0u; j < 4u; j++) { if (4u * i + j < p.count && a(4u * i + j) < 0.0) { four |= 1u << (8u * j); } }
  set_y(i, four);`),
      workgroups: Math.ceil(elementCount(a!.dims) / 4 / THREADS),
    },
  ],
};

const mainOf = (body: string): string => `@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  let i = ${THREADS}u * id + lid;
  ${body}
}`;

const none = [undefined, undefined, undefined];
const GATE: Elementwise = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [2, 1] },
  ],
  outputs: [3],
};

const f32 = (...dims: number[]): TensorType => ({ dtype: 'f32', dims });

export function webgpuCallsSuite(): void {
  describe.skipIf(!gpu)('skipped where there is no adapter', () => {
    deviceConformance('webgpu', () => createBackend('webgpu', { gpu }), {
      bits: 'bound',
      rows: longTier() ? [1, 5, 300] : [1, 5],
      takes: ({ spec }) => spec.wgsl !== undefined,
    });
  });

  describe.skipIf(!gpu)('webgpu: bound calls', () => {
    let device: GpuDevice;
    let complaints: string[];
    let backend: WebGpuBackend;
    beforeAll(async () => {
      ({ device, complaints } = await minimalDevice(gpu!));
      backend = await createBackend('webgpu', { gpu, device });
    });
    afterAll(async () => {
      await backend.flush();
      backend.dispose();
      await device.queue.onSubmittedWorkDone();
      expect(complaints).toEqual([]);
      device.destroy();
    });

    const put = (values: Float32Array): GpuBinding => {
      const handle = backend.alloc(values.byteLength, 'test');
      backend.write(handle, values);
      return handle;
    };
    const floats = async (handle: GpuBinding, count = handle.byteLength / 4): Promise<number[]> => {
      const values = new Float32Array(count);
      await backend.read(handle, values);
      return Array.from(values);
    };

    it('keeps bytes: of any length, in parts, in order with what runs', async () => {
      const whole = backend.alloc(70, 'bytes');
      const bytes = Uint8Array.from({ length: 70 }, (_, i) => i);
      backend.write(whole, bytes);
      const back = new Uint8Array(70);
      await backend.read(whole, back);
      expect(back).toEqual(bytes);
      const end = backend.part(backend.part(whole, 8, 60), 4, 7);
      const seven = new Uint8Array(7);
      await backend.read(end, seven);
      expect(Array.from(seven)).toEqual([12, 13, 14, 15, 16, 17, 18]);
      const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(9);
      backend.write(end, shared);
      await backend.read(end, seven);
      expect(Array.from(seven)).toEqual([9, 9, 9, 9, 16, 17, 18]);
      await backend.read(end, new Uint8Array(0));

      expect(() => backend.part(whole, 2, 4)).toThrow(/part: begin expected a multiple of 4/);
      expect(() => backend.part(whole, 68, 4)).toThrow(/an end inside of 70 bytes/);
      expect(() => backend.write(end, bytes)).toThrow(/write: expected at most the handle's 7 bytes, got 70/);
      await expect(backend.read(end, new Float32Array(2))).rejects.toThrow(/read: expected at most/);
      expect(() => backend.alloc(-1)).toThrow(/alloc: buffer expected a byte length, got -1/);
      expect(() => backend.alloc(device.limits.maxStorageBufferBindingSize + 4)).toThrow(/bindings end at/);
      backend.free(whole);
      expect(() => backend.free(whole)).toThrow(/Was it freed before/);
    });

    it('runs a product of several matrices, decomposed once, again and again with other operands', async () => {
      const next = random(1);
      const shapes = [SHAPE, { ...SHAPE, N: 33 }];
      const matrices = await Promise.all(shapes.map((shape) => backend.prepare(randomWeights(next, shape))));
      const [x1, x2] = [gaussians(next, 2 * SHAPE.K), gaussians(next, 2 * SHAPE.K)];
      const bias = gaussians(next, 33);
      const [first, second] = [put(x1), put(x2)];
      const [out, other, biasAt] = [put(new Float32Array(40)), put(new Float32Array(66)), put(bias)];
      const work = { kind: 'product', matrices, M: 2, each: [{}, { activation: 'silu' }] } as const;
      const operands = [first, undefined, undefined, undefined, out, biasAt, undefined, undefined, other];
      const call = backend.bind(work, operands);
      expect(call.kernels).toHaveLength(3);
      const want = async (x: Float32Array) => [
        Array.from(await backend.matmul(x, matrices[0])),
        Array.from(await backend.matmul(x, matrices[1], { bias, activation: 'silu' })),
      ];
      const groups = bindGroupsOf(device);
      backend.run(call);
      backend.run(call);
      expect(groups()).toBe(0);
      expect([await floats(out), await floats(other)]).toEqual(await want(x1));
      backend.run(call, { operands: { 0: second } });
      backend.run(call);
      expect([await floats(out), await floats(other)]).toEqual(await want(x2));

      // A larger product replaces the working buffers that the call has bound.
      const large = await backend.prepare(randomWeights(next, { ...SHAPE, K: 4096 }));
      backend.run(call, { operands: { 0: first } });
      await backend.matmul(gaussians(next, 4096), large);
      backend.run(call);
      expect([await floats(out), await floats(other)]).toEqual(await want(x1));

      expect(() => backend.run(call, { operands: { 0: { ...first, offset: 2 } } })).toThrow(/multiple of 4/);
      expect(() => backend.run(call, { operands: { 1: biasAt } })).toThrow(/operand 1 was absent/);
      expect(() => backend.bind(work, [...operands.slice(0, 4), undefined, ...operands.slice(5)])).toThrow(
        /out of matrix 0 expected a GPU buffer binding/,
      );
      backend.run(call);
      expect(await floats(out)).toEqual((await want(x1))[0]);
      expect(() => backend.bind(work, operands.slice(1))).toThrow(/2 matrices expected 9 operands, got 8/);
      expect(() => backend.bind({ ...work, each: [{}] }, operands)).toThrow(/each expected 2 options/);
      expect(() => backend.bind({ ...work, matrices: [matrices[0], large] }, operands)).toThrow(/expected K=64/);
      matrices[1].dispose();
      expect(() => backend.run(call)).toThrow(/weights have been disposed/);
      for (const matrix of [matrices[0], large]) matrix.dispose();
      for (const handle of [first, second, out, other, biasAt]) backend.free(handle);
    });

    it('takes all operands from one buffer', async () => {
      const next = random(2);
      const { N, K } = SHAPE;
      const prepared = await backend.prepare(randomWeights(next, SHAPE));
      const x = gaussians(next, K);
      const [bias, multiply, residual] = [gaussians(next, N), gaussians(next, N), gaussians(next, N)];
      const block = put(Float32Array.of(...x, ...bias, ...multiply, ...residual, ...new Float32Array(N)));
      const at = (first: number, count: number) => backend.part(block, 4 * first, 4 * count);
      const work: ProductWork<GpuWeights> = { kind: 'product', matrices: [prepared], M: 1 };
      const out = at(K + 3 * N, N);
      backend.run(backend.bind(work, [at(0, K), at(K, N), at(K + N, N), at(K + 2 * N, N), out]));
      const got = await floats(out);
      expect(got).toEqual(Array.from(await backend.matmul(x, prepared, { bias, multiply, residual })));
      expect((await floats(block)).slice(0, K + 3 * N)).toEqual([...x, ...bias, ...multiply, ...residual]);
      prepared.dispose();
      backend.free(block);
    });

    it('runs ops wherever their operands lie, in order with writes', async () => {
      const count = 70;
      const next = random(3);
      const [a, b] = [gaussians(next, count), gaussians(next, count)];
      const want = (factor: number) => Array.from(a, (value, i) => Math.fround(value * factor + b[i]));
      const near = (got: number[], expected: number[]) =>
        got.forEach((value, i) => {
          // Two roundings, or one if the GPU contracts.
          expect(Math.abs(value - expected[i])).toBeLessThanOrEqual(2 ** -22 * (Math.abs(expected[i]) + 4));
        });
      const work: OpWork<{ factor: number }> = {
        kind: 'op',
        spec: scaledSum,
        op: { factor: 2 },
        inputs: [f32(count), f32(count)],
      };
      const [aAt, bAt, yAt] = [put(a), put(b), backend.alloc(4 * count)];
      const call = backend.bind(work, [aAt, bAt, yAt]);
      expect(call.kernels).toEqual(['scaledSum_f32']);
      backend.run(call);
      backend.write(aAt, new Float32Array(count)); // after the run: it has read the old values
      near(await floats(yAt), want(2));
      backend.write(aAt, a);

      const block = put(Float32Array.of(...a, ...b, ...a));
      const at = (first: number) => backend.part(block, 4 * count * first, 4 * count);
      const inBlock = backend.bind(work, [at(0), at(1), at(2)]);
      expect(inBlock.kernels).toEqual(['scaledSum_f32@a=b=y']);
      const inPlace = backend.bind(work, [aAt, at(1), at(1)]);
      expect(inPlace.kernels).toEqual(['scaledSum_f32@b=y']);
      backend.run(inBlock);
      near(await floats(at(2)), want(2));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      backend.run(inPlace, undefined, pass);
      pass.end();
      device.queue.submit([encoder.finish()]);
      near(await floats(at(1)), want(2));

      const bools: OpWork = { kind: 'op', spec: isNegative, op: null, inputs: [f32(count)] };
      const flags = backend.alloc(byteLength({ dtype: 'bool', dims: [count] }));
      backend.run(backend.bind(bools, [aAt, flags]));
      const got = new Uint8Array(count);
      await backend.read(flags, got);
      expect(Array.from(got)).toEqual(Array.from(a, (value) => (value < 0 ? 1 : 0)));

      const empty: OpWork = { ...bools, inputs: [f32(0)] };
      backend.run(backend.bind(empty, [backend.part(aAt, 0, 0), backend.part(flags, 0, 0)]));
      const { wgsl: _, ...without } = isNegative;
      expect(() => backend.bind({ ...bools, spec: without }, [aAt, flags])).toThrow(UnsupportedError);
      expect(() => backend.bind({ ...bools, spec: without }, [aAt, flags])).toThrow(/isNegative has no WGSL kernel/);
      expect(() => backend.bind(work, [aAt, bAt])).toThrow(/2 inputs and 1 outputs, got 2 operands/);
      expect(() => backend.bind(work, [aAt, undefined, yAt])).toThrow(/input 1 expected a GPU buffer/);
      expect(() => backend.bind(work, [aAt, bAt, flags])).toThrow(/output 0 expected 280 bytes/);
      expect(() => backend.bind(work, [aAt, bAt, aAt])).toThrow(/some of input 0's/);
      for (const handle of [aAt, bAt, yAt, block, flags]) backend.free(handle);
    });

    it('runs a program with all its values in one block, as WASM does', async () => {
      const [rows, K, hidden] = [3, 64, 96];
      const next = random(4);
      const [x, scale] = [gaussians(next, rows * K), gaussians(next, K)];
      const shapes = [SHAPE, SHAPE, { ...SHAPE, K: hidden }].map((shape, i) => ({ ...shape, N: i < 2 ? hidden : K }));
      const weights = shapes.map((shape) => randomWeights(next, shape));
      const wasm = await createBackend('wasm', { threads: 1 });
      const run = async <H>(device: Device<H>): Promise<Float32Array> => {
        const matrices = await Promise.all(weights.map((one) => device.prepare(one)));
        const constant = device.alloc(4 * K, 'scale');
        device.write(constant, scale);
        // x, scale, normed, gate, up, y: y = x + down(silu(gate(norm x)) · up(norm x)), the silu by an op of its own
        const slots: Slot<H>[] = [
          { byteLength: 4 * rows * K, isInput: true },
          { byteLength: 4 * K, at: constant },
          { byteLength: 4 * rows * K },
          { byteLength: 4 * rows * hidden },
          { byteLength: 4 * rows * hidden },
          { byteLength: 4 * rows * hidden },
          { byteLength: 4 * rows * K, isOutput: true },
        ];
        const wide = f32(rows, hidden);
        const op = (spec: unknown, params: unknown, inputs: OpWork['inputs']): OpWork =>
          ({ kind: 'op', spec, op: params, inputs }) as OpWork;
        const both: ProductWork = { kind: 'product', matrices: matrices.slice(0, 2), M: rows };
        const steps: Step[] = [
          {
            kind: 'work',
            work: op(norm, { kind: 'rms', epsilon: 1e-6 }, [f32(rows, K), f32(K), undefined, undefined, undefined]),
            operands: [0, 1, undefined, undefined, undefined, 2],
            writes: [5],
          },
          { kind: 'work', work: both, operands: [2, ...none, 3, ...none, 4], writes: [4, 8] },
          {
            kind: 'work',
            work: op(elementwise, GATE, [wide, wide]),
            operands: [3, 4, 5],
            writes: [2],
          },
          {
            kind: 'work',
            work: { kind: 'product', matrices: matrices.slice(2), M: rows },
            operands: [5, undefined, undefined, 0, 6],
            writes: [4],
          },
        ];
        const program = new Program(device, slots, steps);
        const block = device.alloc(program.byteLength, 'block');
        program.bind(block);
        device.write(program.handle(0), x);
        for (let i = 0; i < 2; i++) program.run();
        const y = new Float32Array(rows * K);
        await device.read(program.handle(6), y);
        for (const handle of [block, constant]) device.free(handle);
        for (const matrix of matrices) matrix.dispose();
        return y;
      };
      const [want, got] = [await run(wasm), await run(backend)];
      // A quantized activation may be off by one step, 2⁻¹⁵ of the largest one of its row: three times one after the other.
      const most = 3 * 2 ** -15 * want.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      got.forEach((value, i) => {
        expect(Math.abs(value - want[i])).toBeLessThanOrEqual(most);
      });
      wasm.dispose();
    });

    it('tells what the device refused instead of reading what was not written', async () => {
      const bad: OpSpec<null> = {
        ...isNegative,
        name: 'bad',
        wgsl: (op, inputs, outputs) =>
          isNegative.wgsl!(op, inputs, outputs).map((call) => ({ ...call, id: 'bad', code: () => 'fn main() { no }' })),
      };
      const work: OpWork<null> = { kind: 'op', spec: bad, op: null, inputs: [f32(4)] };
      const [x, y] = [put(Float32Array.of(1, -2, 3, -4)), backend.alloc(4)];
      const call = backend.bind(work, [x, y]);
      const refused = await (async () => {
        backend.run(call);
        await backend.read(y, new Uint8Array(4));
      })().catch((error: Error) => error);
      expect(refused).toBeInstanceOf(GpuError);
      expect((refused as GpuError).message).toMatch(/record: the GPU refused bad: /);
      await backend.flush().catch(() => {}); // the submission of it was refused, too
      backend.run(backend.bind({ ...work, spec: isNegative }, [x, y]));
      const got = new Uint8Array(4);
      await backend.read(y, got);
      expect(Array.from(got)).toEqual([0, 1, 0, 1]);
      for (const handle of [x, y]) backend.free(handle);
    });

    it('frees what is part of unsubmitted work, and refuses calls of others', async () => {
      const a = put(Float32Array.of(1, 2, 3));
      const work = { kind: 'op', spec: scaledSum, op: { factor: 1 }, inputs: [f32(3), f32(3)] } as const;
      const [b, y] = [put(Float32Array.of(4, 5, 6)), { buffer: gpuBuffer(device, 12), byteLength: 12 }];
      const call = backend.bind(work, [a, b, y]);
      backend.run(call);
      for (const handle of [a, b]) backend.free(handle);
      expect(await floats(y)).toEqual([5, 7, 9]);
      const other = await createBackend('webgpu', { gpu, device });
      expect(() => other.run(call)).toThrow(/bound by another backend/);
      other.dispose();
    });
  });
}

/** How many bind groups have been made on the device from now on. */
function bindGroupsOf(device: GpuDevice): () => number {
  let count = 0;
  const createBindGroup = device.createBindGroup.bind(device);
  device.createBindGroup = (descriptor) => {
    count++;
    return createBindGroup(descriptor);
  };
  return () => count;
}
