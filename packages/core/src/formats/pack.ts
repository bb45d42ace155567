/**
 * File bytes -> the panels that kernels read. JavaScript does it at 1 to 2 G weights/s; where the rows lie in WebAssembly memory,
 * pack.wasm.ts moves the codes.
 */
import { K_BLOCK, PANEL, stepBytes } from './format.ts';
import { formats } from './index.ts';
import { zeroPointReader } from './integers.ts';
import { fileLayout, headStep, type PackedLayout, roundUp } from './layout.ts';
import { scaleKindOf, scaleReader } from './scales.ts';
import type { QuantizedWeights } from './weights.ts';

/**
 * Writes the codes of k0 … kEnd of all rows, a whole K-block or the last one.
 *
 * @param at bytes before the head of the first panel
 * @param panelBytes from there to the next panel's
 */
export type PackCodes = (k0: number, kEnd: number, at: number, panelBytes: number) => void;

/** Writes the scales of so many heads from k0 on, of all rows; the rest as {@link PackCodes}. */
export type PackScales = (k0: number, heads: number, at: number, panelBytes: number) => void;

/** Writes the zero points of heads; the rest as {@link PackScales}. */
export type PackZeros = PackScales;

/** Which rows are packed, and who moves their codes, scales and zero points. */
export interface PackOptions {
  /** Row of the matrix that the first row of `weights` is, a multiple of 16. Default 0. */
  readonly first?: number;
  /** Default: JavaScript. */
  readonly codes?: PackCodes | undefined;
  readonly scales?: PackScales | undefined;
  /** With `scales`. */
  readonly zeros?: PackZeros | undefined;
}

/**
 * Packs `weights`, all rows of a matrix or some, where `layout.byteLength` bytes at `byteOffset` of `buffer` belong to the whole
 * matrix. Returns nothing: the caller owns them.
 *
 * @param buffer arena memory; `byteOffset` is a multiple of 16
 */
export function packInto(
  weights: QuantizedWeights,
  layout: PackedLayout,
  buffer: ArrayBufferLike,
  byteOffset: number,
  { first = 0, codes = codesInJavaScript(weights, layout, buffer, byteOffset), scales, zeros }: PackOptions = {},
): void {
  const { N, blockSize } = weights;
  const step = stepBytes(formats[weights.format]);
  const writeHeads = headWriter(weights, layout, buffer, byteOffset, !scales);
  const { paddedK, panels, span, headBytes, panelBytes } = layout;

  let block = 0; // in bytes
  for (let k0 = 0; k0 < paddedK; k0 += K_BLOCK) {
    const kEnd = Math.min(k0 + K_BLOCK, paddedK);
    const heads = Math.ceil((kEnd - k0) / span);
    const bytes = heads * headBytes + ((kEnd - k0) / 4) * step;
    const start = block + (first / PANEL) * bytes;
    // Codes first: they are most of the bytes, one behind the other, and bring the lines of the heads between them along.
    codes(k0, kEnd, start, bytes);
    scales?.(k0, heads, start, bytes);
    zeros?.(k0, heads, start, bytes);
    if (headBytes && !zeros) for (let n = 0; n < N; n += PANEL) writeHeads(n, k0, heads, start + (n / PANEL) * bytes);
    block += panels * bytes;
  }
  if (blockSize) return;
  const scale = scaleReader(weights);
  const channelScales = new Float32Array(buffer, byteOffset + panelBytes + 4 * first, roundUp(N, PANEL));
  channelScales.fill(0, N);
  for (let n = 0; n < N; n++) channelScales[n] = scale(n, 0);
}

function codesInJavaScript(
  { N, K, blockSize, data, format: id }: QuantizedWeights,
  { headBytes, span }: PackedLayout,
  buffer: ArrayBufferLike,
  byteOffset: number,
): PackCodes {
  const format = formats[id];
  const file = fileLayout({ N, K, blockSize, format: id });
  const source = {
    view: new DataView(data.buffer, data.byteOffset, data.byteLength),
    rowBytes: file.rowBytes,
    N,
    readableK: blockSize ? file.blocks * blockSize : K,
    flip: data instanceof Int8Array ? 0x80808080 | 0 : 0,
  };
  const words = new Uint32Array(buffer, byteOffset);
  const headWords = headBytes / 4;
  const stepWords = stepBytes(format) / 4;
  return (k0, kEnd, start, panelBytes) => {
    for (let n = 0, panel = start / 4; n < N; n += PANEL, panel += panelBytes / 4)
      for (let k = k0, at = panel + headWords; k < kEnd; k += span) {
        const kCount = Math.min(span, kEnd - k);
        const count = (kCount / 4) * stepWords;
        if (k < source.readableK) format.packSteps(source, n, k, kCount, words, at);
        else words.fill(0, at, at + count);
        at += count + headWords;
      }
  };
}

/**
 * Writes scales and zero points of the panel at n, in the K-block at k0: so many heads from byte `at` on. Rows past N have scale 0:
 * whatever their codes are, they add nothing. So does a block of 16 that only fills K up to a multiple of 32.
 *
 * @param isAll scales, too: zero points only, if something else writes them
 */
function headWriter(
  weights: QuantizedWeights,
  layout: PackedLayout,
  buffer: ArrayBufferLike,
  byteOffset: number,
  isAll: boolean,
): (n: number, k0: number, heads: number, at: number) => void {
  const { N, blockSize, scales, zeroPoints } = weights;
  const format = formats[weights.format];
  const { blocks } = fileLayout(weights);
  const zeroPoint = zeroPointReader(weights);
  const kind = scaleKindOf(scales);
  const stored = new kind.array(buffer, byteOffset);
  const bytes = new Uint8Array(buffer, byteOffset);
  const scaleBytes = blockSize ? PANEL * kind.bytes : 0;
  const { span } = layout;
  const distance = headStep(format, layout);
  const step = distance / kind.bytes;
  return (n, k0, heads, at) => {
    const rows = Math.min(PANEL, N - n);
    if (blockSize && isAll) {
      // A block longer than a K-block has a head in each.
      const block = Math.floor(k0 / blockSize);
      const count = Math.min(heads, blocks - block);
      if (rows < PANEL || count < heads)
        for (let head = 0; head < heads; head++) bytes.fill(0, at + head * distance, at + head * distance + scaleBytes);
      for (let row = 0; row < rows; row++) {
        const from = (n + row) * blocks + block;
        for (let i = 0, to = at / kind.bytes + row; i < count; i++, to += step) stored[to] = scales[from + i];
      }
    }
    if (!zeroPoints) return;
    for (let head = 0, to = at + scaleBytes; head < heads; head++, to += distance) {
      const block = blockSize ? Math.floor((k0 + head * span) / blockSize) : 0;
      for (let row = 0; row < PANEL; row++) {
        const zero = row < rows && block < blocks ? zeroPoint(n + row, block) : format.symmetricZeroPoint;
        bytes[to + row] = block < blocks ? zero + format.packedOffset : 0;
      }
    }
  };
}
