import { type Func, type I32, i16x8, i32, i32x4, type V128, v128 } from '../wasm/emitter.ts';
import { eachGroup } from './format.ts';

/** The block's zero codes as i16 lanes in the order of an operand with 2 k: (row 4g) twice, (row 4g+1) twice, … */
export function zeroCodes16(f: Func, address: I32): V128[] {
  const bytes = f.let(v128.load(address));
  return eachGroup((g) => {
    const rows = [0, 1, 2, 3].flatMap((row) => [4 * g + row, 4 * g + row]);
    return f.let(i16x8.extendLowU(v128.shuffle(bytes, bytes, [...rows, ...rows])));
  });
}

/** −(zero code) of rows 4g … 4g+3 as i32 lanes, from 16 bytes. */
export function negatedZeroCodes32(f: Func, address: I32): V128[] {
  const minusOne = i32x4.splat(i32.const(-1));
  return eachGroup((g) => {
    const wide = i32x4.extendLowI16x8U(i16x8.extendLowU(v128.load32Zero(address, 4 * g)));
    return f.let(i32x4.mul(wide, minusOne));
  });
}
