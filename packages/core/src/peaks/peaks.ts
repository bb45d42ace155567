/** The limits of the machine, measured in the same run as the kernels: dot products in registers, bytes read. */
import { f32x4, i32, i32x4, type Local, Module, relaxed, type V128, v128 } from '../wasm/emitter.ts';
import { instantiate } from '../wasm/instantiate.ts';
import { advance, range } from '../wasm/loops.ts';

/** A loop that does nothing but one thing. */
export interface Peak {
  readonly name: string;
  /** Multiplications of one call; bytes of one that reads. */
  readonly macs: number;
  run(): void;
}

const CHAINS = 12; // fewer are latency-bound
const TURNS = 20_000;

/** acc += f(acc, b) in twelve independent chains. */
function chains(module: Module, step: (acc: V128, b: V128) => V128): void {
  module.func('peak', { data: 'i32', turns: 'i32' }, (f, p) => {
    const b = f.let(v128.load(p.data));
    const acc: Local<'v128'>[] = range(CHAINS).map((i) => f.let(v128.load(p.data, 16 * i)));
    f.repeat(p.turns, () => {
      for (const chain of acc) chain.set(step(chain, b));
    });
    for (const [i, chain] of acc.entries()) f.storeV128(p.data, chain, 16 * i);
  });
}

/** int16 products, exact everywhere. @param scratch address of 256 bytes */
export function dotPeak(memory: WebAssembly.Memory, scratch: number): Peak {
  const run = instantiate(memory, 'peak', (module) =>
    chains(module, (acc, b) => i32x4.add(acc, i32x4.dotI16x8S(acc, b))),
  );
  return { name: 'dot peak', macs: TURNS * CHAINS * 8, run: () => run(scratch, TURNS) };
}

/** int8 × int7 products with relaxed SIMD; `undefined` where the engine lacks it. @param scratch address of 256 bytes */
export function relaxedDotPeak(memory: WebAssembly.Memory, scratch: number): Peak | undefined {
  const emit = (module: Module) => chains(module, (acc, b) => relaxed.dotI8x16I7x16AddS(b, b, acc));
  const module = new Module();
  emit(module);
  if (!WebAssembly.validate(module.toBytes())) return undefined;
  const run = instantiate(memory, 'peak', emit);
  return { name: 'relaxed dot peak', macs: TURNS * CHAINS * 16, run: () => run(scratch, TURNS) };
}

/** f32 products and sums, rounded apart. @param scratch address of 256 bytes */
export function mulAddPeak(memory: WebAssembly.Memory, scratch: number): Peak {
  const run = instantiate(memory, 'peak', (module) => chains(module, (acc, b) => f32x4.add(f32x4.mul(acc, b), b)));
  return { name: 'mul and add peak', macs: TURNS * CHAINS * 4, run: () => run(scratch, TURNS) };
}

/** Regions read side by side: prefetchers follow several streams, and one alone gets a half to a third of the bandwidth. */
const STREAMS = 4;

/**
 * Sums [from, from + bytes) in 16-byte loads; `macs` counts bytes, so that its "GMAC/s" are GB/s.
 *
 * @param pieceBytes of a call, which goes on where the last one ended: short calls come through undisturbed on a busy machine. Default: all
 */
export function readBandwidth(
  memory: WebAssembly.Memory,
  from: number,
  bytes: number,
  scratch: number,
  pieceBytes: number = bytes,
): Peak {
  const lines = Math.floor(pieceBytes / (128 * STREAMS));
  let at = 0;
  const run = instantiate(memory, 'read', (module) =>
    module.func('read', { from: 'i32', lines: 'i32', to: 'i32' }, (f, p) => {
      const acc = range(8).map(() => f.let(v128.const16(0)));
      const streams = range(STREAMS).map((stream) => f.let(i32.add(p.from, 128 * lines * stream)));
      f.repeat(p.lines, () => {
        for (const stream of streams) {
          for (const [i, sum] of acc.entries()) sum.set(i32x4.add(sum, v128.load(stream, 16 * i)));
          advance(stream, 128);
        }
      });
      f.storeV128(
        p.to,
        acc.reduce((a, b) => f.let(i32x4.add(a, b))),
      );
    }),
  );
  return {
    name: 'read',
    macs: 128 * STREAMS * lines,
    run: () => {
      run(from + at, lines, scratch);
      at += pieceBytes;
      if (at + pieceBytes > bytes) at = 0;
    },
  };
}
