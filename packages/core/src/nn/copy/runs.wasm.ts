/** Bytes in a row, copied or filled: 32 or 16 at a time, nothing past the end. The pointers move. */
import { type Func, type I32, i32, i32x4, type Local, type V128, v128 } from '../../wasm/emitter.ts';
import { advance } from '../../wasm/loops.ts';

export function copyRun(f: Func, from: Local<'i32'>, to: Local<'i32'>, bytes: I32): void {
  const goOn = (by: number) => {
    for (const pointer of [from, to]) advance(pointer, by);
  };
  f.repeat(i32.shrU(bytes, 5), () => {
    const [a, b] = [0, 16].map((offset) => f.let(v128.load(from, offset)));
    f.storeV128(to, a);
    f.storeV128(to, b, 16);
    goOn(32);
  });
  f.when(i32.and(bytes, 16), () => {
    f.storeV128(to, v128.load(from));
    goOn(16);
  });
  f.repeat(i32.and(i32.shrU(bytes, 2), 3), () => {
    f.storeI32(to, i32.load(from));
    goOn(4);
  });
  f.repeat(i32.and(bytes, 3), () => {
    f.storeI8(to, i32.load8U(from));
    goOn(1);
  });
}

/** Sixteen bytes again and again, the last ones as far as they go. */
export function fillRun(f: Func, to: Local<'i32'>, sixteen: V128, bytes: I32): void {
  const left = f.let(bytes);
  f.repeat(i32.shrU(left, 4), () => {
    f.storeV128(to, sixteen);
    advance(to, 16);
  });
  left.set(i32.and(left, 15));
  const words = [0, 1, 2].map((lane) => f.let(i32x4.extractLane(sixteen, lane)));
  for (const [i, word] of words.entries()) f.when(i32.gtU(left, 4 * i + 3), () => f.storeI32(to, word, 4 * i));
  advance(to, i32.and(left, 12));
  left.set(i32.and(left, 3));
  for (const i of [0, 1, 2]) f.when(i32.gtU(left, i), () => f.storeI8(to, i32.shrU(words[0], 8 * i), i));
}
