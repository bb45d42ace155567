/** Samples of all f32 values, and errors in units in the last place. */

/** Distance between bit patterns that are looked at; coprime to powers of two, so that all exponents and signs occur. */
const STRIDE = process.env.MSD_TEST_ALL === '1' ? 251 : 40_009;

/** f32 values over all bit patterns, the named ones first, in pieces of `length`. */
export function* samples(named: readonly number[], length: number, stride = STRIDE): Generator<Float32Array> {
  let piece = new Float32Array(length);
  let bits = new Int32Array(piece.buffer);
  piece.set(named);
  let at = named.length;
  for (let pattern = 0; pattern < 2 ** 32; pattern += stride) {
    bits[at++] = pattern | 0;
    if (at < length) continue;
    yield piece;
    piece = new Float32Array(length);
    bits = new Int32Array(piece.buffer);
    at = 0;
  }
  yield piece;
}

/** Spacing of f32 at a value. */
export function ulp(value: number): number {
  const magnitude = Math.abs(Math.fround(value));
  if (magnitude < 2 ** -126) return 2 ** -149;
  const bits = new Int32Array(Float32Array.of(magnitude).buffer)[0];
  return 2 ** ((bits >> 23) - 150);
}

/** How far an f32 result is from the float64 value: 0 for the nearest f32, for NaN of NaN, for Inf of what is too large. */
export function errorInUlps(got: number, exact: number): number {
  if (Object.is(got, Math.fround(exact))) return 0;
  return Math.abs(got - exact) / ulp(exact);
}
