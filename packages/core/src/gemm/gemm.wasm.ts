/**
 * gemm_<carrier>_<format>_f32: integer activations x raw low-bit weights, recombined in registers. WebAssembly SIMD128;
 * the carrier defines the form of an activation's integer and the instruction that multiplies it (gemm/carriers.ts).
 *
 *   y[m,n] = Σ_g xScale[g,m] · Σ_c wScale[n,c] · Σ_k x[m,k]·(w[n,k] − z[n,c]) (+ bias[n])        innermost sum exact in int32
 *
 * g = K-blocks of 256 k; c = chunks inside g (format.chunkSize), or the whole K-block with one per-channel scale.
 * |x| ≤ 32258 and |w − z| ≤ 255: 32258·255·256 < 2³¹. One f32 rounding per operation, in this order:    (docs/msd.md, eq. 7)
 *   blockwise     t = 0; t = fl(t + fl(acc·wScale)) for c ascending; u = fl(t·xScale)
 *   per channel   u = fl(fl(acc·xScale)·wScale)
 *   x scales per 32 k (chunks of 32, too)   t = fl(t + fl(fl(acc·wScale)·xScale[c]));  u = t
 *   y = u of the first g; y = fl(y + u) ascending; y = fl(y + bias): the same bits for every tile and panel range.
 *
 * x       [K/256,M,256]  K a multiple of 32 (decompose pads): what a K-block needs lies together, whatever K is. i16; or int8
 *                        digits, those of 4 k together
 * xSums   i32 [M,K/32]   Σx over 32 k; read only if the codes have a zero point to take off
 * xScale  f32 [K/256,M], or [K/32,M]
 * w       packed [K/256][panels][block: head, then steps of 16 rows x 4 k]                      (formats/format.ts)
 * wScale  f32 [N]        of the first panel in the range; read only if per channel
 * bias    f32 [N]        of the first panel in the range; 0 = none. Read to the end of the last panel
 * y       f32 [M,…]      of the first panel in the range; rows yStride bytes apart; whole panels are written
 * scratch                SCRATCH_BYTES, for at most MOST_ROWS rows; used if `widen`, by several rows of i8, or with `quads` (QUAD_ROWS)
 * panels, first, count   all panels of the matrix, and the range to compute: [first, first + count)
 *
 * streams = s    the range is cut into s parts, and a tile goes through one panel of each in turns. Weights are read
 * once, in order. A CPU prefetches along a stream but starts again on each page; several streams hide that.
 *
 * widen = false  every tile unpacks the weights in registers: M = 1 and small M, and bytes that a carrier takes as they are
 * widen = true   16 rows x 256 k are unpacked into `scratch` (it stays in L1) once, then serve all rows of x. So do sums of x
 *                that i8 tiles start from, added up once per K-block and not by each tile: one component +12 %, two +4 %
 *
 * quads          the load itself widens bytes, in the order that the four k of a packed step have: x is put into that order once per K-block. No
 *                masks, no shifts, no second pass over the weights
 */
import { K_BLOCK, K_STEP, PANEL, stepBytes, stepVectors } from '../formats/format.ts';
import { chunkLength, headSize, scaleBytes } from '../formats/layout.ts';
import { scaleKinds } from '../formats/scales.ts';
import { i32Params } from '../kernel-spec.ts';
import { f32x4, type I32, i32, i32x4, type Local, type Module, type V128, v128 } from '../wasm/emitter.ts';
import { advance, each, once, range, tile } from '../wasm/loops.ts';
import { type BlockReader, carrierOf, I16 } from './carriers.ts';
import { GEMM_ARGS, type GemmOptions, gemmId, readingOf, WIDENED_BYTES } from './options.ts';
import { type Tile, type TilePanel, tileProducts } from './tile.wasm.ts';

export function gemmKernel(module: Module, options: GemmOptions): void {
  const { format, variant, widen, tileM, tileN = PANEL, kUnroll = 1, streams = 1, abreast = 1 } = options;
  const blockwise = variant.blockSize !== null;
  const span = Math.min(variant.blockSize ?? K_BLOCK, K_BLOCK);
  const fine = options.activationBlock === 32; // the scale of x changes with every chunk
  const chunk = chunkLength(format, variant.blockSize, fine ? 32 : 256);
  const reading = readingOf(options);
  const carrier = carrierOf(options.carrier ?? I16, format, variant, reading);
  const { stepK, words } = carrier;
  const bytesPerK = reading.quads ? 2 : (4 / stepK) * words;
  const xRow = K_BLOCK * bytesPerK;
  const packed = { head: headSize(variant), step: stepBytes(format) }; // bytes, of 4 k
  const widenedHead = { scales: blockwise ? 4 * tileN : 0, zeroCodes: carrier.widensZeroCodes ? 4 * tileN : 0 };
  const tiled = widen ? { head: widenedHead.scales + widenedHead.zeroCodes, step: 4 * tileN } : packed; // what a tile reads
  const scalesSize = widen ? widenedHead.scales : scaleBytes(variant);
  const perK = (kCount: I32) => i32.shrU(kCount, Math.log2(stepK)); // steps of a tile
  const startsRow = 4 * (K_BLOCK / chunk);

  module.func(gemmId(options), i32Params(GEMM_ARGS), (f, p) => {
    const sumsRow = f.let(i32.shrU(p.K, 3));
    const { block: readerOf, shift, integers, widening, timesSums } = carrier.open(f, tileN / 4);
    const quadsAt = reading.quads ? p.scratch : undefined;
    const startsAt = timesSums ? f.let(i32.add(p.scratch, WIDENED_BYTES)) : undefined;
    const packedScales = blockwise ? scaleKinds[variant.scale].reader(f) : undefined;
    const scalesOf = widen || !packedScales ? (head: I32, g: number) => v128.load(head, 16 * g) : packedScales;
    const bytes = ({ head, step }: typeof packed, blocks: I32, steps: I32) =>
      i32.add(i32.mul(blocks, head), i32.mul(steps, step));

    const k = f.let(i32.const(0));
    f.repeat(i32.divU(i32.add(p.K, K_BLOCK - 1), K_BLOCK), () => {
      const left = f.let(i32.sub(p.K, k));
      const kCount = f.let(i32.minU(left, K_BLOCK));
      const blocks = f.let(i32.divU(i32.add(kCount, span - 1), span));
      const panelBytes = f.let(bytes(packed, blocks, i32.shrU(kCount, 2)));
      const w = f.let(i32.add(p.w, i32.mul(p.first, panelBytes)));
      const panel = { y: f.let(p.y), wScale: f.let(p.wScale), bias: f.let(p.bias) };
      panel.bias.set(i32.select(i32.gtU(left, K_BLOCK), 0, panel.bias)); // added with the last K-block
      const hasBias = f.let(panel.bias);
      const skip = (panels: I32 | number) => {
        advance(w, panels === 1 ? panelBytes : i32.mul(panelBytes, panels));
        for (const pointer of Object.values(panel))
          advance(pointer, panels === 1 ? 4 * PANEL : i32.mul(panels, 4 * PANEL));
      };
      const panels = (apart: readonly I32[]) => {
        if (widen) widenPanel(w, kCount);
        const at = {
          x: f.let(quadsAt ?? p.x),
          xSums: f.let(startsAt ?? p.xSums),
          xScale: f.let(p.xScale),
          y: f.let(panel.y),
        };
        const rowsLeft = f.let(p.M);
        for (const rows of reading.quads ? range(tileM).map((i) => tileM - i) : rowTiles(tileM)) {
          f.repeat(i32.divU(rowsLeft, rows), () => rowsTimesPanels(rows, apart, at));
          if (rows > 1) rowsLeft.set(i32.remU(rowsLeft, rows));
        }
        skip(1);
      };
      if (startsAt) startRows(startsAt, kCount, timesSums);
      if (quadsAt) rowsInQuads(quadsAt);
      if (streams > 1) {
        const part = f.let(i32.divU(p.count, streams));
        const apart = range(streams).map((i) => f.let(i32.mul(part, i)));
        f.repeat(part, () => panels(apart));
        skip(i32.mul(part, streams - 1));
        f.repeat(i32.remU(p.count, streams), () => panels(ALONE));
      } else f.repeat(p.count, () => panels(ALONE));
      advance(p.w, i32.mul(p.panels, panelBytes));
      advance(k, K_BLOCK);
      advance(p.x, i32.mul(p.M, xRow));
      advance(p.xSums, K_BLOCK / 8);
      advance(p.xScale, i32.mul(p.M, 4 * (fine ? K_BLOCK / K_STEP : 1)));

      type Place = Record<'x' | 'xSums' | 'xScale' | 'y', Local<'i32'>>;
      /** @param apart how many panels after this one each panel of the tile lies */
      function rowsTimesPanels(rows: number, apart: readonly I32[], at: Place) {
        // Half the rows may take twice the columns, unless the accumulators would not fit into registers.
        const isWide = !widen && 2 * rows <= tileM && tileN * rows * carrier.sums <= 16;
        const tileColumns = isWide ? Math.min(PANEL, 2 * tileN) : tileN;
        const vectors = tileColumns / 4;
        const share = tileColumns / PANEL;
        const stepPart = stepBytes(format) * share;
        const loads = widen ? vectors : stepPart / (reading.quads ? 8 : 16);
        const tiles = apart.map((distance) => ({
          panel: f.let(widen ? p.scratch : distance === HERE ? w : i32.add(w, i32.mul(panelBytes, distance))),
          columns: {
            y: f.let(columnsAt(at.y, distance)),
            wScale: f.let(columnsAt(panel.wScale, distance)),
            bias: f.let(columnsAt(panel.bias, distance)),
          },
        }));
        const panels = tiles.map(({ panel }) => panel);
        // Widened, tiles follow each other. Packed, their columns lie together in each step, and their scales in each head.
        const isPart = !widen && tileColumns < PANEL;
        const ahead = f.let(i32.const(0)); // how far a part's scales are ahead of its codes
        f.repeat(PANEL / tileColumns, () => {
          columnTile(isPart ? panels.map((panel) => f.let(panel)) : panels);
          if (!isPart) return;
          for (const panel of panels) advance(panel, stepPart);
          if (blockwise) advance(ahead, scaleBytes(variant) * share - stepPart);
        });
        advance(at.x, xRow * rows);
        advance(at.xSums, startsAt ? startsRow * rows : i32.mul(sumsRow, rows));
        advance(at.xScale, 4 * rows);
        advance(at.y, i32.mul(p.yStride, rows));

        function columnTile(weightsOf: readonly Local<'i32'>[]) {
          const x = range(rows).map((i) => f.let(i32.add(at.x, xRow * i)));
          const xSums = startsAt
            ? [f.let(at.xSums)]
            : range(rows).map((i) => f.let(i32.add(at.xSums, i32.mul(sumsRow, i))));
          const totals = tiles.map(() => tile(rows, vectors, () => f.let(zero)));
          const xScale = fine ? f.let(at.xScale) : at.xScale;
          eachBlock(kCount, (chunks, stepsPerChunk, endsStep) => {
            const blocks = weightsOf.map((weights): Block => {
              const scales = f.let(i32.add(weights, ahead));
              const block = { scales, reader: readerOf(i32.add(weights, scalesSize)), weights };
              advance(weights, tiled.head);
              return block;
            });
            f.repeat(chunks, () => {
              const sums = dotProducts(blocks, { vectors, loads }, x, stepsPerChunk, xSums);
              totals.forEach((total, t) => {
                const { scales } = blocks[t];
                const acc = sums[t]();
                // Read once per tile: 1 … 5 %.
                const wScales = range(vectors).map((g) =>
                  once(() => f.let(blockwise ? scalesOf(scales, g) : v128.load(tiles[t].columns.wScale, 16 * g))),
                );
                const xScales = range(rows).map((i) => once(() => f.let(v128.load32Splat(xScale, 4 * i))));
                each(total, (sum, i, g) => {
                  if (fine) {
                    const value = f32x4.mul(f32x4.convertI32x4S(unshifted(acc[i][g], g)), wScales[g]());
                    sum.set(f32x4.add(sum, f32x4.mul(value, xScales[i]())));
                  } else {
                    const value = f32x4.convertI32x4S(acc[i][g]);
                    sum.set(blockwise ? f32x4.add(sum, f32x4.mul(value, wScales[g]())) : value);
                  }
                });
              });
              if (fine) advance(xScale, i32.mul(i32.mul(p.M, 4), endsStep));
            });
          });
          totals.forEach((total, t) => {
            finish(total, tiles[t].columns);
          });
        }

        /** Scales of x, channel scales, earlier K-blocks, bias; then y. Moves the columns past the tile. */
        function finish(total: Local<'v128'>[][], columns: Record<'y' | 'wScale' | 'bias', Local<'i32'>>) {
          // A power of two that codes sharing a byte left goes onto the scale, where it cannot round.
          const unshifts = range(vectors).map((g) => (shift[g] ? f.let(f32x4.const(2 ** -shift[g])) : undefined));
          const factor = range(vectors).map((g) => (blockwise ? undefined : f.let(v128.load(columns.wScale, 16 * g))));
          const y = range(rows).map((i) => f.let(i32.add(columns.y, i32.mul(p.yStride, i))));
          if (!fine)
            total.forEach((row, i) => {
              const xScale = f.let(v128.load32Splat(at.xScale, 4 * i));
              row.forEach((t, g) => {
                const [unshift, wScale] = [unshifts[g], factor[g]];
                const scaled = f32x4.mul(t, unshift ? f32x4.mul(xScale, unshift) : xScale);
                t.set(wScale ? f32x4.mul(scaled, wScale) : scaled);
              });
            });
          f.when(k, () => each(total, (t, i, g) => t.set(f32x4.add(v128.load(y[i], 16 * g), t))));
          f.when(hasBias, () => each(total, (t, _, g) => t.set(f32x4.add(t, v128.load(columns.bias, 16 * g)))));
          each(total, (t, i, g) => f.storeV128(y[i], t, 16 * g));
          for (const pointer of Object.values(columns)) advance(pointer, 4 * tileColumns);
        }
      }
    });

    /** A sum of such codes without its power of two: exact, it is a multiple of it. */
    function unshifted(acc: V128, g: number): V128 {
      return shift[g] ? i32x4.shrS(acc, shift[g]) : acc;
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

    /** start + Σ over the chunk's steps, for each panel; `x`, `xSums` and their weights are moved past the chunk. */
    function dotProducts(
      blocks: readonly Block[],
      size: Pick<Tile, 'vectors' | 'loads'>,
      x: Local<'i32'>[],
      steps: I32 | number,
      xSums: Local<'i32'>[],
    ) {
      // Without stored zero points all panels start from the same corrections.
      const starts = (variant.storedZeroPoints ? blocks : blocks.slice(0, 1)).map(({ reader }) => reader.start);
      const start =
        starts[0] &&
        x.map((_, i) => {
          const sum = startsAt ? f.let(v128.load32Splat(xSums[0], startsRow * i)) : chunkSum(xSums[i], steps);
          const corrections = starts.map((from) => from?.(sum).map((vector) => f.let(vector)) ?? []);
          if (!startsAt) advance(xSums[i], chunk === K_STEP ? 4 : i32.divU(i32.mul(steps, stepK), 8));
          return corrections;
        });
      if (startsAt) advance(xSums[0], 4);
      return tileProducts(
        f,
        { ...carrier, ...size, integers, stepBytes: tiled.step, kUnroll, abreast, apart: reading.apart },
        blocks,
        {
          x,
          steps,
          first: 0,
          inTurns: chunk > K_STEP,
          start: (t, i, g) => start?.[i][t % starts.length][g],
        },
      );
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

    /** to = the rows of x in this K-block, the four k of each quad in the order of a packed step: 0, 2, 1, 3. */
    function rowsInQuads(to: I32) {
      const [from, into] = [f.let(p.x), f.let(to)];
      f.repeat(i32.mul(p.M, xRow / 16), () => {
        const x = f.let(v128.load(from));
        const lanes = [0, 2, 1, 3, 4, 6, 5, 7].flatMap((lane) => [2 * lane, 2 * lane + 1]);
        f.storeV128(into, v128.shuffle(x, x, lanes));
        advance(from, 16);
        advance(into, 16);
      });
    }

    /** starts = Σx of each row's chunks in this K-block, i32 [M, K_BLOCK / chunk], times `factor`. */
    function startRows(starts: I32, kCount: I32, factor: number) {
      const to = f.let(starts);
      const row = f.let(p.xSums);
      f.repeat(p.M, () => {
        const from = f.let(row);
        const left = f.let(i32.shrU(kCount, 5));
        const at = f.let(to);
        f.repeat(i32.divU(i32.add(kCount, chunk - 1), chunk), () => {
          const sum = f.let(i32.const(0));
          f.repeat(chunk === K_STEP ? 1 : i32.minU(left, chunk / K_STEP), () => {
            sum.set(i32.add(sum, i32.load(from)));
            advance(from, 4);
            left.set(i32.sub(left, 1));
          });
          f.storeI32(at, i32.mul(sum, factor));
          advance(at, 4);
        });
        advance(row, sumsRow);
        advance(to, startsRow);
      });
    }

    /** scratch = the panel at `from` as the carrier's operand, in the order tiles read it: [PANEL / tileN][block: head, steps]. */
    function widenPanel(panel: I32, kCount: I32) {
      const from = f.let(panel);
      const tileBytes = f.let(bytes(tiled, i32.divU(i32.add(kCount, span - 1), span), perK(kCount)));
      const to = range(PANEL / tileN).map((t) => f.let(i32.add(p.scratch, i32.mul(tileBytes, t))));
      const store = (values: readonly V128[], offset = 0) =>
        values.forEach((value, g) => {
          f.storeV128(to[Math.floor((4 * g) / tileN)], value, offset + ((16 * g) % (4 * tileN)));
        });
      eachBlock(kCount, (chunks, steps) => {
        const block = widening(i32.add(from, scaleBytes(variant)));
        if (packedScales) store(range(PANEL / 4).map((g) => packedScales(from, g)));
        store(block.zeroCodes, widenedHead.scales);
        advance(from, packed.head);
        for (const pointer of to) advance(pointer, tiled.head);
        f.repeat(i32.divU(i32.mul(chunks, steps), 4 / stepK), () => {
          const vectors = range(stepVectors(format)).map((v) => block.groups(f.let(v128.load(from, 16 * v)), v));
          for (const step of range(4 / stepK))
            store(
              vectors.flatMap((groups) => groups[step]),
              tiled.step * step,
            );
          advance(from, packed.step);
          for (const pointer of to) advance(pointer, (tiled.step * 4) / stepK);
        });
      });
    }
  });
}

/** Rows of the tiles that M rows are cut into, largest first. */
const rowTiles = (tileM: number): number[] => (tileM === 1 ? [1] : [tileM, ...rowTiles(Math.ceil(tileM / 2))]);

/** A block of a panel that is being read. */
interface Block extends TilePanel {
  readonly scales: Local<'i32'>;
  readonly reader: BlockReader;
}

/** A tile of one panel. */
const HERE = i32.const(0);
const ALONE = [HERE];
const columnsAt = (pointer: I32, panels: I32): I32 =>
  panels === HERE ? pointer : i32.add(pointer, i32.mul(panels, 4 * PANEL));

const zero = v128.const16(0);
