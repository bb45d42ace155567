/** What the engine and the CPU can do, asked once with modules of our own emitter. */
import { BackendUnavailableError } from '../errors.ts';
import type { ByteOperand } from '../formats/quads.ts';
import { type Func, i32, i32x4, Module, relaxed, type V128, v128 } from '../wasm/emitter.ts';
import { range } from '../wasm/loops.ts';
import { bestTime, WARM_MS } from './timing.ts';

/** @throws {@link BackendUnavailableError} where WebAssembly or its SIMD128 is missing */
export function requireSimd(): void {
  const probe = new Module();
  probe.func('probe', {}, (f) => {
    f.let(v128.const16(0));
  });
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(probe.toBytes()))
    throw new BackendUnavailableError(
      "createBackend: this engine has no WebAssembly SIMD128. Use device 'reference', or a browser from 2021 or later.",
    );
}

/** @throws {@link RangeError} for an unknown carrier, {@link BackendUnavailableError} for 'i8' without relaxed SIMD */
export function requireCarrier(carrier: CarrierChoice = 'auto'): void {
  if (carrier !== 'auto' && carrier !== 'i16' && carrier !== 'i8')
    throw new RangeError(`createBackend: carrier expected 'auto', 'i16' or 'i8', got ${String(carrier)}.`);
  if (carrier === 'i8' && !relaxedDot())
    throw new BackendUnavailableError(
      "createBackend: this engine has no relaxed SIMD, which carrier 'i8' needs. Use 'auto', or 'i16', which gives the same bits.",
    );
}

/** 'i16' runs everywhere, 'i8' takes relaxed SIMD where the weights fit it; 'auto' takes the faster one. */
export type CarrierChoice = 'auto' | 'i16' | 'i8';

/** The relaxed dot of int8 operands, as this engine runs it on this CPU. */
export interface RelaxedDot {
  /** How it takes a second operand of 8 bits, proved exact over all 256 values; `null` where it saturates or mixes. */
  readonly byteOperand: ByteOperand | null;
  /** Its rate over that of `i32x4.dot_i16x8_s` and an addition, in products per second, both in registers. */
  readonly gain: number;
}

let known: RelaxedDot | null | undefined;

/** @returns `null` where the engine has no relaxed SIMD */
export function relaxedDot(): RelaxedDot | null {
  if (known !== undefined) return known;
  const bytes = dotModule().toBytes();
  known = WebAssembly.validate(bytes) ? { byteOperand: probeBytes(bytes), gain: probeRate() } : null;
  return known;
}

/** out = relaxed dot of the vectors at `a` and `b`. */
function dotModule(): Module {
  const module = new Module();
  module.func('dot', { a: 'i32', b: 'i32', out: 'i32' }, (f, p) => {
    f.storeV128(p.out, relaxed.dotI8x16I7x16AddS(v128.load(p.a), v128.load(p.b), ZERO));
  });
  return module;
}

function probeBytes(bytes: Uint8Array<ArrayBuffer>): ByteOperand | null {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const dot = exports.dot as (a: number, b: number, out: number) => void;
  const a = new Int8Array(memory.buffer, 0, 16);
  const b = new Uint8Array(memory.buffer, 16, 16);
  const out = new Int32Array(memory.buffer, 32, 4);
  let unsigned = true;
  let signed = true;
  // Every byte beside itself, where 16-bit sums would saturate, and beside its neighbours; signs equal and mixed.
  for (let code = 0; code < 256; code++)
    for (const spread of [0, 1, 128])
      for (const signs of [0x0000, 0xffff, 0x5a3c]) {
        for (let i = 0; i < 16; i++) {
          a[i] = (signs >> i) & 1 ? -127 : 127;
          b[i] = code + spread * i;
        }
        dot(0, 16, 32);
        for (let lane = 0; lane < 4; lane++) {
          const at = range(4).map((i) => 4 * lane + i);
          unsigned &&= out[lane] === at.reduce((sum, i) => sum + a[i] * b[i], 0);
          signed &&= out[lane] === at.reduce((sum, i) => sum + a[i] * ((b[i] << 24) >> 24), 0);
        }
      }
  return unsigned ? 'unsigned' : signed ? 'signed' : null;
}

/** Products per second of both instructions, from eight chains in registers. */
function probeRate(): number {
  const module = new Module();
  const chains = (name: string, step: (acc: V128, operand: V128) => V128) =>
    module.func(name, { count: 'i32' }, (f: Func, p) => {
      const operand = f.let(v128.load(ADDRESS));
      const acc = range(8).map(() => f.let(v128.load(ADDRESS)));
      f.repeat(p.count, () => {
        for (const sum of acc) sum.set(step(sum, operand));
      });
      f.storeV128(
        ADDRESS,
        acc.reduce<V128>((a, b) => i32x4.add(a, b), ZERO),
      );
    });
  chains('i16', (acc, operand) => i32x4.add(acc, i32x4.dotI16x8S(acc, operand)));
  chains('i8', (acc, operand) => relaxed.dotI8x16I7x16AddS(acc, operand, acc));
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), { env: { memory } });
  const [i16, i8] = [exports.i16, exports.i8].map((run) => () => (run as (count: number) => void)(2000));
  for (const start = performance.now(); performance.now() - start < 2 * WARM_MS; ) {
    i16();
    i8();
  }
  const [slow, fast] = bestTime([i16, i8]);
  return (2 * slow) / fast; // 16 products instead of 8
}

const ZERO = v128.const16(0);
const ADDRESS = i32.const(0);
