/**
 * 2ˣ for x ≤ 0: what is left of a key whose score is that far below the row's maximum.
 *
 *   x = max(x, −127);  n = rne(x);  r = fl(x − n)  (exact);  p = c6;  p = fl(fl(p r) + c_k), k = 5..0;  bits(p) + n·2²³
 *
 * rne(x) = fl(fl(x + 1.5·2²³) − 1.5·2²³), whose low bits are n. 1 at 0, exactly 0 from −127 down.
 * Within 1.23 ulp, 1.03e-7 of it, for x ≥ −126 (all floats looked at); off by 2⁻¹²⁷ at most below.
 */
import { scalarLanes } from '../nn/elementwise/lanes.reference.ts';
import type { MoreLanes } from '../nn/elementwise/lanes.ts';

export const EXP2: readonly number[] = [
  1, 0.6931471824645996, 0.24022647738456726, 0.055503323674201965, 0.009618437848985195, 0.0013398887822404504,
  0.0001535335322842002,
];
export const EXP2_LEAST = -127;
/** Adding it leaves no room for a fraction. */
export const ROUNDER = 12582912;

/** What it is made of. */
export type Exp2Lanes<V> = Pick<
  MoreLanes<V>,
  'constant' | 'add' | 'sub' | 'mul' | 'pmax' | 'bits' | 'float' | 'addInt' | 'shiftLeft'
>;

export function exp2<V>(f: Exp2Lanes<V>, x: V): V {
  const clamped = f.pmax(x, f.constant(EXP2_LEAST));
  const t = f.add(clamped, f.constant(ROUNDER));
  const r = f.sub(clamped, f.sub(t, f.constant(ROUNDER)));
  const p = EXP2.slice(0, -1).reduceRight((sum, c) => f.add(f.mul(sum, r), f.constant(c)), f.constant(EXP2.at(-1)!));
  return f.float(f.addInt(f.bits(p), f.shiftLeft(f.bits(t), 23)));
}

/** From −126 up; proved by looking at all floats. */
export const EXP2_ERROR = 1.04e-7;

/**
 * On a number. In the lanes above, a NaN with a payload may come out as a number; its row has to be NaN all the same.
 */
export const exp2Of = (x: number): number => (Number.isNaN(x) ? x : exp2(scalarLanes, x));
