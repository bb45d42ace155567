/** Floats that a quantized manifest was decoded to: their integers are found again. */
import type { StoredCodes } from './source.ts';

const LEVELS = 256;
/** Decoding `code · scale + min` to f32 rounds once: half a step of the largest magnitude. */
const ROUNDING = 2 ** -23;

/** The codes of values that lie on an even grid of 256 levels, if they do. */
export function gridOf(values: Float32Array): Extract<StoredCodes, { kind: 'uint8' }> | undefined {
  const distinct = new Set<number>();
  for (const value of values) {
    if (!distinct.has(value)) {
      if (distinct.size === LEVELS || !Number.isFinite(value)) return undefined;
      distinct.add(value);
    }
  }
  const levels = [...distinct].sort((a, b) => a - b);
  const [min, max] = [levels[0] ?? 0, levels.at(-1) ?? 0];
  if (levels.length < 2) return undefined; // one value is exact in every form
  let gap = Number.POSITIVE_INFINITY;
  for (let i = 1; i < levels.length; i++) gap = Math.min(gap, levels[i]! - levels[i - 1]!);
  const steps = Math.round((max - min) / gap);
  if (steps >= LEVELS) return undefined;
  const scale = (max - min) / steps;
  const tolerance = 2 * ROUNDING * Math.max(Math.abs(min), Math.abs(max));
  const codeOf = new Map<number, number>();
  for (const value of levels) {
    const code = Math.round((value - min) / scale);
    if (Math.abs(code * scale + min - value) > tolerance) return undefined;
    codeOf.set(value, code);
  }
  const codes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = codeOf.get(values[i]!)!;
  return { kind: 'uint8', values: codes, scale, min };
}
