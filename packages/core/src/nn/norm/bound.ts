/**
 * How far the f32 contract of norm may be from the mathematics, element by element. With u = 2⁻²⁴, γ(k) = k·u/(1 − k·u), exact
 * z, d, s = √(Σd²/n + ε), and D = sumDepth(n):
 *
 *   z     |ẑ − z| ≤ e_z = (additions)·u·(|x| + |skip| + |skipBias|)
 *   mean  D additions and a division: |mean^ − mean| ≤ e_z + γ(D + 1)·mean|ẑ|;   d: that, e_z and one rounding = E
 *   s     the rms of d̂ is within R = rms(E) of d's, and √(·² + ε) moves no more than its argument: within R of s. Square, sum,
 *         division and ε add a relative a = γ(D + 3), what underflows 2⁻¹⁴⁸/s² more; the root halves that, h = a/(1 + √(1 − a))
 *   y     E/s + |d|·(error of 1/s), then one rounding for each of d·invStdDev, scale and bias
 *
 * A rounding into the subnormal range is off by 2⁻¹⁵⁰ at most. On a GPU (norm.wgsl.ts) u is 2⁻²³, since it may round either way,
 * a division 2.5 of that, 1/√ two; the additions are fewer, and numbers below 2⁻¹²⁶ may be 0.   (docs/nn.md, "Row reductions")
 */
import type { DeviceName } from '../../device-name.ts';
import { THREADS } from '../../wgsl/wgsl.ts';
import { gamma, U, UNDERFLOW } from '../rounding.ts';
import { sumDepth } from '../rows.ts';
import type { NormOp } from './contract.ts';

/** Values of a row, all of n elements. */
export interface NormRow {
  readonly x: ArrayLike<number>;
  readonly scale?: ArrayLike<number> | undefined;
  readonly bias?: ArrayLike<number> | undefined;
  readonly skip?: ArrayLike<number> | undefined;
  readonly skipBias?: ArrayLike<number> | undefined;
}

const HUGE = 2 ** 127;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const rms = (values: readonly number[]): number => Math.sqrt(mean(values.map((value) => value * value)));

/**
 * @returns for each element of y how far it may be from float64's; Infinity where a sum leaves the range of f32, or where ε = 0 and
 * the squares vanish
 */
export function normBound(
  { kind, epsilon }: Pick<NormOp, 'kind' | 'epsilon'>,
  { x, scale, bias, skip, skipBias }: NormRow,
  device?: DeviceName,
): number[] {
  const n = x.length;
  const onGpu = device === 'webgpu';
  const [u, tiny, division] = onGpu ? [2 * U, 2 ** -126, 2.5] : [U, UNDERFLOW, 1];
  const depth = onGpu ? Math.ceil(n / THREADS) + Math.log2(THREADS) : sumDepth(n);
  const terms = Array.from({ length: n }, (_, k) => [x[k], skip?.[k] ?? 0, skipBias?.[k] ?? 0]);
  const z = terms.map(([a, b, c]) => a + b + c);
  const additions = (skip ? 1 : 0) + (skipBias ? 1 : 0);
  const zError = terms.map(([a, b, c]) => {
    const size = Math.abs(a) + Math.abs(b) + Math.abs(c);
    return gamma(additions, u) * size + (onGpu ? 3 * tiny : 0);
  });

  const center = kind === 'layer' ? mean(z) : 0;
  const magnitude = mean(z.map((value, k) => Math.abs(value) + zError[k]));
  const centerError = kind === 'layer' ? mean(zError) + gamma(depth + division, u) * magnitude + tiny : 0;
  const d = z.map((value) => value - center);
  const dError = d.map((value, k) => {
    const moved = zError[k] + centerError;
    return kind === 'layer' ? moved + u * (Math.abs(value) + moved) + (onGpu ? tiny : 0) : moved;
  });

  const s = Math.sqrt(rms(d) ** 2 + Math.fround(epsilon));
  const moved = rms(dError);
  const [least, most] = [s - moved, s + moved];
  const a = gamma(depth + 2 + division, u) + (2 * tiny) / least ** 2;
  if (!(least > 0 && a < 0.5) || n * most ** 2 > HUGE || n * magnitude > HUGE)
    return z.map(() => Number.POSITIVE_INFINITY);
  const h = a / (1 + Math.sqrt(1 - a));
  const invMost = (1 + gamma(2, u)) / (least * (1 - h)) + tiny;
  const invLeast = (1 - gamma(2, u)) / (most * (1 + h)) - tiny;
  const invError = Math.max(invMost - 1 / s, 1 / s - invLeast);

  return d.map((value, k) => {
    let size = Math.abs(value) / s;
    let error = dError[k] * invMost + Math.abs(value) * invError;
    const round = () => {
      error += u * (size + error) + tiny;
    };
    round();
    if (scale) {
      size *= Math.abs(scale[k]);
      error *= Math.abs(scale[k]);
      round();
    }
    if (bias) {
      size += Math.abs(bias[k]);
      round();
    }
    return size + error > HUGE ? Number.POSITIVE_INFINITY : error;
  });
}
