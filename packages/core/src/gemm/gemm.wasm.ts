/**
 * gemm_<carrier>_<format>_f32: integer activations x raw low-bit weights, recombined in registers. WebAssembly SIMD128; the
 * carrier says what an activation's integer is made of and which instruction multiplies it (gemm/carriers.ts).
 *
 *   y[m,n] = Σ_g xScale[g,m] · Σ_c wScale[n,c] · Σ_k x[m,k]·(w[n,k] − z[n,c]) (+ bias[n])        innermost sum exact in int32
 *
 * g = K-blocks of 256 k; c = chunks inside g (format.chunkSize), or the whole K-block with one per-channel scale.
 * |x| ≤ 32258 and |w − z| ≤ 255: 32258·255·256 < 2³¹. One f32 rounding per operation, in this order:    (docs/msd.md, eq. 7)
 *   blockwise     t = 0; t = fl(t + fl(acc·wScale)) for c ascending; u = fl(t·xScale)
 *   per channel   u = fl(fl(acc·xScale)·wScale)
 *   x scales per 32 k (chunks of 32, too)   t = fl(t + fl(acc·fl(wScale·xScale[c])));  u = t
 *   y = u of the first g; y = fl(y + u) ascending; y = fl(y + bias): the same bits for every tile and panel range.
 *
 * x       [M,K]          row-major, K a multiple of 32 (decompose pads). i16; or int8 digits, those of 4 k together
 * xSums   i32 [M,K/32]   Σx over 32 k; read only if the codes have a zero point to take off
 * xScale  f32 [K/256,M], or [K/32,M]
 * w       packed [K/256][panels][block: head, then steps of 16 rows x 2 k]                      (formats/format.ts)
 * wScale  f32 [N]        of the first panel in the range; read only if per channel
 * bias    f32 [N]        of the first panel in the range; 0 = none. Read to the end of the last panel
 * y       f32 [M,…]      of the first panel in the range; rows yStride bytes apart; whole panels are written
 * scratch                SCRATCH_BYTES; used only if `widen`
 * panels, first, count   all panels of the matrix, and the range to compute: [first, first + count)
 *
 * widen = false  every tile unpacks the weights in registers: M = 1 and small M
 * widen = true   16 rows x 256 k are unpacked into `scratch` (it stays in L1) once, then serve all rows of x
 */
import {
  type BlockReader,
  K_BLOCK,
  K_STEP,
  MIN_BLOCK,
  PANEL,
  type WeightFormat,
  type WeightVariant,
} from '../formats/format.ts';
import { chunkLength, headSize, scaleBytes } from '../formats/layout.ts';
import { scaleKinds } from '../formats/scales.ts';
import { f32x4, type I32, i32, i32x4, type Local, type Module, type V128, v128 } from '../wasm/emitter.ts';
import { advance, each, range, tile } from '../wasm/loops.ts';
import { type CarrierOptions, carrierOf, I16 } from './carriers.ts';

/** A widened panel: 16 rows x 256 k as i16, and at most one head of 16 scales per 16 k. One of bytes takes less. */
export const SCRATCH_BYTES: number = K_BLOCK * PANEL * 2 + (K_BLOCK / MIN_BLOCK) * PANEL * 4;

export interface GemmOptions {
  readonly format: WeightFormat;
  readonly variant: WeightVariant;
  /** Default i16. */
  readonly carrier?: CarrierOptions;
  /** k per activation scale; row scales come as 256. Default 256. */
  readonly activationBlock?: 256 | 32;
  readonly widen: boolean;
  /** Rows of a register tile; rows left over are done one by one. */
  readonly tileM: number;
  /** Columns of a register tile; 16 unless `widen`. */
  readonly tileN?: 4 | 8 | 16;
  readonly kUnroll?: 1 | 2 | 4 | 8;
}

export function gemmId(options: GemmOptions): string {
  const { format, variant, carrier = I16, activationBlock, widen, tileM, tileN = PANEL, kUnroll = 1 } = options;
  const { name } = carrierOf(carrier, format, variant);
  const scale = variant.scale === 'f16' ? '_f16' : '';
  const block = variant.blockSize ? `_b${Math.min(variant.blockSize, K_BLOCK)}${scale}` : '';
  const flags = `${activationBlock === 32 ? '_a32' : ''}${variant.storedZeroPoints ? '_zp' : ''}${kUnroll > 1 ? `_u${kUnroll}` : ''}${widen ? '_widen' : ''}`;
  return `gemm_${name}_${format.id}_f32_${tileM}x${tileN}${block}${flags}`;
}

const PARAMS = {
  x: 'i32',
  xSums: 'i32',
  xScale: 'i32',
  w: 'i32',
  wScale: 'i32',
  bias: 'i32',
  y: 'i32',
  yStride: 'i32',
  scratch: 'i32',
  M: 'i32',
  K: 'i32',
  panels: 'i32',
  first: 'i32',
  count: 'i32',
} as const;

export function gemmKernel(module: Module, options: GemmOptions): void {
  const { format, variant, widen, tileM, tileN = PANEL, kUnroll = 1 } = options;
  const vectors = tileN / 4;
  const blockwise = variant.blockSize !== null;
  const span = Math.min(variant.blockSize ?? K_BLOCK, K_BLOCK);
  const fine = options.activationBlock === 32; // the scale of x changes with every chunk
  const chunk = chunkLength(format, variant.blockSize, fine ? 32 : 256);
  const carrier = carrierOf(options.carrier ?? I16, format, variant);
  const { stepK, operands } = carrier;
  const bytesPerK = (4 / stepK) * operands;
  const packed = { head: headSize(variant), step: format.stepBytes * (stepK / 2) }; // bytes
  const widenedHead = { scales: blockwise ? 4 * tileN : 0, zeroCodes: carrier.widensZeroCodes ? 4 * tileN : 0 };
  const tiled = widen ? { head: widenedHead.scales + widenedHead.zeroCodes, step: 4 * tileN } : packed; // what a tile reads
  const scalesSize = widen ? widenedHead.scales : scaleBytes(variant);
  const perK = (kCount: I32) => i32.shrU(kCount, Math.log2(stepK)); // steps

  module.func(gemmId(options), PARAMS, (f, p) => {
    const xRow = f.let(i32.mul(p.K, bytesPerK));
    const sumsRow = f.let(i32.shrU(p.K, 3));
    const { tiles: reader, packed: codes, integer } = carrier.open(f, widen, vectors);
    const packedScales = blockwise ? scaleKinds[variant.scale].reader(f) : undefined;
    const scalesOf = widen || !packedScales ? (head: I32, g: number) => v128.load(head, 16 * g) : packedScales;
    const bytes = ({ head, step }: typeof packed, blocks: I32, steps: I32) =>
      i32.add(i32.mul(blocks, head), i32.mul(steps, step));

    const k = f.let(i32.const(0));
    f.repeat(i32.divU(i32.add(p.K, K_BLOCK - 1), K_BLOCK), () => {
      const left = f.let(i32.sub(p.K, k));
      const kCount = f.let(i32.minU(left, K_BLOCK));
      const blocks = f.let(i32.divU(i32.add(kCount, span - 1), span));
      const steps = f.let(perK(kCount));
      const panelBytes = f.let(bytes(packed, blocks, steps));
      const w = f.let(i32.add(p.w, i32.mul(p.first, panelBytes)));
      const panel = { y: f.let(p.y), wScale: f.let(p.wScale), bias: f.let(p.bias) };
      panel.bias.set(i32.select(i32.gtU(left, K_BLOCK), 0, panel.bias)); // added with the last K-block
      const hasBias = f.let(panel.bias);
      f.repeat(p.count, () => {
        if (widen) widenPanel(w, kCount);
        const at = { x: f.let(p.x), xSums: f.let(p.xSums), xScale: f.let(p.xScale), y: f.let(panel.y) };
        f.repeat(i32.divU(p.M, tileM), () => rowsTimesPanel(tileM, at));
        if (tileM > 1) f.repeat(i32.remU(p.M, tileM), () => rowsTimesPanel(1, at));
        advance(w, panelBytes);
        for (const pointer of Object.values(panel)) advance(pointer, 4 * PANEL);
      });
      advance(p.w, i32.mul(p.panels, panelBytes));
      advance(k, K_BLOCK);
      advance(p.x, bytesPerK * K_BLOCK);
      advance(p.xSums, K_BLOCK / 8);
      advance(p.xScale, i32.mul(p.M, 4 * (fine ? K_BLOCK / K_STEP : 1)));

      function rowsTimesPanel(rows: number, at: Record<'x' | 'xSums' | 'xScale' | 'y', Local<'i32'>>) {
        const weights = f.let(widen ? p.scratch : w);
        const columns = { y: f.let(at.y), wScale: f.let(panel.wScale), bias: f.let(panel.bias) };
        f.repeat(PANEL / tileN, () => {
          const x = range(rows).map((i) => f.let(i32.add(at.x, i32.mul(xRow, i))));
          const xSums = range(rows).map((i) => f.let(i32.add(at.xSums, i32.mul(sumsRow, i))));
          const total = tile(rows, vectors, () => f.let(zero));
          const xScale = fine ? f.let(at.xScale) : at.xScale;
          const weightScale = (scales: I32, g: number) =>
            blockwise ? scalesOf(scales, g) : v128.load(columns.wScale, 16 * g);
          eachBlock(kCount, (chunks, stepsPerChunk, endsStep) => {
            const scales = f.let(weights);
            const block = reader.block(i32.add(weights, scalesSize));
            advance(weights, tiled.head);
            f.repeat(chunks, () => {
              const acc = dotProducts(block, x, weights, stepsPerChunk, xSums);
              if (fine) {
                each(total, (t, i, g) => {
                  const coefficient = f32x4.mul(weightScale(scales, g), v128.load32Splat(xScale, 4 * i));
                  t.set(f32x4.add(t, f32x4.mul(f32x4.convertI32x4S(unshifted(acc[i][g], g)), coefficient)));
                });
                advance(xScale, i32.mul(i32.mul(p.M, 4), endsStep));
                return;
              }
              each(total, (t, i, g) => {
                const value = f32x4.convertI32x4S(acc[i][g]);
                t.set(blockwise ? f32x4.add(t, f32x4.mul(value, weightScale(scales, g))) : value);
              });
            });
          });
          // A power of two that in-place codes left goes onto the scale, where it cannot round.
          const unshift = (g: number) => f32x4.const(2 ** -reader.shift[g]);
          const factor = range(vectors).map((g) => f.let(blockwise ? unshift(g) : v128.load(columns.wScale, 16 * g)));
          const y = range(rows).map((i) => f.let(i32.add(columns.y, i32.mul(p.yStride, i))));
          if (!fine)
            each(total, (t, i, g) => {
              const xs = v128.load32Splat(at.xScale, 4 * i);
              t.set(blockwise ? f32x4.mul(t, f32x4.mul(xs, factor[g])) : f32x4.mul(f32x4.mul(t, xs), factor[g]));
            });
          f.when(k, () => each(total, (t, i, g) => t.set(f32x4.add(v128.load(y[i], 16 * g), t))));
          f.when(hasBias, () => each(total, (t, _, g) => t.set(f32x4.add(t, v128.load(columns.bias, 16 * g)))));
          each(total, (t, i, g) => f.storeV128(y[i], t, 16 * g));
          for (const pointer of Object.values(columns)) advance(pointer, 4 * tileN);
        });
        advance(at.x, i32.mul(xRow, rows));
        advance(at.xSums, i32.mul(sumsRow, rows));
        advance(at.xScale, 4 * rows);
        advance(at.y, i32.mul(p.yStride, rows));
      }
    });

    /** An in-place sum without its power of two: exact, it is a multiple of it. */
    function unshifted(acc: V128, g: number): V128 {
      return reader.shift[g] ? i32x4.shrS(acc, reader.shift[g]) : acc;
    }

    /**
     * Blocks of the K-block, each with its number of chunks and of steps per chunk, and 1 if its chunks end where a scale of
     * x per 32 k does: of two blocks of 16, the second one. The last block may be shorter.
     */
    function eachBlock(kCount: I32, body: (chunks: I32 | number, steps: I32 | number, endsStep: I32 | number) => void) {
      if (span === K_STEP) return f.repeat(i32.shrU(kCount, 5), () => body(1, K_STEP / stepK, 1));
      const whole = (k: I32) => (chunk === K_STEP ? body(i32.shrU(k, 5), K_STEP / stepK, 1) : body(1, perK(k), 1));
      if (span === K_BLOCK) return whole(kCount);
      if (span < K_STEP) {
        const odd = f.let(i32.const(0));
        f.repeat(i32.divU(kCount, span), () => {
          body(1, span / stepK, odd);
          odd.set(i32.sub(1, odd));
        });
        return;
      }
      const left = f.let(kCount);
      f.repeat(i32.divU(i32.add(kCount, span - 1), span), () => {
        const here = f.let(i32.minU(left, span));
        whole(here);
        left.set(i32.sub(left, here));
      });
    }

    /** start + Σ over the chunk's steps. The inner loop: rows + vectors loads for rows · vectors dot products. */
    function dotProducts(
      block: BlockReader,
      x: Local<'i32'>[],
      weights: Local<'i32'>,
      steps: I32 | number,
      xSums: Local<'i32'>[],
    ) {
      const start =
        block.start &&
        xSums.map((sums) => {
          const corrections = block.start?.(chunkSum(sums, steps)).map((vector) => f.let(vector)) ?? [];
          advance(sums, chunk === K_STEP ? 4 : i32.divU(i32.mul(steps, stepK), 8));
          return corrections;
        });
      type Use = (x: V128, w: V128, i: number, g: number, operand: number) => void;
      const eachDot = (u: number, use: Use) => {
        const b = block.step(weights, tiled.step * u).map((vector) => f.let(vector));
        x.forEach((row, i) => {
          // row by row: one activation vector live at a time, V8 has 15 registers
          for (let operand = 0; operand < operands; operand++) {
            const a = f.let(v128.load32Splat(row, 4 * (u * operands + operand)));
            b.forEach((vector, g) => {
              use(a, vector, i, g, operand);
            });
          }
        });
      };
      const acc = tile(x.length, vectors, (): Local<'v128'>[] => []);
      const begin: Use = (a, w, i, g, operand) => {
        if (!start) acc[i][g].push(f.let(carrier.dot(a, w)));
        else acc[i][g].push(f.let(operand === operands - 1 ? carrier.dot(a, w, start[i][g]) : carrier.dot(a, w)));
      };
      const accumulate: Use = (a, w, i, g, operand) => {
        const sum = acc[i][g][operand];
        sum.set(carrier.dot(a, w, sum));
      };
      const next = () => {
        for (const row of x) advance(row, 4 * operands * kUnroll);
        advance(weights, tiled.step * kUnroll);
      };
      // The first step is peeled, it needs neither zeroed accumulators nor additions: 6 % for blocks of 32.
      for (let u = 0; u < kUnroll; u++) eachDot(u, u ? accumulate : begin);
      next();
      f.repeat(i32.sub(i32.divU(steps, kUnroll), 1), () => {
        for (let u = 0; u < kUnroll; u++) eachDot(u, accumulate);
        next();
      });
      return acc.map((row) => row.map(integer));
    }

    /** Σx of the chunk in every lane. */
    function chunkSum(sums: Local<'i32'>, steps: I32 | number): Local<'v128'> {
      if (chunk === K_STEP) return f.let(v128.load32Splat(sums));
      const sum = f.let(i32.const(0));
      const at = f.let(sums);
      f.repeat(i32.divU(steps, K_STEP / stepK), () => {
        sum.set(i32.add(sum, i32.load(at)));
        advance(at, 4);
      });
      return f.let(i32x4.splat(sum));
    }

    /** scratch = the panel at `from` as the carrier's operand, in the order tiles read it: [PANEL / tileN][block: head, steps]. */
    function widenPanel(panel: I32, kCount: I32) {
      const from = f.let(panel);
      const tileBytes = f.let(bytes(tiled, i32.divU(i32.add(kCount, span - 1), span), perK(kCount)));
      const to = range(PANEL / tileN).map((t) => f.let(i32.add(p.scratch, i32.mul(tileBytes, t))));
      const store = (values: readonly V128[], offset = 0) =>
        values.forEach((value, g) => {
          f.storeV128(to[Math.floor(g / vectors)], value, offset + 16 * (g % vectors));
        });
      eachBlock(kCount, (chunks, steps) => {
        const block = codes.block(i32.add(from, scaleBytes(variant)));
        if (packedScales) store(range(PANEL / 4).map((g) => packedScales(from, g)));
        store(block.zeroCodes, widenedHead.scales);
        advance(from, packed.head);
        for (const pointer of to) advance(pointer, tiled.head);
        f.repeat(i32.mul(chunks, steps), () => {
          store(block.step(from, 0));
          advance(from, packed.step);
          for (const pointer of to) advance(pointer, tiled.step);
        });
      });
    }
  });
}

const zero = v128.const16(0);
