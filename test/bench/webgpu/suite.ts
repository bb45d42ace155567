/**
 * WebGPU: MSD beside onnxruntime-web, TensorFlow.js and a plain dequantizing kernel, on one adapter, in a browser or in Node.
 *
 * Every engine gets its operands in GPU buffers and leaves its result there. Results are read once and compared with the float64
 * product before anything is timed. A sample is a number of calls and the wait for the queue, and then as many again with timestamps
 * around every compute pass, whoever's it is; engines take turns; medians.
 */
import { createBackend, dequantizeWeights, type QuantizedWeights, quantizeWeights, sqnr } from '@msd/core';
import { writeModel } from '@msd/onnx/write';
import type * as Ort from 'onnxruntime-web';
import { gaussian } from '../models/random.ts';
import { copyKernel, DOT_MACS, DOT_THREADS, dequantizeKernel, dotRate } from './baselines.wgsl.ts';
import { PassClock } from './pass-clock.ts';

export interface GpuLayer {
  readonly name: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

export interface Peers {
  /** `onnxruntime-web/webgpu`. */
  readonly ort?: typeof Ort | undefined;
  /** `@tensorflow/tfjs-core` and `@tensorflow/tfjs-backend-webgpu`. */
  readonly tensorFlow?: TensorFlowPackages | undefined;
}

export interface TensorFlowPackages {
  readonly tf: TensorFlow & {
    removeBackend(name: string): void;
    registerBackend(name: string, create: () => object): unknown;
    setBackend(name: string): Promise<boolean>;
  };
  readonly WebGPUBackend: new (device: GPUDevice, info: GPUAdapterInfo) => object;
}

/** The few calls of TensorFlow.js that are used. */
export interface TensorFlow {
  tensor2d(values: Float32Array, shape: [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transposeA: boolean, transposeB: boolean): TfTensor;
}
interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}

export interface GpuTiming {
  readonly engine: string;
  /** Milliseconds per call, from the first call to the end of the queue: median, and the middle half. */
  readonly ms: number;
  readonly spread: readonly [number, number];
  /** Milliseconds per call inside compute passes, by the GPU's clock: median, and the middle half. Rates and shares are by it. */
  readonly gpuMs?: number | undefined;
  readonly gpuSpread?: readonly [number, number] | undefined;
  /** 10¹² multiply-accumulates per second, M·N·K counted once. */
  readonly tmacs: number;
  /** Bytes of weights per second, 10⁹. */
  readonly gbs: number;
  readonly shareOfCopy: number;
  readonly shareOfDot: number;
  /** dB against the float64 product of the same real weights (float engines: of the float weights). */
  readonly sqnr: number;
}

export interface GpuResult extends GpuLayer {
  readonly timings: readonly GpuTiming[];
  readonly skipped: Readonly<Record<string, string>>;
}

export interface GpuReport {
  readonly adapter: Readonly<Record<string, string>>;
  readonly features: readonly string[];
  /** 'timestamp-query' or 'wall': what rates, shares and the two limits are by. */
  readonly clock: string;
  readonly copyGbs: number;
  /** 10¹² multiply-accumulates per second in dot4I8Packed; 0 where it is missing. */
  readonly dotTmacs: number;
  readonly layers: readonly GpuResult[];
}

export interface SuiteOptions extends Peers {
  readonly gpu: GPU;
  readonly layers: readonly GpuLayer[];
  readonly rounds: number;
  /** A sample lasts about so long. */
  readonly sampleMs: number;
  readonly copyBytes: number;
  readonly log: (line: string) => void;
}

interface Engine {
  readonly name: string;
  /** Bytes of weights that one call reads. */
  readonly weightBytes: number;
  /** int8 dot products per multiply-accumulate; 0 for float engines. */
  readonly passes: number;
  /** Starts one call; the result stays on the GPU. */
  call(): unknown;
  /** The result of a call. */
  read(): Promise<Float32Array>;
  /** Resolves when all calls so far are done. */
  done(): Promise<unknown>;
  dispose(): unknown;
}

const STORAGE = 0x80 | 0x4 | 0x8;
const BLOCK_SIZE = 32;

const median = (values: readonly number[], at = 0.5): number =>
  [...values].sort((a, b) => a - b)[Math.floor(at * (values.length - 1) + 0.5)]!;

function upload(device: GPUDevice, values: Float32Array | Uint8Array | number): GPUBuffer {
  const size = typeof values === 'number' ? values : values.byteLength;
  const buffer = device.createBuffer({ size, usage: STORAGE });
  if (typeof values !== 'number') device.queue.writeBuffer(buffer, 0, values as Float32Array<ArrayBuffer>);
  return buffer;
}

async function download(device: GPUDevice, buffer: GPUBuffer): Promise<Float32Array> {
  const copy = device.createBuffer({ size: buffer.size, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(1);
  const values = new Float32Array(copy.getMappedRange().slice(0));
  copy.destroy();
  return values;
}

/** A shader with its buffers, ready to be recorded. */
async function shader(
  device: GPUDevice,
  code: string,
  buffers: readonly GPUBuffer[],
  groups: readonly [number, number?],
) {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  return (pass: GPUComputePassEncoder, times = 1) => {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...groups);
  };
}

/** Seconds that a pass takes: by the GPU's own clock where it has one. */
async function seconds(device: GPUDevice, record: (pass: GPUComputePassEncoder) => void): Promise<number> {
  const encoder = device.createCommandEncoder();
  if (!device.features.has('timestamp-query')) {
    const pass = encoder.beginComputePass();
    record(pass);
    pass.end();
    await device.queue.onSubmittedWorkDone();
    const start = performance.now();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    return (performance.now() - start) / 1e3;
  }
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 });
  const resolved = device.createBuffer({ size: 16, usage: 0x200 | 0x4 });
  const mapped = device.createBuffer({ size: 16, usage: 0x1 | 0x8 });
  const pass = encoder.beginComputePass({
    timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
  });
  record(pass);
  pass.end();
  encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
  encoder.copyBufferToBuffer(resolved, 0, mapped, 0, 16);
  device.queue.submit([encoder.finish()]);
  await mapped.mapAsync(1);
  const [start, end] = new BigUint64Array(mapped.getMappedRange().slice(0));
  for (const used of [querySet, resolved, mapped]) used.destroy();
  return Number(end! - start!) / 1e9;
}

/** The adapter's own limits: what the shares are shares of. */
async function limits(device: GPUDevice, copyBytes: number, hasDot: boolean) {
  const [from, to] = [upload(device, copyBytes), upload(device, copyBytes)];
  const copyGroups = Math.ceil(copyBytes / 16 / 256);
  const width = Math.min(copyGroups, 65_535);
  const copy = await shader(device, copyKernel(), [to, from], [width, Math.ceil(copyGroups / width)]);
  const fast = async (record: (pass: GPUComputePassEncoder) => void) => {
    await seconds(device, record);
    const samples: number[] = [];
    for (let i = 0; i < 7; i++) samples.push(await seconds(device, record));
    return median(samples);
  };
  const copyGbs = (2 * copyBytes) / (await fast((pass) => copy(pass))) / 1e9;
  for (const buffer of [from, to]) buffer.destroy();
  if (!hasDot) return { copyGbs, dotTmacs: 0 };
  // Longer and longer until the clock's resolution does not matter.
  for (let groups = 64; ; groups *= 4) {
    const out = upload(device, 4 * groups * DOT_THREADS);
    const dots = await shader(device, dotRate(), [out], [groups]);
    const time = await fast((pass) => dots(pass));
    out.destroy();
    if (time > 2e-3 || groups >= 16384) return { copyGbs, dotTmacs: (groups * DOT_THREADS * DOT_MACS) / time / 1e12 };
  }
}

interface Operands extends GpuLayer {
  readonly device: GPUDevice;
  readonly x: Float32Array;
  readonly xBuffer: GPUBuffer;
  readonly weights: QuantizedWeights;
  /** [N,K], as the quantized weights are. */
  readonly real: Float32Array;
}

async function msd(operands: Operands, components: 1 | 2): Promise<Engine> {
  const { device, M, N, xBuffer, x, weights } = operands;
  const backend = await createBackend('webgpu', { device });
  const prepared = await backend.prepare(weights);
  const out = { buffer: upload(device, 4 * M * N), byteLength: 4 * M * N };
  const source = { buffer: xBuffer, byteLength: x.byteLength };
  await backend.warmUp(prepared, M, { components });
  return {
    name: `msd ${components === 2 ? 'two components' : 'one component'} (${backend.kernelFor(prepared, M, { components })})`,
    weightBytes: prepared.byteLength,
    passes: components,
    call: () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      backend.record(pass, source, prepared, { out, components });
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    read: () => download(device, out.buffer),
    done: () => device.queue.onSubmittedWorkDone(),
    dispose: () => {
      backend.dispose();
      out.buffer.destroy();
    },
  };
}

async function dequantizing({ device, M, N, K, xBuffer, weights }: Operands): Promise<Engine> {
  const [w, scales, y] = [
    upload(device, weights.data as Uint8Array),
    upload(device, weights.scales as Float32Array),
    upload(device, 4 * M * N),
  ];
  const record = await shader(device, dequantizeKernel(M, N, K), [y, xBuffer, w, scales], [Math.ceil(N / 64), M]);
  return {
    name: 'dequantize, then f32 (plain kernel)',
    weightBytes: w.size + scales.size,
    passes: 0,
    call: () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      record(pass);
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    read: () => download(device, y),
    done: () => device.queue.onSubmittedWorkDone(),
    dispose: () => {
      for (const buffer of [w, scales, y]) buffer.destroy();
    },
  };
}

/** fp16 bits of a finite value in range, rounded to nearest (ties up): inputs of a peer, not arithmetic of ours. */
function halfBits(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.slice().buffer);
  return Uint16Array.from(bits, (b) => {
    const exponent = ((b >>> 23) & 0xff) - 112;
    const sign = (b >>> 16) & 0x8000;
    return exponent <= 0 ? sign : sign | (((exponent << 10) | ((b >>> 13) & 0x3ff)) + ((b >>> 12) & 1));
  });
}

/** One MatMulNBits or MatMul in onnxruntime-web, input and output bound to GPU buffers of the session's device. */
async function ortLayer(
  ort: typeof Ort,
  { device, M, N, K, xBuffer, x, weights, real }: Operands,
  kind: 'accuracy 4' | 'accuracy 0' | 'fp32' | 'fp16',
): Promise<Engine> {
  const float = kind === 'fp32' || kind === 'fp16';
  const dtype = kind === 'fp16' ? 'float16' : 'float32';
  const transposed = new Float32Array(float ? N * K : 0);
  if (float) for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) transposed[k * N + n] = real[n * K + k]!;
  const model = writeModel({
    graph: {
      nodes: [
        float
          ? { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }
          : {
              opType: 'MatMulNBits',
              domain: 'com.microsoft',
              inputs: ['x', 'w', 's'],
              outputs: ['y'],
              attributes: {
                K: { int: K },
                N: { int: N },
                bits: { int: 4 },
                block_size: { int: BLOCK_SIZE },
                accuracy_level: { int: kind === 'accuracy 4' ? 4 : 0 },
              },
            },
      ],
      initializers: float
        ? [{ name: 'w', dtype, dims: [K, N], data: kind === 'fp16' ? halfBits(transposed) : transposed }]
        : [
            { name: 'w', dtype: 'uint8', dims: [N, K / BLOCK_SIZE, BLOCK_SIZE / 2], data: weights.data as Uint8Array },
            { name: 's', dtype: 'float32', dims: [N * (K / BLOCK_SIZE)], data: weights.scales as Float32Array },
          ],
      inputs: [{ name: 'x', dtype, dims: [M, K] }],
      outputs: [{ name: 'y', dtype, dims: [M, N] }],
    },
  });
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [{ name: 'webgpu', device } as never],
    preferredOutputLocation: 'gpu-buffer',
  });
  const gpuBuffer = kind === 'fp16' ? upload(device, new Uint8Array(halfBits(x).buffer)) : xBuffer;
  const input = ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: dtype, dims: [M, K] });
  const call = async () => {
    const { y } = await session.run({ x: input });
    y!.dispose();
  };
  return {
    name: `onnxruntime-web ${float ? `MatMul ${kind}` : `MatMulNBits, ${kind}`}`,
    weightBytes: float ? N * K * (kind === 'fp16' ? 2 : 4) : weights.data.byteLength + weights.scales.byteLength,
    passes: 0,
    call,
    read: async () => {
      const { y } = await session.run({ x: input });
      const data = await y!.getData(true);
      return Float32Array.from(data as unknown as ArrayLike<number>);
    },
    done: () => device.queue.onSubmittedWorkDone(),
    dispose: () => session.release(),
  };
}

/** TensorFlow.js on the device of everybody. */
async function startTensorFlow({ tf, WebGPUBackend }: TensorFlowPackages, device: GPUDevice, info: GPUAdapterInfo) {
  tf.removeBackend('webgpu');
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, info));
  if (!(await tf.setBackend('webgpu'))) throw new Error('the WebGPU backend of TensorFlow.js does not start');
  return tf;
}

function tfLayer(tf: TensorFlow, { M, N, K, x, real }: Operands): Engine {
  const [a, b] = [tf.tensor2d(x, [M, K]), tf.tensor2d(real, [N, K])];
  let last: TfTensor | undefined;
  const call = () => {
    last?.dispose();
    last = tf.matMul(a, b, false, true);
  };
  return {
    name: 'tfjs-webgpu matMul fp32',
    weightBytes: 4 * N * K,
    passes: 0,
    call,
    read: async () => {
      call();
      return (await last!.data()).slice();
    },
    // It submits a few operations at a time: reading the last result submits and waits for all before it.
    done: () => last!.data(),
    dispose: () => {
      for (const tensor of [a, b, last]) tensor?.dispose();
    },
  };
}

/** Rows of the float64 product that results are compared with. */
function exactRows({ N, K, x, real }: Operands, rows: readonly number[]): Float64Array {
  const y = new Float64Array(rows.length * N);
  for (const [i, m] of rows.entries())
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * real[n * K + k]!;
      y[i * N + n] = sum;
    }
  return y;
}

async function measureLayer(
  device: GPUDevice,
  layer: GpuLayer,
  caps: { copyGbs: number; dotTmacs: number },
  clock: PassClock | undefined,
  tf: TensorFlow | undefined,
  options: SuiteOptions,
) {
  const { M, N, K } = layer;
  const weights = quantizeWeights(gaussian(N * K, 1), { N, K, format: 'int4', blockSize: BLOCK_SIZE });
  const x = gaussian(M * K, 2);
  const operands: Operands = {
    ...layer,
    device,
    x,
    xBuffer: upload(device, x),
    weights,
    real: dequantizeWeights(weights),
  };
  const { ort } = options;
  const hasHalf = device.features.has('shader-f16');
  const makers: [name: string, make: (() => Promise<Engine> | Engine) | string][] = [
    ['msd two components', () => msd(operands, 2)],
    ['msd one component', () => msd(operands, 1)],
    ['dequantize', () => dequantizing(operands)],
    ...(['accuracy 4', 'accuracy 0', 'fp32', 'fp16'] as const).map(
      (kind): [string, (() => Promise<Engine>) | string] => [
        `onnxruntime-web ${kind}`,
        !ort
          ? 'not loaded'
          : kind === 'fp16' && !hasHalf
            ? 'the adapter has no shader-f16'
            : () => ortLayer(ort, operands, kind),
      ],
    ),
    ['tfjs', tf ? () => tfLayer(tf, operands) : 'not loaded'],
  ];
  const engines: Engine[] = [];
  const skipped: Record<string, string> = {};
  for (const [name, make] of makers) {
    if (typeof make === 'string') skipped[name] = make;
    else
      try {
        engines.push(await make());
      } catch (error) {
        skipped[name] = String(error).split('\n')[0]!;
      }
  }

  const rows = M === 1 ? [0] : [0, Math.floor(M / 2), M - 1];
  const want = exactRows(operands, rows);
  const accuracy = new Map<Engine, number>();
  for (const engine of [...engines]) {
    await engine.call();
    const y = await engine.read();
    const got = Float32Array.from(rows.flatMap((m) => Array.from(y.subarray(m * N, (m + 1) * N))));
    const db = sqnr(want, got);
    // One component has 40 dB on Gaussian rows, fp16 60: below 25 it is another product.
    if (!(db > 25)) throw new Error(`${engine.name} [${M},${N},${K}]: ${db} dB against the float64 product`);
    accuracy.set(engine, db);
  }

  const time = async (engine: Engine, count: number) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) {
      const pending = engine.call();
      if (pending instanceof Promise) await pending;
    }
    await engine.done();
    return (performance.now() - start) / count;
  };
  const gpuTime = async (engine: Engine, count: number) => {
    if (!clock) return undefined;
    clock.start();
    await time(engine, count);
    const ms = await clock.stop();
    return ms === undefined ? undefined : ms / count;
  };
  const counts = new Map<Engine, number>();
  for (const engine of engines) {
    const first = await time(engine, 1);
    const warm = await time(engine, Math.max(1, Math.min(20, Math.round(options.sampleMs / first))));
    counts.set(engine, Math.max(1, Math.min(2000, Math.round(options.sampleMs / warm))));
  }
  const samples = new Map(engines.map((engine) => [engine, { wall: [] as number[], gpu: [] as number[] }]));
  for (let round = 0; round < options.rounds; round++)
    for (let i = 0; i < engines.length; i++) {
      const engine = engines[(i + round) % engines.length]!;
      const { wall, gpu } = samples.get(engine)!;
      wall.push(await time(engine, counts.get(engine)!));
      const onGpu = await gpuTime(engine, Math.min(200, counts.get(engine)!));
      if (onGpu !== undefined) gpu.push(onGpu);
    }
  const middle = (values: readonly number[]): [number, number] => [median(values, 0.25), median(values, 0.75)];
  const timings = engines.map((engine): GpuTiming => {
    const { wall, gpu } = samples.get(engine)!;
    const ms = median(wall);
    const isTimed = gpu.length === options.rounds;
    const gpuMs = isTimed ? median(gpu) : undefined;
    const tmacs = (M * N * K) / (gpuMs ?? ms) / 1e9;
    const gbs = engine.weightBytes / (gpuMs ?? ms) / 1e6;
    return {
      engine: engine.name,
      ms,
      spread: middle(wall),
      ...(isTimed && { gpuMs, gpuSpread: middle(gpu) }),
      tmacs,
      gbs,
      shareOfCopy: gbs / caps.copyGbs,
      shareOfDot: caps.dotTmacs ? (engine.passes * tmacs) / caps.dotTmacs : 0,
      sqnr: accuracy.get(engine)!,
    };
  });
  for (const engine of engines) await engine.dispose();
  operands.xBuffer.destroy();
  return { ...layer, timings, skipped };
}

export async function runGpuSuite(options: SuiteOptions): Promise<GpuReport> {
  const { gpu, log } = options;
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('WebGPU found no adapter.');
  const wanted: GPUFeatureName[] = ['timestamp-query', 'subgroups', 'shader-f16'];
  const { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((name) => adapter.features.has(name)),
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage },
  });
  const problems: string[] = [];
  device.addEventListener('uncapturederror', ({ error }) => problems.push(error.message));
  const hasDot = gpu.wgslLanguageFeatures.has('packed_4x8_integer_dot_product');
  const caps = await limits(device, Math.min(options.copyBytes, maxStorageBufferBindingSize), hasDot);
  const { vendor, architecture, device: model, description } = adapter.info;
  log(`${vendor} ${architecture} ${model} ${description}`);
  const clock = device.features.has('timestamp-query') ? new PassClock(device) : undefined;
  const tf = options.tensorFlow && (await startTensorFlow(options.tensorFlow, device, adapter.info));
  log(`copy ${caps.copyGbs.toFixed(1)} GB/s, dot ${caps.dotTmacs.toFixed(3)} TMAC/s`);
  const layers: GpuResult[] = [];
  for (const layer of options.layers) {
    const result = await measureLayer(device, layer, caps, clock, tf, options);
    layers.push(result);
    log(`\n${layer.name}, M=${layer.M} [N=${layer.N}, K=${layer.K}]`);
    for (const t of result.timings)
      log(
        `  ${t.engine.padEnd(64)} ${t.ms.toFixed(3).padStart(9)} ms (${t.spread.map((s) => s.toFixed(3)).join('–')}), ${t.gpuMs === undefined ? 'no timestamps' : `${t.gpuMs.toFixed(3)} on the GPU`}  ${t.tmacs.toFixed(4)} TMAC/s  ${t.gbs.toFixed(1)} GB/s  ${(100 * t.shareOfCopy).toFixed(0)} % of copy, ${(100 * t.shareOfDot).toFixed(0)} % of dot  ${t.sqnr.toFixed(0)} dB`,
      );
    for (const [name, reason] of Object.entries(result.skipped)) log(`  ${name}: skipped, ${reason}`);
  }
  if (problems.length) throw new Error(`the device complained: ${problems[0]}`);
  clock?.dispose();
  device.destroy();
  return {
    adapter: { vendor, architecture, device: model, description },
    features: [...device.features].sort(),
    clock: clock ? 'timestamp-query' : 'wall',
    ...caps,
    layers,
  };
}
