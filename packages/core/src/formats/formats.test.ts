/** Byte layouts, written down: what a file holds, and what the kernels of a released version expect. */
import { describe, expect, it } from 'vitest';
import { random, rawWeights } from '../../test/random.ts';
import { formats } from './index.ts';
import { fileLayout, packedLayout, variantOf } from './layout.ts';
import { packInto } from './pack.ts';
import { type QuantizeOptions, quantizeWeights } from './quantize.ts';
import type { FormatId, QuantizedWeights } from './weights.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

function packed(weights: QuantizedWeights): Uint8Array {
  const layout = packedLayout(formats[weights.format], variantOf(weights), weights.N, weights.K);
  const bytes = new Uint8Array(layout.byteLength);
  packInto(weights, layout, bytes.buffer, 0);
  return bytes;
}

/** Codes count up along k and are shifted by the row: row n, element k has code (n + k) mod levels. */
function counting(format: FormatId): QuantizedWeights {
  const { bits } = formats[format];
  const [N, K] = [16, 32];
  const data = new Uint8Array((N * K * bits) / 8);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++) data[Math.floor(((n * K + k) * bits) / 8)] |= ((n + k) % 2 ** bits) << ((k * bits) % 8);
  const scales = format === 'mxfp4' ? new Uint8Array(N).fill(127) : new Float32Array(N).fill(1);
  return { format, N, K, blockSize: format === 'int8' ? null : 32, data, scales };
}

describe('packed layouts', () => {
  it.each<[FormatId, string]>([
    // rows 0 4 8 12 in the four nibbles of a lane; lanes (row 0, k 0) (row 0, k 1) (row 1, k 0) …
    ['int4', '40c8 51d9 51d9 62ea 62ea 73fb 73fb 840c'.replaceAll(' ', '')],
    ['mxfp4', '40c8 51d9 51d9 62ea 62ea 73fb 73fb 840c'.replaceAll(' ', '')],
    // four codes in a byte, rows 0 4 8 12 all alike modulo 4
    ['int2', '00 55 55 aa aa ff ff 00'.replaceAll(' ', '')],
    // bytes (row 0, k 0) (row 0, k 1) (row 1, k 0) …; unsigned codes minus 128
    ['int8', '8081 8182 8283 8384 8485 8586 8687 8788 8889 898a 8a8b 8b8c 8c8d 8d8e 8e8f 8f90'.replaceAll(' ', '')],
  ])('%s: the first step', (format, expected) => {
    const weights = counting(format);
    const layout = packedLayout(formats[format], variantOf(weights), 16, 32);
    expect(hex(packed(weights).subarray(layout.headBytes, layout.headBytes + formats[format].stepBytes))).toBe(
      expected,
    );
  });

  it('hold every code where the kernels look for it', () => {
    for (const format of Object.values(formats)) {
      const [N, K] = [37, 288];
      const blockSize = format.perChannel ? null : 32;
      const weights = rawWeights(random(3), { format: format.id, N, K, blockSize, asymmetric: false }, () => 1);
      const bytes = packed(weights);
      const { headBytes, panels } = packedLayout(format, variantOf(weights), N, K);
      const { rowBytes } = fileLayout(weights);
      const laneBits = (8 * format.stepBytes) / 8; // of eight lanes
      for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++) {
          const kBlock = Math.floor(k / 256);
          const kBytes = (count: number) =>
            (blockSize ? Math.ceil(count / 32) * headBytes : 0) + (count / 2) * format.stepBytes;
          const inBlock = k % 256;
          const step = kBytes(256) * kBlock * panels + Math.floor(n / 16) * kBytes(Math.min(256, K - 256 * kBlock));
          const at =
            step +
            (blockSize ? (Math.floor(inBlock / 32) + 1) * headBytes : 0) +
            Math.floor(inBlock / 2) * format.stepBytes;
          const [row, group] = [n % 4, Math.floor((n % 16) / 4)];
          const bit =
            format.bits === 8 ? 16 * (n % 16) + 8 * (k % 2) : laneBits * (2 * row + (k % 2)) + format.bits * group;
          const code = (bytes[at + (bit >> 3)] >> (bit & 7)) & (2 ** format.bits - 1);
          const got = format.code(format.bits === 8 ? Int8Array.of(code) : Uint8Array.of(code), 1, 0, 0);
          const want = format.code(weights.data, rowBytes, n, k);
          if (got !== want) throw new Error(`${format.id} (${n},${k}): expected ${want}, got ${got}`);
        }
    }
  });
});

describe('quantizeWeights', () => {
  const w = new Float32Array(64).fill(1);
  it.each<[object, RegExp]>([
    [{ format: 'int3' }, /format expected one of int8, int4, mxfp4, int2, got int3/],
    [{ format: 'int4', blockSize: 48 }, /blockSize of int4 expected a power of two from 16 up, got 48/],
    [{ format: 'int4', blockSize: -32 }, /blockSize of int4/],
    [{ format: 'mxfp4', blockSize: 64 }, /blockSize of mxfp4 expected 32, got 64/],
    [{ format: 'mxfp4', asymmetric: true }, /mxfp4 has no zero points/],
    [{ format: 'int8', N: 0 }, /N expected a positive integer, got 0/],
  ])('refuses %j', (options, message) => {
    expect(() => quantizeWeights(w, { N: 2, K: 32, ...options } as QuantizeOptions)).toThrow(message);
    expect(() => quantizeWeights(w, { N: 2, K: 32, ...options } as QuantizeOptions)).toThrow(RangeError);
  });
});
