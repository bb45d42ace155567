/** Factors of the channels of K, from the keys of a full page 0: the largest finite |k| of keys 1 … 63, of a channel and its partner. */
import { INFINITY_BITS, overLanes, TINY_BITS } from '../decompose/integers.wasm.ts';
import { type Func, f32, type I32, i32, i32x4, v128 } from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';
import { PANEL } from './page.ts';

export interface FactorPlaces {
  readonly page: I32;
  readonly channels: I32;
  readonly keySize: I32;
  readonly factors: I32;
  readonly inverses: I32;
  /** Channels that rotary embedding turned, in pairs. */
  readonly rotarySize: I32;
  /** 1: neighbours are pairs. */
  readonly isInterleaved: I32;
}

export function findFactors(
  f: Func,
  { page, channels, keySize, factors, inverses, rotarySize, isInterleaved }: FactorPlaces,
): void {
  const absolute = f.let(i32x4.splat(i32.const(0x7fffffff)));
  const infinity = f.let(i32x4.splat(i32.const(INFINITY_BITS)));
  const notFirst = f.let(v128.const(...range(16).map((byte) => (byte < 4 ? 0 : 255))));
  const panel = f.let(i32.mul(keySize, 4 * PANEL));
  const [at, to] = [f.let(page), f.let(inverses)];
  // The largest of each channel, stored for now where its inverse will be.
  f.repeat(channels, () => {
    const most = f.let(v128.const16(0));
    for (const p of range(PAGE_KEYS / PANEL))
      for (const g of range(PANEL / 4)) {
        const bits = f.let(v128.and(v128.load(i32.add(at, i32.mul(panel, p)), 16 * g), absolute));
        const finite = f.let(v128.and(bits, i32x4.gtS(infinity, bits)));
        most.set(i32x4.maxU(most, p + g === 0 ? v128.and(finite, notFirst) : finite));
      }
    f.storeI32(to, overLanes(f, i32x4.maxU, most));
    advance(at, 4 * PANEL);
    advance(to, 4);
  });
  const half = f.let(i32.shrU(rotarySize, 1));
  const channel = f.let(i32.const(0));
  const factor = f.let(factors);
  f.repeat(channels, () => {
    const own = f.let(largestOf(channel));
    f.when(i32.ltU(channel, rotarySize), () => {
      const across = i32.select(i32.ltU(channel, half), i32.add(channel, half), i32.sub(channel, half));
      const other = f.let(largestOf(i32.select(isInterleaved, i32.xor(channel, 1), across)));
      own.set(i32.maxU(own, other));
    });
    f.storeF32(factor, f32.select(i32.ltU(own, TINY_BITS), f32.const(1), f32.reinterpretI32(own)));
    advance(factor, 4);
    advance(channel, 1);
  });
  const [read, write] = [f.let(factors), f.let(inverses)];
  f.repeat(channels, () => {
    f.storeF32(write, f32.div(f32.const(1), f32.load(read)));
    for (const pointer of [read, write]) advance(pointer, 4);
  });

  function largestOf(channel: I32): I32 {
    return i32.load(i32.add(inverses, i32.shl(channel, 2)));
  }
}
