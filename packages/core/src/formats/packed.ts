/** Packed matrices apart from where they lie: for owners that keep the bytes themselves, and the way back for references. */
import { K_BLOCK, PANEL, QUAD, stepBytes } from './format.ts';
import { formats } from './index.ts';
import { type PackedLayout, packedLayout, scaleBytes, variantOf } from './layout.ts';
import { packInto } from './pack.ts';
import { type ScaleId, scaleKinds } from './scales.ts';
import { validateShape, validateWeights } from './validate.ts';
import type { QuantizedWeights, WeightShape } from './weights.ts';

/** Version of the packed layout: packed bytes are good for this version of the package only. */
export const PACKED_VERSION = 2;

/** All that the kernels have to know of a packed matrix. */
export interface PackedShape extends WeightShape {
  readonly storedZeroPoints: boolean;
  /** Form of the block scales; per channel 'f32'. */
  readonly scale: ScaleId;
}

/** A matrix in the kernels' layout. Plain bytes: they may be stored, moved and sent; `adopt` takes them back. */
export interface PackedWeights extends PackedShape {
  readonly version: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What a matrix becomes when packed. */
export function packedShape(weights: QuantizedWeights): PackedShape {
  const { format, N, K, blockSize } = weights;
  const { storedZeroPoints, scale } = variantOf(weights);
  return { format, N, K, blockSize, storedZeroPoints, scale };
}

/** Bytes that a packed matrix needs: for sizing memory before anything is loaded. */
export function packedByteLength(shape: WeightShape, storedZeroPoints: boolean, scale?: ScaleId): number {
  validateShape(shape, 'packedByteLength');
  return layoutOf({ ...shape, storedZeroPoints, scale: scale ?? formats[shape.format].scaleIds[0] }).byteLength;
}

export const layoutOf = (shape: PackedShape): PackedLayout =>
  packedLayout(formats[shape.format], shape, shape.N, shape.K);

/**
 * Packs a matrix into bytes of its own, for example to keep it in another library's tensor.
 *
 * @returns bytes that the caller owns; a multiple of 4
 * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape
 */
export function packWeights(weights: QuantizedWeights): PackedWeights {
  validateWeights(weights, 'packWeights');
  const shape = packedShape(weights);
  const layout = layoutOf(shape);
  const bytes = new Uint8Array(layout.byteLength);
  packInto(weights, layout, bytes.buffer, 0);
  return { ...shape, version: PACKED_VERSION, bytes };
}

/** Shapes of packed matrices come from files: checked like weights are. */
export function validatePacked(shape: PackedShape, byteLength: number, where: string): PackedLayout {
  validateShape(shape, where);
  const { scaleIds, asymmetric } = formats[shape.format];
  const { format, N, K, blockSize, storedZeroPoints, scale } = shape;
  if (blockSize === null ? scale !== 'f32' : !scaleIds.includes(scale))
    throw new RangeError(
      `${where}: scale of ${format} expected ${blockSize === null ? 'f32' : scaleIds.join(' or ')}, got ${scale}.`,
    );
  if (storedZeroPoints && !asymmetric) throw new RangeError(`${where}: ${format} has no zero points.`);
  const layout = layoutOf(shape);
  if (byteLength !== layout.byteLength)
    throw new RangeError(
      `${where}: packed ${format} [N=${N},K=${K}] expected ${layout.byteLength} bytes, got ${byteLength}. Was it packed by another version?`,
    );
  return layout;
}

/**
 * Reads rows of the real matrix back out of packed bytes.
 *
 * @param bytes as packed; read on every call, never copied
 * @returns writes row n, f32 [K], at `out[at…]`: `scale · (q − zeroPoint)`, rounded once
 */
export function packedRows(shape: PackedShape, bytes: Uint8Array): (n: number, out: Float32Array, at?: number) => void {
  const format = formats[shape.format];
  const { bits, packedOffset } = format;
  const step = stepBytes(format);
  const { K, blockSize, storedZeroPoints } = shape;
  const layout = validatePacked(shape, bytes.byteLength, 'packedRows');
  const { paddedK, panels, span, headBytes, panelBytes } = layout;
  const values = Float64Array.from({ length: 2 ** bits }, (_, code) => format.code(Uint8Array.of(code), 1, 0, 0));
  const kind = scaleKinds[shape.scale];
  const scales = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const readScale = (at: number): number => {
    if (kind.bytes === 4) return scales.getFloat32(at, true);
    return kind.value(kind.bytes === 2 ? scales.getUint16(at, true) : scales.getUint8(at));
  };
  const scaleSize = scaleBytes(shape);
  return (n, out, at = 0) => {
    const row = n % PANEL;
    const panel = Math.floor(n / PANEL);
    const group = row >> 2;
    const perByte = 8 / bits;
    const lane = 16 * Math.floor(group / perByte) + 4 * (row & 3);
    const shift = bits * (group % perByte);
    const mask = 2 ** bits - 1;
    const channelScale = blockSize ? 0 : readScale(panelBytes + 4 * n);
    let base = 0;
    for (let k0 = 0; k0 < K; k0 += K_BLOCK) {
      const kEnd = Math.min(k0 + K_BLOCK, paddedK);
      const perPanel = Math.ceil((kEnd - k0) / span) * headBytes + ((kEnd - k0) / 4) * step;
      let ptr = base + panel * perPanel;
      for (let k = k0; k < kEnd; k += span) {
        const scale = blockSize ? readScale(ptr + kind.bytes * row) : channelScale;
        const zeroAt = ptr + scaleSize + row;
        const zero = storedZeroPoints ? scales.getUint8(zeroAt) - packedOffset : format.symmetricZeroPoint;
        ptr += headBytes;
        const count = Math.min(span, kEnd - k);
        for (let i = 0; i < count; i++) {
          const code = (bytes[ptr + (i >> 2) * step + lane + QUAD[i & 3]] >> shift) & mask;
          if (k + i < K) out[at + k + i] = scale * (values[code] - zero);
        }
        ptr += (count / 4) * step;
      }
      base += panels * perPanel;
    }
  };
}
