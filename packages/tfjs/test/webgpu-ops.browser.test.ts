/**
 * Every operation and every form of weights on tfjs's WebGPU backend, in Chromium on its software adapter: right, on the packed
 * buffer itself, nothing read back or uploaded for it, no validation error, nothing leaked.
 */
import '@tensorflow/tfjs-backend-webgpu';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  accelerate,
  gather,
  loadGraphModel,
  matMul,
  type QuantizedTensor,
  quantizedTensor,
  ready,
  register,
  reportOf,
  sparseSegmentMean,
  sparseSegmentSum,
  status,
  unregister,
} from '../src/index.ts';
import { canFuse } from '../src/kernels/mat-mul.ts';
import { type Packed, packMatrices, packTable } from '../src/pack.ts';
import type { MatrixSpec } from '../src/spec.ts';
import { type Encoded, encode } from '../src/weights/encode.ts';
import type { StoredValues } from '../src/weights/source.ts';
import type { WeightView } from '../src/weights/view.ts';
import { hasGpu } from './gpu.ts';
import { artifactsOf, FLOAT, floats, handlerOf, ints, placeholder } from './graph.ts';
import { gaussian, relativeL2, tensor, tf } from './tf.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const int = (values: number[], shape = [values.length]) => tf.tensor(values, shape, 'int32');

/** Stored forms of a manifest, over all of their codes. */
function stored(kind: 'uint8' | 'uint16' | 'float16', length: number, min = -1.25): StoredValues {
  const codes = gaussian(7, length).map((value) => Math.abs(Math.round(value * 1e6)));
  if (kind === 'uint8') return { kind, values: Uint8Array.from(codes), scale: 2.5 / 255, min };
  if (kind === 'uint16') return { kind, values: Uint16Array.from(codes), scale: 2.5 / 65535, min };
  return { kind, values: Uint16Array.from(codes, (code) => (code % 0x4000) | (code & 0x8000)) }; // below 2
}

const [N, K] = [21, 70];
const options = { format: 'int8', blockSize: undefined } as const;
const encoded = (values: StoredValues, view: WeightView): Packed => {
  const { packed } = encode(values, view, options) as Encoded;
  return packed;
};
const matrix = (values: StoredValues, batchShape: number[] = [], transposed = false): Packed =>
  encoded(values, { kind: 'matrix', batchShape, N, K, transposed });
const quantized = (format: 'int8' | 'int4' | 'int2' | 'mxfp4', batchShape: number[], more = {}): Packed =>
  packMatrices(gaussian(2, sizeOf(batchShape) * N * K), { batchShape, N, K }, { format, ...more });

/** What of tfjs's backend is looked at. */
interface Backend {
  readonly device: EventTarget & {
    pushErrorScope(filter: string): void;
    popErrorScope(): Promise<{ message: string } | null>;
    destroy(): void;
    readonly lost: Promise<unknown>;
  };
  readonly tensorMap: { get(id: object): { readonly resource: object; readonly values: unknown } };
  uploadToGPU(id: object): void;
  numDataIds(): number;
  readSync(id: object): unknown;
}
const backend = () => tf.backend() as unknown as Backend;
const bufferOf = ({ dataId }: tf.Tensor) => backend().tensorMap.get(dataId).resource;
/** From now on its values are on the GPU only. */
const onGpu = <T extends tf.Tensor>(tensor: T): T => {
  backend().uploadToGPU(tensor.dataId);
  expect(backend().tensorMap.get(tensor.dataId).values).toBeNull();
  return tensor;
};

// biome-ignore lint/suspicious/noExplicitAny: TypeScript's lib has no WebGPU classes
const gpuClasses = globalThis as any;

/** What each bind group binds. MSD keeps them, and tfjs reuses buffers: they may be older than a test. */
const buffersOf = new WeakMap<object, (object | undefined)[]>();
function rememberBindGroups(): void {
  const { prototype } = gpuClasses.GPUDevice;
  const { createBindGroup } = prototype;
  vi.spyOn(prototype, 'createBindGroup').mockImplementation(function (this: object, descriptor: unknown) {
    const group = createBindGroup.call(this, descriptor);
    const { entries } = descriptor as { entries: { resource: { buffer?: object } }[] };
    buffersOf.set(
      group,
      entries.map(({ resource }) => resource.buffer),
    );
    return group;
  });
}

/** Counts what crosses the border between CPU and GPU, and collects what dispatches bind, until `stop`. */
function watchTraffic() {
  const counted = {
    mapAsync: vi.spyOn(gpuClasses.GPUBuffer.prototype, 'mapAsync'),
    getMappedRange: vi.spyOn(gpuClasses.GPUBuffer.prototype, 'getMappedRange'),
    copyBufferToBuffer: vi.spyOn(gpuClasses.GPUCommandEncoder.prototype, 'copyBufferToBuffer'),
    copyBufferToTexture: vi.spyOn(gpuClasses.GPUCommandEncoder.prototype, 'copyBufferToTexture'),
    writeBuffer: vi.spyOn(gpuClasses.GPUQueue.prototype, 'writeBuffer'),
  };
  const groups = vi.spyOn(gpuClasses.GPUComputePassEncoder.prototype, 'setBindGroup');
  return {
    stop() {
      const bound = new Set(groups.mock.calls.flatMap(([, group]) => buffersOf.get(group as object)));
      groups.mockRestore();
      const calls = Object.entries(counted).map(([name, spy]) => {
        const { length } = spy.mock.calls;
        spy.mockRestore();
        return [name, length] as const;
      });
      return { bound, calls: Object.fromEntries(calls) };
    },
  };
}
const NOTHING = { mapAsync: 0, getMappedRange: 0, copyBufferToBuffer: 0, copyBufferToTexture: 0, writeBuffer: 0 };

const memory = () => ({ ids: backend().numDataIds(), tensors: tf.memory().numTensors, bytes: tf.memory().numBytes });

type Run = (w: QuantizedTensor, inputs: tf.Tensor[]) => tf.Tensor;

/** Runs on the GPU, demands all that the head of this file says, and gives the values. */
async function onWebGpu(packed: Packed, makeInputs: () => tf.Tensor[], run: Run): Promise<Float32Array> {
  const before = memory();
  const w = quantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec);
  const inputs = makeInputs();
  backend().device.pushErrorScope('validation');
  for (const tensor of [w.packed, ...inputs]) onGpu(tensor);
  const y = run(w, inputs);
  const traffic = watchTraffic(); // kernels and their parameters are known by now
  const same = run(w, inputs);
  const { bound, calls } = traffic.stop();
  expect(calls).toEqual(NOTHING);
  for (const tensor of [w.packed, ...inputs, same]) expect(bound.has(bufferOf(tensor)), `${tensor.shape}`).toBe(true);
  expect(tf.memory().numTensors).toBe(before.tensors + 1 + inputs.length + 2);
  const problem = backend().device.popErrorScope();
  const values = (await y.data()) as Float32Array;
  expect(await same.data()).toEqual(values);
  expect(await problem).toBeNull();
  expect(status()).toEqual({ backend: 'webgpu', weights: 'webgpu pass', dequantizedBytes: 0 });
  tf.dispose([y, same, ...inputs]);
  w.dispose();
  expect(memory()).toEqual(before);
  return values;
}

/** The same with MSD's kernels on the cpu backend, and its shape. */
async function onCpu(packed: Packed, makeInputs: () => tf.Tensor[], run: Run): Promise<Float32Array> {
  await tf.setBackend('cpu');
  const values = tf.tidy(() =>
    run(quantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec), makeInputs())
      .dataSync()
      .slice(),
  ) as Float32Array;
  await tf.setBackend('webgpu');
  return values;
}

describe.skipIf(!hasGpu)('all operations on WebGPU', { timeout: 120_000 }, () => {
  const problems: string[] = [];
  beforeAll(async () => {
    rememberBindGroups();
    expect(await tf.setBackend('webgpu')).toBe(true);
    backend().device.addEventListener('uncapturederror', (event) =>
      problems.push((event as unknown as { error: Error }).error.message),
    );
    register(tf);
    await ready();
  });
  let warnings: ReturnType<typeof vi.spyOn>;
  beforeEach(() => {
    warnings = vi.spyOn(console, 'warn');
  });
  afterEach(() => {
    expect(warnings.mock.calls).toEqual([]);
    warnings.mockRestore();
    expect(problems).toEqual([]);
  });
  afterAll(() => {
    vi.restoreAllMocks();
    unregister(tf);
    tf.removeBackend('webgpu');
  });

  const length = N * K;
  it.each<[string, Packed, number[], number[]]>([
    ['int2', quantized('int2', []), [2, K], [2, N]],
    ['int4 with f16 scales and zero points', quantized('int4', [], { asymmetric: true, scale: 'f16' }), [2, K], [2, N]],
    ['int8 [3,K,N], x [3,2,K]', quantized('int8', [3]), [3, 2, K], [3, 2, N]],
    ['int8 [3,K,N], x [2,K]', quantized('int8', [3]), [2, K], [3, 2, N]],
    ['int8 [2,1,K,N], x [3,2,K]', quantized('int8', [2, 1]), [3, 2, K], [2, 3, 2, N]],
    ['int8 [1,K,N], x [K]', quantized('int8', [1]), [K], [1, N]],
    ['mxfp4 [2,K,N], x [2,2,K]', quantized('mxfp4', [2]), [2, 2, K], [2, 2, N]],
    ['a uint8 manifest', matrix(stored('uint8', length)), [2, K], [2, N]],
    ['a uint8 manifest that has no zero', matrix(stored('uint8', length, 0.3)), [2, K], [2, N]],
    ['a uint16 manifest', matrix(stored('uint16', length)), [2, K], [2, N]],
    ['a uint16 manifest, M = 40', matrix(stored('uint16', length)), [40, K], [40, N]],
    ['a float16 manifest', matrix(stored('float16', length)), [2, K], [2, N]],
    ['uint16 [2,K,N], x [3,2,2,K]', matrix(stored('uint16', 2 * length), [2]), [3, 2, 2, K], [3, 2, 2, N]],
  ])('matMul: %s', async (_, packed, xShape, yShape) => {
    const makeInputs = () => [tensor(1, xShape), tensor(3, [N])];
    const run: Run = (w, [x, bias]) => {
      // Others than these are operations of tfjs, with parameters of their own.
      const activation = canFuse(packed.spec as MatrixSpec) ? 'relu' : undefined;
      const y = matMul(x!, w, { bias, activation });
      expect(y.shape).toEqual(yShape);
      return y;
    };
    const got = await onWebGpu(packed, makeInputs, run);
    // q may differ by one of 32258 steps
    expect(relativeL2(got, await onCpu(packed, makeInputs, run))).toBeLessThan(1e-4);
  });

  const INDICES = [0, 20, 7, 7, 1, 13];
  const [rows, columns] = [21, 30];
  const table = (values: StoredValues) => encoded(values, { kind: 'table', rows, columns });
  const sources: [string, Packed, exact: boolean][] = [
    ['an int8 table', packTable(gaussian(4, rows * columns), rows, columns), false],
    ['a uint8 table', table(stored('uint8', rows * columns)), true],
    ['a uint16 table', table(stored('uint16', rows * columns)), false],
    ['a float16 table', table(stored('float16', rows * columns)), true],
    ['rows of an int4 matrix', quantized('int4', []), false],
    ['rows of a uint16 matrix', matrix(stored('uint16', length), [], true), false],
  ];
  it.each(sources)('gather: %s', async (_, packed, exact) => {
    const makeInputs = () => [int(INDICES, [2, 3])];
    const run: Run = (w, [indices]) => gather(w, indices!);
    const got = await onWebGpu(packed, makeInputs, run);
    const want = await onCpu(packed, makeInputs, run);
    if (exact) expect(got).toEqual(want);
    else expect(relativeL2(got, want)).toBeLessThan(2 ** -22);
  });

  it.each(sources.slice(0, 5))('sparseSegmentSum, sparseSegmentMean: %s', async (_, packed) => {
    const makeInputs = () => [int(INDICES), int([0, 0, 0, 2, 2, 3])];
    for (const reduce of [sparseSegmentSum, sparseSegmentMean]) {
      // The ids decide about the shape of the result: they alone are read, by tfjs, once, if they are not on the CPU.
      const ids = int([0, 0, 0, 2, 2, 3]);
      const run: Run = (w, [indices]) => {
        const y = reduce(w, indices!, ids);
        expect(y.shape[0]).toBe(4); // segment 1 is empty
        return y;
      };
      const got = await onWebGpu(packed, () => [int(INDICES)], run);
      ids.dispose();
      const want = await onCpu(packed, makeInputs, (w, [indices, own]) => reduce(w, indices!, own!));
      expect(relativeL2(got, want)).toBeLessThan(2 ** -20);
    }
  });

  it.each<[string, Packed, number[]]>([
    ['int8', quantized('int8', []), [2, K]],
    ['int8 [3,K,N], x broadcast', quantized('int8', [3]), [2, K]],
    ['uint16', matrix(stored('uint16', length)), [2, K]],
  ])('the gradient of matMul dequantizes on the GPU and keeps nothing: %s', async (_, packed, shape) => {
    const makeInputs = () => [tensor(1, shape)];
    const run: Run = (w, [x]) => tf.grad((at: tf.Tensor) => tf.sum(tf.square(matMul(at, w))))(x!);
    const before = memory();
    const w = quantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec);
    const inputs = makeInputs();
    const mapped = vi.spyOn(gpuClasses.GPUBuffer.prototype, 'mapAsync');
    const y = run(w, inputs);
    expect(mapped).not.toHaveBeenCalled();
    mapped.mockRestore();
    const got = (await y.data()) as Float32Array;
    expect(status().dequantizedBytes).toBe(0);
    tf.dispose([y, ...inputs]);
    w.dispose();
    expect(memory()).toEqual(before);
    expect(relativeL2(got, await onCpu(packed, makeInputs, run))).toBeLessThan(1e-4);
  });

  it('no rows, no indices, no segments', async () => {
    const before = memory();
    const w = quantizedTensor(tf.tensor1d(sources[0]![1].data, 'int32'), sources[0]![1].spec);
    const { data, spec } = quantized('int8', [2]);
    const batch = quantizedTensor(tf.tensor1d(data, 'int32'), spec);
    const none = int([]);
    const x = tf.zeros([2, 0, K]);
    const results = [gather(w, none), sparseSegmentMean(w, none, none), matMul(x, batch)];
    expect(results.map(({ shape }) => shape)).toEqual([
      [0, columns],
      [0, columns],
      [2, 0, N],
    ]);
    for (const result of results) expect((await result.data()).length).toBe(0);
    tf.dispose([...results, none, x]);
    w.dispose();
    batch.dispose();
    expect(memory()).toEqual(before);
  });

  it('bad indices: errors where they can be seen without reading back, zeros where not; nothing leaked', async () => {
    const packed = sources[1]![1];
    const w = quantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec);
    const before = memory();
    const bad: [() => tf.Tensor, RegExp][] = [
      [() => gather(w, int([0, rows])), /gather: indices\[1\], expected 0 … 20, got 21/],
      [() => gather(w, int([-1])), /got -1/],
      [() => sparseSegmentSum(w, int([1, 99]), int([0, 0])), /sparseSegmentSum: indices\[1\], expected 0 … 20, got 99/],
      [() => sparseSegmentMean(w, onGpu(int([1, 2])), int([1, 0])), /segmentIds\[1\], expected ids from 0 that never/],
      [() => sparseSegmentSum(w, int([1]), int([-2])), /got -2/],
    ];
    for (const [run, message] of bad)
      tf.tidy(() => {
        expect(run, String(message)).toThrow(message);
      });
    expect(memory()).toEqual(before);
    const seen = tf.tidy(() => gather(w, onGpu(int([rows, 3, -1]))));
    const values = (await seen.data()) as Float32Array;
    const row = tf.tidy(() => gather(w, int([3])));
    const want = new Float32Array(3 * columns);
    want.set((await row.data()) as Float32Array, columns);
    expect(values).toEqual(want);
    tf.dispose([seen, row]);
    expect(memory()).toEqual(before);
    w.dispose();
  });

  it('reads ids of segments that lie on the GPU once', async () => {
    const packed = sources[1]![1];
    const w = quantizedTensor(tf.tensor1d(packed.data, 'int32'), packed.spec);
    const [indices, ids] = [int(INDICES), onGpu(int([0, 0, 1, 1, 4, 4]))];
    // Stands in for a canvas, which tfjs's blocking read goes through: software adapters give zeros there, or are lost.
    const read = vi.spyOn(backend(), 'readSync').mockReturnValue(Int32Array.of(0, 0, 1, 1, 4, 4));
    const results = [0, 1].map(() => sparseSegmentMean(w, indices, ids));
    expect(read.mock.calls).toEqual([[ids.dataId]]);
    read.mockRestore();
    expect(results[1]!.shape).toEqual([5, columns]);
    const values = (await results[0]!.data()) as Float32Array;
    expect(await results[1]!.data()).toEqual(values);
    const row = tf.tidy(() => tf.mean(gather(w, int([0, 20])), 0));
    expect(relativeL2(values.subarray(0, columns), (await row.data()) as Float32Array)).toBeLessThan(2 ** -20);
    tf.dispose([...results, indices, ids, row]);
    w.dispose();
  });

  it('a graph model whose manifest is quantized runs on what is stored', async () => {
    const [vocabulary, width] = [50, 64];
    const artifacts = artifactsOf({
      nodes: [
        placeholder('ids', 'DT_INT32'),
        placeholder('segments', 'DT_INT32'),
        ...(['uint8', 'uint16', 'float16'] as const).flatMap((form) => [
          {
            name: `rows_${form}`,
            op: 'GatherV2',
            input: [`table_${form}`, 'ids', 'axis'],
            attr: { Tparams: FLOAT, batch_dims: { i: 0 } },
          },
          {
            name: `mean_${form}`,
            op: 'SparseSegmentMean',
            input: [`means_${form}`, 'ids', 'segments'],
            attr: { T: FLOAT },
          },
          {
            name: `y_${form}`,
            op: 'MatMul',
            input: [`rows_${form}`, `w_${form}`],
            attr: { T: FLOAT, transpose_a: { b: false }, transpose_b: { b: false } },
          },
        ]),
      ],
      weights: [
        ints('axis', [0], []),
        ...(['uint8', 'uint16', 'float16'] as const).flatMap((form) => [
          floats(`table_${form}`, [vocabulary, width], form),
          floats(`means_${form}`, [vocabulary, width], form, 2),
          floats(`w_${form}`, [width, 24], form, 3),
        ]),
      ],
    });
    const run = async (model: tf.GraphModel) => {
      const inputs = { ids: int([3, 1, 49, 0]), segments: int([0, 0, 1, 1]) };
      const outputs = ['uint8', 'uint16', 'float16'].flatMap((form) => [`rows_${form}`, `mean_${form}`, `y_${form}`]);
      const results = model.execute(inputs, outputs) as tf.Tensor[];
      const values = await Promise.all(results.map(async (result) => (await result.data()) as Float32Array));
      tf.dispose([...results, inputs.ids, inputs.segments]);
      return values;
    };
    await tf.setBackend('cpu'); // stock look-ups on webgpu read through a canvas
    const stock = await tf.loadGraphModel(handlerOf(artifacts));
    const want = await run(stock);
    stock.dispose();
    await tf.setBackend('webgpu');
    const before = memory();
    const model = await loadGraphModel(handlerOf(artifacts), { minElements: 1 });
    const { nodes } = reportOf(model)!;
    expect(nodes.map(({ where }) => where)).toEqual(Array(9).fill('msd'));
    const loaded = memory();
    const got = await run(model);
    expect(status()).toEqual({ backend: 'webgpu', weights: 'webgpu pass', dequantizedBytes: 0 });
    expect(memory()).toEqual(loaded);
    got.forEach((values, i) => {
      // Look-ups in uint8 and float16 tables move bits.
      if (i === 0 || i === 6) expect(values).toEqual(want[i]);
      else expect(relativeL2(values, want[i]!), `output ${i}`).toBeLessThan(i % 3 === 2 ? 2e-4 : 2 ** -20);
    });
    model.dispose();
    expect(memory()).toEqual(before);
  });

  it('a layers model with embeddings and Dense on sequences, accelerated on the GPU', async () => {
    const build = () => {
      const kernelInitializer = () => tf.initializers.randomUniform({ minval: -0.5, maxval: 0.5, seed: 4 });
      return tf.sequential({
        layers: [
          tf.layers.embedding({
            inputDim: 40,
            outputDim: 48,
            inputLength: 5,
            embeddingsInitializer: kernelInitializer(),
          }),
          tf.layers.dense({ units: 36, activation: 'relu', kernelInitializer: kernelInitializer() }),
          tf.layers.dense({ units: 8, kernelInitializer: kernelInitializer() }),
        ],
      });
    };
    const run = async (model: tf.Sequential) => {
      const y = tf.tidy(() => model.predict(tf.tensor2d([[3, 39, 0, 7, 7]])) as tf.Tensor);
      const values = (await y.data()) as Float32Array;
      y.dispose();
      return values;
    };
    await tf.setBackend('cpu');
    const stock = build();
    const want = await run(stock);
    stock.dispose();
    await tf.setBackend('webgpu');
    const model = build();
    await run(model); // its weights are on the GPU by now
    const { report } = await accelerate(model, { minElements: 1 });
    expect(report.nodes.map(({ where }) => where)).toEqual(['msd', 'msd', 'msd']);
    const before = memory();
    const mapped = vi.spyOn(gpuClasses.GPUBuffer.prototype, 'mapAsync');
    const pending = run(model);
    expect(mapped).toHaveBeenCalledTimes(1); // the test's own
    mapped.mockRestore();
    expect(relativeL2(await pending, want)).toBeLessThan(0.02);
    expect(status().dequantizedBytes).toBe(0);
    expect(memory()).toEqual(before);
    model.dispose();
  });

  it('a device that is lost is a typed error, and leaves no tensor behind', async () => {
    const { data, spec } = matrix(stored('uint16', length));
    const w = quantizedTensor(tf.tensor1d(data, 'int32'), spec);
    const rowsOf = quantizedTensor(tf.tensor1d(sources[1]![1].data, 'int32'), sources[1]![1].spec);
    const [x, indices] = [tensor(1, [2, K]), int([1, 2])];
    tf.dispose([matMul(x, w), gather(rowsOf, indices)]);
    const before = memory();
    backend().device.destroy();
    await backend().device.lost;
    for (const run of [() => matMul(x, w), () => gather(rowsOf, indices)])
      expect(run).toThrow(expect.objectContaining({ name: 'BackendUnavailableError' }));
    expect(memory()).toEqual(before);
    tf.dispose([x, indices]);
    w.dispose();
    rowsOf.dispose();
  });
});
