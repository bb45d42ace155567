import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { exactDot } from '../../test/exact-dot.ts';
import { instantiate } from '../../test/instantiate.ts';
import { firstDifference, gaussians, random, randomWeights } from '../../test/random.ts';
import { Arena } from '../backends/arena.ts';
import { relaxedDot } from '../backends/features.ts';
import type { Plan } from '../decompose/contract.ts';
import { decomposeId, decomposeKernel, type Operands } from '../decompose/decompose.wasm.ts';
import { PANEL } from '../formats/format.ts';
import { packedLayout } from '../formats/layout.ts';
import { packInto } from '../formats/pack.ts';
import { msdMatmul } from '../msd-matmul.ts';
import { Module } from '../wasm/emitter.ts';
import { type CarrierOptions, digitsOf, I16, operandsOf } from './carriers.ts';
import { type GemmOptions, gemmId, gemmKernel, SCRATCH_BYTES } from './gemm.wasm.ts';
import { everyCarrier, everyVariant, gemmOptions, gemmShapes, unrolls } from './registry.ts';

/** Every kernel that `matmul` can take. */
const dispatched: readonly GemmOptions[] = everyVariant().flatMap(({ format, variant }) =>
  everyCarrier(format, variant).flatMap((carrier) =>
    gemmShapes.flatMap((shape) =>
      ([256, 32] as const).flatMap((block) =>
        unrolls.map((unroll) => gemmOptions(shape, format, variant, block, carrier, unroll)),
      ),
    ),
  ),
);

const byId = (options: readonly GemmOptions[]) => [...new Map(options.map((o) => [gemmId(o), o])).values()];
const registered = byId(dispatched);

/** Every other tile that the emitter can be asked for. */
function otherTiles(): GemmOptions[] {
  const tiles = everyVariant().flatMap(({ format, variant }) => [
    ...[1, 3, 4].flatMap((tileM) =>
      [1, 2, 4].map((kUnroll) => ({ format, variant, widen: false, tileM, kUnroll }) as GemmOptions),
    ),
    ...[1, 2].map((tileM) => ({ format, variant, widen: false, tileM, kUnroll: 2, streams: 2 }) as GemmOptions),
    ...[2, 4].map((streams) => ({ format, variant, widen: false, tileM: 1, streams, abreast: 2 }) as GemmOptions),
    ...(format.bits > 2 ? unrolls : []).map(
      (kUnroll) => ({ format, variant, widen: false, tileM: 3, tileN: 8, kUnroll }) as GemmOptions,
    ),
    ...[
      [1, 16],
      [3, 16],
      [4, 8],
      [5, 8],
      [8, 4],
    ].map(([tileM, tileN]) => ({ format, variant, widen: true, tileM, tileN }) as GemmOptions),
    ...everyCarrier(format, variant)
      .slice(1)
      .flatMap((carrier) => [
        { format, variant, carrier, widen: false, tileM: 2, kUnroll: 2 } as GemmOptions,
        { format, variant, carrier, widen: false, tileM: 1, streams: 4, abreast: 2 } as GemmOptions,
        { format, variant, carrier, widen: true, tileM: 2, tileN: 16 } as GemmOptions,
        { format, variant, carrier, widen: true, tileM: 4, tileN: 4 } as GemmOptions,
      ]),
  ]);
  const ids = new Set(registered.map(gemmId));
  return byId(tiles).filter((options) => !ids.has(gemmId(options)));
}

/** Where the relaxed dot does not take such weights, the kernel multiplies with SIMD128; all else is the same. */
function runnable(carrier: CarrierOptions): CarrierOptions {
  if (carrier.id === 'i16') return carrier;
  const native = carrier.operand === null || relaxedDot()?.byteOperand === carrier.operand;
  return native ? carrier : { ...carrier, dot: exactDot(carrier.operand) };
}

describe('gemm kernels', () => {
  const arena = new Arena({ debug: true });
  const decomposers = new Map<string, ReturnType<typeof instantiate>>();
  function decomposer(plan: Plan, operands: Operands) {
    const id = decomposeId(plan, operands);
    const known = decomposers.get(id);
    if (known) return known;
    const kernel = instantiate(arena.memory, id, (module) => decomposeKernel(module, plan, operands));
    decomposers.set(id, kernel);
    return kernel;
  }

  it.each([
    ['every kernel that matmul takes', registered],
    ['every other tile and unroll', otherTiles()],
  ])('give the contract’s bits in ranges of panels: %s', { timeout: 400_000 }, (_, kernels) => {
    const next = random(11);
    for (const emitted of kernels) {
      if (emitted.carrier?.id === 'i8' && !relaxedDot()) continue; // never dispatched: no such instructions
      const { format, variant, activationBlock = 256 } = emitted;
      const carrier = runnable(emitted.carrier ?? I16);
      const options = { ...emitted, carrier };
      const components = carrier.id === 'i8' ? carrier.digits : 2;
      const operands = operandsOf(carrier);
      const decompose = decomposer({ decomposition: 'int8', components, activationBlock }, operands);
      // Three panels; with streams six, so that a range has a part for each and some left over.
      const [M, N, K] = [5, (options.streams ?? 1) > 1 ? 96 : 48, 352]; // 352 = 256 + 96: a K-block that ends in the middle of a block
      const weights = randomWeights(next, {
        format: format.id,
        N,
        K,
        blockSize: variant.blockSize,
        asymmetric: variant.storedZeroPoints,
        scale: variant.scale === 'f16' ? 'f16' : 'f32',
      });
      const layout = packedLayout(format, variant, N, K);
      const x = gaussians(next, M * K);
      const bias = gaussians(next, N);
      const put = (values: Float32Array, label: string) => {
        const handle = arena.alloc(values.byteLength, label);
        arena.float32(handle).set(values);
        return handle;
      };
      const buffers = {
        x: put(x, 'x'),
        bias: put(bias, 'bias'),
        w: arena.alloc(layout.byteLength, 'w'),
        q: arena.alloc(2 * M * 512, 'q'), // two K-blocks
        sums: arena.alloc((M * K) / 8, 'sums'),
        scales: arena.alloc(4 * M * Math.ceil(K / activationBlock), 'scales'),
        y: arena.alloc(4 * M * N, 'y'),
        scratch: arena.alloc(SCRATCH_BYTES, 'scratch'),
      };
      packInto(weights, layout, arena.memory.buffer, buffers.w.ptr);
      decompose(buffers.x.ptr, buffers.q.ptr, buffers.sums.ptr, buffers.scales.ptr, 4 * M, M, K);
      const kernel = instantiate(arena.memory, gemmId(options), (module) => gemmKernel(module, options));
      arena.float32(buffers.y).fill(Number.NaN);
      const panels = N / PANEL;
      for (const [first, count] of [
        [panels - 1, 1],
        [0, panels - 1],
      ]) {
        // ranges in any order: they are independent
        const offset = 4 * PANEL * first;
        kernel(
          buffers.q.ptr,
          buffers.sums.ptr,
          buffers.scales.ptr,
          buffers.w.ptr,
          buffers.w.ptr + layout.panelBytes + offset,
          buffers.bias.ptr + offset,
          buffers.y.ptr + offset,
          4 * N,
          buffers.scratch.ptr,
          M,
          layout.paddedK,
          layout.panels,
          first,
          count,
        );
      }
      arena.check();
      const want = msdMatmul(x, weights, { M, bias, components, activationBlock, arithmetic: 'float32' });
      const got = arena.float32(buffers.y);
      const at = firstDifference(got, want);
      if (at >= 0) throw new Error(`${gemmId(options)}: y[${at}] expected ${want[at]}, got ${got[at]}`);
      for (const handle of Object.values(buffers)) arena.free(handle);
    }
  });

  it('are the bytes that were reviewed', () => {
    const hashes = registered.map((options) => {
      const module = new Module();
      gemmKernel(module, options);
      const bytes = module.toBytes();
      return `${gemmId(options)} ${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
    });
    const plans = ([1, 2] as const).flatMap((components) => [
      ...(['row', 256, 32] as const).map(
        (activationBlock) => ({ decomposition: 'int8', components, activationBlock }) as const,
      ),
      { decomposition: 'mxfp4', components, activationBlock: 32 } as const,
    ]);
    const split = plans.flatMap((plan) => [
      { plan, operands: 'i16' } as const,
      { plan, operands: digitsOf(plan) === 2 ? 'i8x2' : 'i8' } as const,
    ]);
    for (const { plan, operands } of split) {
      const module = new Module();
      decomposeKernel(module, plan, operands);
      const bytes = module.toBytes();
      hashes.push(
        `${decomposeId(plan, operands)} ${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`,
      );
    }
    expect(hashes).toMatchSnapshot();
  });

  it('stay small: a page compiles them synchronously on first use', () => {
    for (const options of registered) {
      const module = new Module();
      gemmKernel(module, options);
      expect(module.toBytes().length, gemmId(options)).toBeLessThan(10_240);
    }
  });

  it('can be emitted for shared memory', () => {
    const options = gemmOptions('gemv', ...(Object.values(everyVariant()[0]) as [never, never]));
    const module = new Module();
    gemmKernel(module, options);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true });
    expect(
      new WebAssembly.Instance(new WebAssembly.Module(module.toBytes({ shared: true })), { env: { memory } }).exports,
    ).toHaveProperty(gemmId(options));
  });
});
