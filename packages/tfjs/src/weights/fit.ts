/** Values that no integers stand for: a weight that holds them stays a float of tfjs's. */
import { codesInUse, floatsOf, type StoredCodes, type StoredValues } from './source.ts';

/** Scales from here up could overflow on the way through the kernels (docs/msd.md, §2). */
const LIMIT = 2 ** 90;

/** Why a manifest's codes have no values: those of a table may be infinite, but what they are made with has to be finite. */
export const whyWithoutLevels = ({ scale, min }: StoredCodes): string | undefined =>
  Number.isFinite(scale) && Number.isFinite(min)
    ? undefined
    : `the manifest has a scale of ${scale} and a minimum of ${min}`;

/** Why these values cannot be integers with a scale; `undefined` = they can. */
export function whyUnfit(stored: StoredValues): string | undefined {
  switch (stored.kind) {
    case 'float32':
      return whyAmong(stored.values);
    case 'float16':
      return whyAmong(floatsOf(stored));
    default: {
      const without = whyWithoutLevels(stored);
      if (without) return without;
      const { values, scale, min } = stored;
      const { low, high } = codesInUse(values);
      const real = Float32Array.of(low * scale + min, high * scale + min); // as stock decodes them; all others lie between
      const why = whyAmong(real);
      if (why) return why;
      const largest = Math.abs(scale) * (stored.kind === 'uint16' ? 256 : 1);
      return low < high && !(largest < LIMIT) ? `a scale of ${scale}, where MSD takes those below 2^90` : undefined;
    }
  }
}

function whyAmong(values: Float32Array): string | undefined {
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (Math.abs(value) < LIMIT) continue;
    return Number.isFinite(value)
      ? `the weights hold ${value.toPrecision(3)}, where MSD takes numbers below 2^90`
      : `the weights hold ${value}`;
  }
  return undefined;
}
