/** Files use two orders of nibbles; MSD takes the first. */

/**
 * Turns blocks whose low nibbles are elements 0 … n/2 − 1 and whose high ones are n/2 … n − 1 (ggml: Q4_0, MXFP4) into
 * blocks with even elements low and odd ones high (ONNX, gpt-oss).
 *
 * @param data [blocks, blockSize / 2]; left as it is
 * @param blockSize elements per block, even
 * @returns a new array of the same length, the caller's
 * @throws {@link RangeError} if the length is no multiple of blockSize / 2
 */
export function interleaveNibbles(data: Uint8Array, blockSize: number): Uint8Array {
  const half = blockSize / 2;
  if (!Number.isInteger(half) || half < 1 || data.length % half !== 0)
    throw new RangeError(`interleaveNibbles: data expected whole blocks of ${half} bytes, got ${data.length} bytes.`);
  const out = new Uint8Array(data.length);
  for (let block = 0; block < data.length; block += half)
    for (let i = 0; i < blockSize; i++) {
      const code = i < half ? data[block + i] & 15 : data[block + i - half] >> 4;
      out[block + (i >> 1)] |= code << (4 * (i & 1));
    }
  return out;
}
