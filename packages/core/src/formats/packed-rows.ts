/** The way back from packed bytes to real weights: for references, and for tables that are also matrices. */
import { K_BLOCK, PANEL, QUAD, stepBytes } from './format.ts';
import { formats } from './index.ts';
import { scaleBytes } from './layout.ts';
import { type PackedShape, validatePacked } from './packed.ts';
import { scaleKinds } from './scales.ts';

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
