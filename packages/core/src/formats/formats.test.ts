/** Byte layouts, written down: what a file holds, and what the kernels of a released version expect. */
import { describe, expect, it } from 'vitest';
import { random, rawWeights } from '../../test/random.ts';
import { stepBytes } from './format.ts';
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
    // k 0 2 1 3 of a row follow each other; rows 0 and 4, then 8 and 12 in the nibbles of a byte
    ['int4', '40625173 51736284 62847395 739584a6 c8ead9fb d9fbea0c ea0cfb1d fb1d0c2e'.replaceAll(' ', '')],
    ['mxfp4', '40625173 51736284 62847395 739584a6 c8ead9fb d9fbea0c ea0cfb1d fb1d0c2e'.replaceAll(' ', '')],
    ['nf4', '40625173 51736284 62847395 739584a6 c8ead9fb d9fbea0c ea0cfb1d fb1d0c2e'.replaceAll(' ', '')],
    // four codes in a byte, rows 0 4 8 12 all alike modulo 4
    ['int2', '00aa55ff 55ffaa00 aa00ff55 ff5500aa'.replaceAll(' ', '')],
    // unsigned codes as they are, four rows to a vector
    [
      'int8',
      Array.from({ length: 16 }, (_, n) => [0, 2, 1, 3].map((k) => `0${(n + k).toString(16)}`.slice(-2)).join('')).join(
        '',
      ),
    ],
  ])('%s: the first step', (format, expected) => {
    const weights = counting(format);
    const layout = packedLayout(formats[format], variantOf(weights), 16, 32);
    expect(hex(packed(weights).subarray(layout.headBytes, layout.headBytes + stepBytes(formats[format])))).toBe(
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
      const perByte = 8 / format.bits;
      for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++) {
          const kBlock = Math.floor(k / 256);
          const kBytes = (count: number) =>
            (blockSize ? Math.ceil(count / 32) * headBytes : 0) + (count / 4) * stepBytes(format);
          const inBlock = k % 256;
          const step = kBytes(256) * kBlock * panels + Math.floor(n / 16) * kBytes(Math.min(256, K - 256 * kBlock));
          const at =
            step +
            (blockSize ? (Math.floor(inBlock / 32) + 1) * headBytes : 0) +
            Math.floor(inBlock / 4) * stepBytes(format);
          const [row, group] = [n % 4, Math.floor((n % 16) / 4)];
          const byte = at + 16 * Math.floor(group / perByte) + 4 * row + [0, 2, 1, 3].indexOf(k % 4);
          const code = (bytes[byte] >> (format.bits * (group % perByte))) & (2 ** format.bits - 1);
          const got = format.code(Uint8Array.of(code), 1, 0, 0);
          const want = format.code(weights.data, rowBytes, n, k);
          if (got !== want) throw new Error(`${format.id} (${n},${k}): expected ${want}, got ${got}`);
        }
    }
  });
});

describe('quantizeWeights', () => {
  const w = new Float32Array(64).fill(1);
  it.each<[object, RegExp]>([
    [{ format: 'int3' }, /format expected one of int8, int4, mxfp4, int2, nf4, fp4, nf4low, fp4low, got int3/],
    [{ format: 'int4', blockSize: 48 }, /blockSize of int4 expected a power of two from 16 up, got 48/],
    [{ format: 'int4', blockSize: -32 }, /blockSize of int4/],
    [{ format: 'mxfp4', blockSize: 64 }, /blockSize of mxfp4 expected 32, got 64/],
    [{ format: 'mxfp4', asymmetric: true }, /mxfp4 has no zero points/],
    [{ format: 'nf4', asymmetric: true }, /nf4 has no zero points/],
    [{ format: 'fp4', blockSize: null }, /blockSize of fp4 expected a power of two from 16 up, got null/],
    [{ format: 'int8', N: 0 }, /N expected a positive integer, got 0/],
  ])('refuses %j', (options, message) => {
    expect(() => quantizeWeights(w, { N: 2, K: 32, ...options } as QuantizeOptions)).toThrow(message);
    expect(() => quantizeWeights(w, { N: 2, K: 32, ...options } as QuantizeOptions)).toThrow(RangeError);
  });
});
