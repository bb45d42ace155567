/** What the engine and the CPU support, tested once with modules of our own emitter. */
import { BackendUnavailableError } from '../errors.ts';
import { type Func, i32, i32x4, Module, relaxed, type V128, v128 } from './emitter.ts';
import { advance, range } from './loops.ts';
import { settledTime, warmUp } from './timing.ts';

/** @throws {@link BackendUnavailableError} where WebAssembly or its SIMD128 is missing, or the page may not compile any */
export function requireSimd(): void {
  const probe = new Module();
  probe.func('probe', {}, (f) => {
    f.let(v128.const16(0));
  });
  const bytes = probe.toBytes();
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(bytes))
    throw new BackendUnavailableError(
      "createBackend: this engine has no WebAssembly SIMD128. Use device 'reference', or a browser from 2021 or later.",
    );
  try {
    new WebAssembly.Module(bytes);
  } catch (cause) {
    // A valid module can only be refused by a policy.
    throw new BackendUnavailableError(
      `createBackend: this page may not compile WebAssembly (${cause instanceof Error ? cause.message : String(cause)}). Its Content-Security-Policy needs script-src 'wasm-unsafe-eval'; or use device 'reference'.`,
      { cause },
    );
  }
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

/**
 * How an engine's relaxed dot takes a whole byte as its second operand: as 0..255, or as −128..127. Bytes 0..127 are the
 * same to all of them.
 */
export type ByteOperand = 'unsigned' | 'signed';

/** The relaxed dot of int8 operands, as this engine runs it on this CPU. */
export interface RelaxedDot {
  /**
   * How it treats a second operand of 8 bits, tested as exact over all 256 values; `null` if it saturates or mixes
   * both.
   */
  readonly byteOperand: ByteOperand | null;
  /** Its rate over that of `i32x4.dot_i16x8_s` and an addition, in products per second, both in registers; 0 without a clock that runs. */
  readonly gain: number;
}

interface Scope {
  readonly process?: { readonly versions?: { readonly v8?: string; readonly bun?: string } };
  readonly navigator?: { readonly userAgentData?: { readonly brands?: readonly { brand: string; version: string }[] } };
}

/**
 * Does the engine keep the order of the steps of a turn (docs/msd.md, "Turns")? V8 does from 13 on, of Node 24 and Chromium 130; before, its
 * optimiser loads the operands of all steps before it multiplies. No feature of WebAssembly tells, and a measurement takes
 * time and depends on how busy the machine is, so this is decided by the version. Other engines gain nothing by more steps.
 */
export function keepsOrder({ process, navigator }: Scope = globalThis as Scope): boolean {
  const { v8, bun } = process?.versions ?? {};
  const chromium = navigator?.userAgentData?.brands?.find(({ brand }) => brand === 'Chromium');
  const version = v8 === undefined ? Number(chromium?.version) / 10 : Number.parseFloat(v8);
  return version >= 13 && bun === undefined; // which states a version of V8, and is another engine
}

let known: RelaxedDot | null | undefined;
let knownProbe: RelaxedProbe | null | undefined;

/** @returns `null` where the engine has no relaxed SIMD */
export function relaxedDot(): RelaxedDot | null {
  if (known !== undefined) return known;
  const gain = askEngine();
  return (known = gain ? { byteOperand: byteOperandOf(relaxedProbe()!), gain: gain() } : null);
}

let asked: (() => number) | undefined;

/**
 * Has the engine compile, in the background, what {@link relaxedDot} measures. Call it when you know that a matrix will
 * come, and do something else in the meantime. A few milliseconds, once.
 *
 * @returns the measurement; nothing where there is no relaxed SIMD
 */
export function askEngine(): (() => number) | undefined {
  if (!asked && relaxedProbe()) asked = beginGain();
  return asked;
}

/**
 * The results of the relaxed dot for test bytes. Every worker is tested, since nothing guarantees that another core
 * gives the same results.
 */
export interface RelaxedProbe {
  /** Exports `dots(pairs, out, count)`: out[i] = relaxed dot of the two vectors of pair i. */
  readonly module: WebAssembly.Module;
  /** Pairs of 16 bytes: a in {-128, 127}, the ends of what digits may be, b any bytes. */
  readonly pairs: Uint8Array;
  /** What came out here, 16 bytes per pair. */
  readonly dots: Uint8Array;
}

/** @returns `null` where the engine has no relaxed SIMD; about a millisecond, once */
export function relaxedProbe(): RelaxedProbe | null {
  if (knownProbe !== undefined) return knownProbe;
  const bytes = dotsModule().toBytes();
  if (!WebAssembly.validate(bytes)) return (knownProbe = null);
  const module = new WebAssembly.Module(bytes);
  const pairs = probePairs();
  const memory = new WebAssembly.Memory({ initial: Math.ceil((1.5 * pairs.length) / 65536) });
  new Uint8Array(memory.buffer).set(pairs);
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  (exports.dots as (pairs: number, out: number, count: number) => void)(0, pairs.length, pairs.length / 32);
  knownProbe = { module, pairs, dots: new Uint8Array(memory.buffer).slice(pairs.length, 1.5 * pairs.length) };
  return knownProbe;
}

function dotsModule(): Module {
  const module = new Module();
  module.func('dots', { pairs: 'i32', out: 'i32', count: 'i32' }, (f, p) => {
    f.repeat(p.count, () => {
      f.storeV128(p.out, relaxed.dotI8x16I7x16AddS(v128.load(p.pairs), v128.load(p.pairs, 16), ZERO));
      advance(p.pairs, 32);
      advance(p.out, 16);
    });
  });
  return module;
}

/** Rows of signs, a bit each: equal ones, and each nibble of mixed ones in each of the four lanes. */
const SIGNS = [0x0000, 0xffff, 0x5a3c, 0xc5a3, 0x3c5a, 0xa3c5] as const;

/** Every byte beside itself, where 16-bit sums would saturate, and beside its neighbours: another quarter of them in each lane. */
function probePairs(): Uint8Array {
  const pairs = new Uint8Array(64 * 3 * SIGNS.length * 32);
  let at = 0;
  for (let code = 0; code < 64; code++)
    for (const spread of [0, 1, 128])
      for (const signs of SIGNS) {
        for (let i = 0; i < 16; i++) {
          pairs[at + i] = (signs >> i) & 1 ? -128 : 127;
          pairs[at + 16 + i] = code + 64 * (i >> 2) + spread * (i & 3);
        }
        at += 32;
      }
  return pairs;
}

function byteOperandOf({ pairs, dots }: RelaxedProbe): ByteOperand | null {
  const sums = new Int32Array(dots.buffer);
  const signedBytes = new Int8Array(pairs.buffer);
  const takes = (operand: Uint8Array | Int8Array): boolean =>
    sums.every((sum, lane) => {
      const at = 32 * (lane >> 2) + 4 * (lane & 3);
      let expected = 0;
      for (let i = at; i < at + 4; i++) expected += signedBytes[i] * operand[i + 16];
      return sum === expected;
    });
  return takes(pairs) ? 'unsigned' : takes(signedBytes) ? 'signed' : null;
}

/** Begins to find out the gain, from eight chains in registers: the engine optimises them in the background. */
function beginGain(): () => number {
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
  const runs = [exports.i16, exports.i8].map((run) => () => (run as (count: number) => void)(2000));
  const waits = runs.map((run) => warmUp(() => run));
  return () => {
    for (const wait of waits) wait();
    const [slow, fast] = settledTime(runs);
    return fast > 0 ? (2 * slow) / fast : 0; // 16 products instead of 8
  };
}

const ZERO = v128.const16(0);
const ADDRESS = i32.const(0);
