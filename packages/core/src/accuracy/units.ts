/** Units of accuracy: SQNR in dB, and bits. */

/** Signal-to-quantization-noise ratio in dB, aggregated over all values. Infinity if they are equal. */
export function sqnr(expected: ArrayLike<number>, got: ArrayLike<number>): number {
  let signal = 0;
  let noise = 0;
  for (let i = 0; i < expected.length; i++) {
    signal += expected[i] ** 2;
    noise += (expected[i] - got[i]) ** 2;
  }
  return 10 * Math.log10(signal / noise);
}

/** An SQNR in bits: 6.02 dB each. */
export const effectiveBits = (sqnrDb: number): number => sqnrDb / (20 * Math.log10(2));
