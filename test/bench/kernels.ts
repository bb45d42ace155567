/**
 * The kernels of @msd/core: bare, and as the public `matmul` with decompose and recombine, next to what the machine can
 * do; and next to another generator's kernels of the same layout, where a folder with one is given.
 */
import { pathToFileURL } from 'node:url';
import { dotPeak, readBandwidth } from '@msd/core/peaks';
import type { Arena } from '../../packages/core/src/backends/arena.ts';
import { WasmBackend } from '../../packages/core/src/backends/wasm/backend.ts';
import type { WasmMatrix } from '../../packages/core/src/backends/wasm/matrix.ts';
import { resolveDecomposition } from '../../packages/core/src/decompose/contract.ts';
import { decomposedRow, decomposeSpec, type Operands } from '../../packages/core/src/decompose/decompose.wasm.ts';
import { K_BLOCK } from '../../packages/core/src/formats/format.ts';
import { quantizeWeights } from '../../packages/core/src/formats/quantize.ts';
import type { FormatId } from '../../packages/core/src/formats/weights.ts';
import { I16, operandsOf } from '../../packages/core/src/gemm/carriers.ts';
import { gemmKernel } from '../../packages/core/src/gemm/gemm.wasm.ts';
import { type GemmOptions, gemmId, SCRATCH_BYTES } from '../../packages/core/src/gemm/options.ts';
import { type GemmArg, gemmSpec, gemmVariants } from '../../packages/core/src/gemm/registry.ts';
import { argumentList } from '../../packages/core/src/kernel-spec.ts';
import { instantiate } from '../../packages/core/src/wasm/instantiate.ts';
import { kernelOn } from '../../packages/core/test/kernels.ts';
import { type Call, interleave, type Timing } from './measure.ts';

export interface KernelCase {
  readonly format: FormatId;
  readonly M: number;
  readonly K: number;
  readonly N: number;
}

export interface KernelResult extends KernelCase {
  readonly kernel: string;
  readonly timings: Record<
    'bare' | 'bound' | 'public' | 'publicArrays' | 'sample' | 'dotPeak' | 'read',
    Timing | undefined
  >;
  /** min(dot peak, read bandwidth ÷ packed bytes per MAC), GMAC/s. */
  readonly limit: number;
}

/** Address of a copy of the integers at `q` [K/256, M, 256] as [M, K]. */
function rowMajor(arena: Arena, q: number, M: number, K: number): number {
  const to = arena.uint16(arena.alloc(2 * M * K));
  for (let k = 0; k < K; k += K_BLOCK)
    for (let m = 0; m < M; m++)
      to.set(new Uint16Array(to.buffer, q + 2 * (k * M + m * K_BLOCK), Math.min(K_BLOCK, K - k)), m * K + k);
  return to.byteOffset;
}

type Three = [number, number, number];
type SampleKernel = (...args: number[]) => void;
/** kernel-sample's modules: gemm.ts, formats.ts, wasm.ts. */
export interface KernelSample {
  kernel(memory: WebAssembly.Memory, format: FormatId, M: number): SampleKernel;
}

/** @param folder holds gemm.ts, formats.ts, wasm.ts of the generator to compare with */
export async function loadKernelSample(folder: string): Promise<KernelSample> {
  const load = (file: string) => import(pathToFileURL(`${folder}/${file}`).href);
  const [gemm, sampleFormats, wasm] = await Promise.all(['gemm.ts', 'formats.ts', 'wasm.ts'].map(load));
  return {
    kernel(memory, format, M) {
      const options =
        M === 1
          ? { format: sampleFormats[format], widen: false, tileM: 1, kUnroll: format === 'int8' ? 2 : 1 }
          : { format: sampleFormats[format], widen: true, tileM: 2 };
      const module = new wasm.Module();
      gemm.gemm(module, options);
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), { env: { memory } });
      return exports[gemm.kernelId(options)] as SampleKernel;
    },
  };
}

export async function measureKernel(
  test: KernelCase,
  sample: KernelSample | undefined,
  rounds = 15,
): Promise<KernelResult> {
  const { format, M, K, N } = test;
  const backend = new WasmBackend({ initialBytes: N * K + 16 * M * K + 8 * M * N + 2 ** 21 });
  const { arena } = backend;
  const macs = M * N * K;
  const noise = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898) * 3);
  const weights = quantizeWeights(noise(N * K), { N, K, format });
  const prepared = backend.prepare(weights) as WasmMatrix;
  const { layout, address: w } = prepared;
  const [x, y] = [arena.alloc(4 * M * K), arena.alloc(4 * M * N)];
  arena.float32(x).set(noise(M * K));
  backend.matmul(x, prepared, { out: y });
  const want = arena.float32(y).slice();

  // The bare kernel is the one that `matmul` takes on this engine, on the same packed weights and its own activations.
  const id = backend.kernelFor(prepared, M);
  const options = [...gemmVariants()].find((each) => gemmId(each) === id)!;
  const scratch = arena.alloc(SCRATCH_BYTES).ptr;
  const decomposed = (operands: Operands) => {
    const decomposition = resolveDecomposition({}, 'bench');
    const row = decomposedRow({ decomposition, operands }, K);
    const [q, sums, scale] = [row.q, row.sums, row.scales].map((bytes) => arena.alloc(M * bytes).ptr) as Three;
    const decompose = kernelOn(arena.memory, decomposeSpec, { decomposition, operands });
    decompose({ x: x.ptr, q, sums, scale, scaleStride: 4 * M, M, K });
    return { q, sums, scale };
  };
  const at = decomposed(operandsOf(options.carrier ?? I16));
  const args = argumentList<GemmOptions, GemmArg, number>(gemmSpec, options, {
    x: at.q,
    xSums: at.sums,
    xScale: at.scale,
    w,
    wScale: w + layout.panelBytes,
    bias: 0,
    y: y.ptr,
    yStride: 4 * N,
    scratch,
    M,
    K: layout.paddedK,
    panels: layout.panels,
    first: 0,
    count: layout.panels,
  });
  const kernel = instantiate(arena.memory, id, (module) => gemmKernel(module, options));
  const call = backend.bind({ kind: 'product', matrices: [prepared], M }, [x, undefined, undefined, undefined, y]);
  const variants: Record<string, Call> = {
    bare: { name: 'bare', macs, run: () => kernel(...args) },
    bound: { name: 'bound', macs, run: () => backend.run(call) },
    public: { name: 'public', macs, run: () => backend.matmul(x, prepared, { out: y }) },
    dotPeak: dotPeak(arena.memory, arena.alloc(256).ptr),
    read: readBandwidth(arena.memory, w, layout.byteLength, arena.alloc(64).ptr),
  };
  const [xs, ys] = [arena.float32(x).slice(), new Float32Array(M * N)];
  variants.publicArrays = { name: 'publicArrays', macs, run: () => backend.matmul(xs, prepared, { out: ys }) };
  if (sample && (format === 'int4' || format === 'int8')) {
    // the sample keeps f32 scales for mxfp4: another layout; others it has not
    const other = sample.kernel(arena.memory, format, M);
    const i16 = decomposed('i16');
    const q = rowMajor(arena, i16.q, M, layout.paddedK);
    variants.sample = {
      name: 'sample',
      macs,
      run: () => other(q, i16.sums, i16.scale, w, w + layout.panelBytes, y.ptr, scratch, M, N, K),
    };
  }
  for (const { name, run } of [variants.bare, variants.bound, ...(variants.sample ? [variants.sample] : [])]) {
    // correct first, then fast
    arena.float32(y).fill(0);
    run();
    if (!arena.float32(y).every((value, i) => value === want[i]))
      throw new Error(`${format} M=${M} ${K}x${N}: ${name} and matmul differ`);
  }
  const timings = Object.fromEntries(
    (await interleave(Object.values(variants), { rounds })).map((timing) => [
      timing.name === 'dot peak' ? 'dotPeak' : timing.name,
      timing,
    ]),
  ) as KernelResult['timings'];
  const bytesPerMac = layout.byteLength / macs;
  const limit = Math.min(timings.dotPeak?.gmacs ?? 0, (timings.read?.gmacs ?? 0) / bytesPerMac);
  return { ...test, kernel: gemmId(options), timings, limit };
}
