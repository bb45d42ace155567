import { describe, expect, it } from 'vitest';
import { exactDot } from '../../test/exact-dot.ts';
import { kernelOn } from '../../test/kernels.ts';
import { kernelHashes } from '../../test/ops.ts';
import { firstDifference, gaussians, type Random, random, randomWeights } from '../../test/random.ts';
import { Arena } from '../backends/arena.ts';
import { decomposedRow, decomposeSpec, decomposeVariants } from '../decompose/decompose.wasm.ts';
import { PANEL } from '../formats/format.ts';
import { packedLayout } from '../formats/layout.ts';
import { packInto } from '../formats/pack.ts';
import { msdMatmul } from '../msd-matmul.ts';
import { gemmShapeFor } from '../plan/choose.ts';
import { Module } from '../wasm/emitter.ts';
import { relaxedDot } from '../wasm/features.ts';
import { type CarrierOptions, I16, operandsOf } from './carriers.ts';
import { gemmKernel } from './gemm.wasm.ts';
import { type GemmOptions, gemmId, QUAD_ROWS, SCRATCH_BYTES } from './options.ts';
import { everyCarrier, everyVariant, gemmOptions, gemmSpec, gemmVariants, unrolls } from './registry.ts';

const registered = [...gemmVariants()];

/** Every other tile that the emitter can be asked for. */
function otherTiles(): GemmOptions[] {
  const tiles = everyVariant().flatMap(({ format, variant }) => [
    ...[1, 3, 4].flatMap((tileM) =>
      [1, 2, 4].map((kUnroll) => ({ format, variant, widen: false, tileM, kUnroll }) as GemmOptions),
    ),
    ...[1, 2].map((tileM) => ({ format, variant, widen: false, tileM, kUnroll: 2, streams: 2 }) as GemmOptions),
    ...[2, 4].map((streams) => ({ format, variant, widen: false, tileM: 1, streams, abreast: 2 }) as GemmOptions),
    ...(format.bits > 2 && !variant.storedZeroPoints ? unrolls : []).flatMap((kUnroll) =>
      [2, 3, 4].map((tileM) => ({ format, variant, widen: false, tileM, tileN: 8, kUnroll }) as GemmOptions),
    ),
    ...(format.bits === 8 && !variant.storedZeroPoints && (variant.blockSize ?? 32) >= 32 ? ([4, 8] as const) : []).map(
      (tileN) => ({ format, variant, widen: false, tileM: 3, tileN, quads: true }) as GemmOptions,
    ),
    ...[
      [1, 16],
      [3, 16],
      [4, 8],
      [5, 8],
      [8, 4],
      [8, 8],
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
  const others = new Map(tiles.map((options) => [gemmId(options), options]));
  return [...others.values()].filter((options) => !ids.has(gemmId(options)));
}

/** Where the relaxed dot does not take such weights, the kernel multiplies with SIMD128; all else is the same. */
function runnable(carrier: CarrierOptions): CarrierOptions {
  if (carrier.id === 'i16') return carrier;
  const native = carrier.operand === null || relaxedDot()?.byteOperand === carrier.operand;
  return native ? carrier : { ...carrier, dot: exactDot(carrier.operand) };
}

/** Three panels; with streams six or ten, so that a range has a part for each and some left over. */
const panelsFor = ({ streams = 1 }: GemmOptions): number => (streams > 4 ? 10 : streams > 1 ? 6 : 3);
/** Whole tiles and every smaller one, which half the rows may make wider. */
const rowsFor = ({ tileM }: GemmOptions): number[] => (tileM === 1 ? [6] : [3 * tileM - 1, 3 * tileM - 2]);

/** Kernels of the same weights stand together: these are packed, and multiplied by the reference, once. */
function byWeights(kernels: readonly GemmOptions[]): GemmOptions[][] {
  const groups = new Map<string, GemmOptions[]>();
  for (const options of kernels) {
    const key = JSON.stringify([options.format.id, options.variant, panelsFor(options)]);
    const group = groups.get(key);
    if (group) group.push(options);
    else groups.set(key, [options]);
  }
  return [...groups.values()];
}

describe('gemm kernels', () => {
  const arena = new Arena({ debug: true });
  const put = (values: Float32Array, label: string) => {
    const handle = arena.alloc(values.byteLength, label);
    arena.float32(handle).set(values);
    return handle;
  };

  it.each([
    ['every kernel that matmul takes', registered],
    ['every other tile and unroll', otherTiles()],
  ])('give the contract’s bits in ranges of panels: %s', { timeout: 400_000 }, (_, kernels) => {
    const next = random(11);
    // i8 is never dispatched without relaxed SIMD: no such instructions
    const runs = kernels.filter(({ carrier }) => carrier?.id !== 'i8' || relaxedDot());
    for (const group of byWeights(runs)) give(group, next);
  });

  /** @param group kernels of the same weights */
  function give(group: readonly GemmOptions[], next: Random): void {
    const { format, variant } = group[0];
    const panels = panelsFor(group[0]);
    const [N, K] = [PANEL * panels, 352]; // 352 = 256 + 96: a K-block that ends in the middle of a block
    const weights = randomWeights(next, {
      format: format.id,
      N,
      K,
      blockSize: variant.blockSize,
      asymmetric: variant.storedZeroPoints,
      scale: variant.scale === 'f16' ? 'f16' : 'f32',
    });
    const layout = packedLayout(format, variant, N, K);
    const rows = Math.max(...group.flatMap(rowsFor));
    const x = gaussians(next, rows * K);
    const bias = gaussians(next, N);
    const given = { x: put(x, 'x'), bias: put(bias, 'bias'), w: arena.alloc(layout.byteLength, 'w') };
    packInto(weights, layout, arena.memory.buffer, given.w.ptr);
    const expected = new Map<string, Float64Array>();

    for (const [emitted, M] of group.flatMap((one) => rowsFor(one).map((M) => [one, M] as const))) {
      const { activationBlock = 256 } = emitted;
      const carrier = runnable(emitted.carrier ?? I16);
      const options = { ...emitted, carrier };
      const components = carrier.id === 'i8' ? carrier.digits : 2;
      const operands = operandsOf(carrier);
      const decomposition = { id: 'int8', components, activationBlock } as const;
      const row = decomposedRow({ decomposition, operands }, K);
      const own = {
        q: arena.alloc(M * row.q, 'q'),
        sums: arena.alloc(M * row.sums, 'sums'),
        scales: arena.alloc(M * row.scales, 'scales'),
        y: arena.alloc(4 * M * N, 'y'),
        scratch: arena.alloc(SCRATCH_BYTES, 'scratch'),
      };
      kernelOn(arena.memory, decomposeSpec, { decomposition, operands })({
        x: given.x.ptr,
        q: own.q.ptr,
        sums: own.sums.ptr,
        scale: own.scales.ptr,
        scaleStride: 4 * M,
        M,
        K,
      });
      const gemm = kernelOn(arena.memory, gemmSpec, options);
      arena.float32(own.y).fill(Number.NaN);
      for (const [first, count] of [
        [panels - 1, 1],
        [0, panels - 1],
      ] as const) {
        // ranges in any order: they are independent
        const offset = 4 * PANEL * first;
        gemm({
          x: own.q.ptr,
          xSums: own.sums.ptr,
          xScale: own.scales.ptr,
          w: given.w.ptr,
          wScale: given.w.ptr + layout.panelBytes + offset,
          bias: given.bias.ptr + offset,
          y: own.y.ptr + offset,
          yStride: 4 * N,
          scratch: own.scratch.ptr,
          M,
          K: layout.paddedK,
          panels: layout.panels,
          first,
          count,
        });
      }
      arena.check();
      const key = `${components} ${activationBlock}`;
      const want =
        expected.get(key) ??
        msdMatmul(x, weights, { M: rows, bias, components, activationBlock, arithmetic: 'float32' });
      expected.set(key, want);
      const got = arena.float32(own.y);
      const at = firstDifference(got, want.subarray(0, M * N));
      if (at >= 0) throw new Error(`${gemmId(options)}: y[${at}] expected ${want[at]}, got ${got[at]}`);
      for (const handle of Object.values(own)) arena.free(handle);
    }
    for (const handle of Object.values(given)) arena.free(handle);
  }

  it('are the bytes that were reviewed, and small: a page compiles them on first use', () => {
    expect([
      ...kernelHashes(gemmSpec, gemmVariants, 14_500),
      ...kernelHashes(decomposeSpec, decomposeVariants),
    ]).toMatchSnapshot();
  });

  it('that copy rows to scratch have room for all that a call has', () => {
    expect(gemmShapeFor(QUAD_ROWS)).toBe('gemm');
    expect(registered.filter(({ quads }) => quads).length).toBeGreaterThan(0);
    for (const { quads } of registered.filter(({ tileM, widen }) => widen || tileM === 1))
      expect(quads).toBeUndefined();
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
