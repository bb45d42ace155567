/**
 * A typed WebAssembly emitter. Expressions are values, tiles are arrays of locals, unrolling is a JavaScript loop.
 *
 *   const module = new Module();
 *   module.func('add', { to: 'i32', from: 'i32', count: 'i32' }, (f, p) => {   // to[i] += from[i], four at a time
 *     f.repeat(p.count, () => {
 *       f.storeV128(p.to, f32x4.add(v128.load(p.to), v128.load(p.from)));
 *       for (const pointer of [p.to, p.from]) pointer.set(i32.add(pointer, 16));
 *     });
 *   });
 *   const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.toBytes()), { env: { memory } });
 *
 * An expression is the bytes that leave its value on the wasm stack. Using it twice computes it twice, and a
 * local in it is read where the expression is used: `f.let` fixes a value. Statements (let, set, store, repeat,
 * when) are emitted in the order of the calls. Locals are free: engines turn them into SSA values.
 */

export type Type = 'i32' | 'f32' | 'v128';
type Code = readonly (number | Code)[]; // nested, flattened once per function

export interface Expr<T extends Type> {
  readonly type: T;
  readonly code: Code;
}
export interface Local<T extends Type> extends Expr<T> {
  set(value: Expr<T>): void;
}
export type I32 = Expr<'i32'>;
export type F32 = Expr<'f32'>;
export type V128 = Expr<'v128'>;
type Int = I32 | number;

const VALUE_TYPE = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const;
const VOID = 0x40;

// ---------------------------------------------------------------- encoding

function uleb(n: number): number[] {
  const out = [];
  do {
    const low = n & 0x7f;
    n >>>= 7;
    out.push(n ? low | 0x80 : low);
  } while (n);
  return out;
}
function sleb(n: number): number[] {
  for (const out: number[] = []; ; ) {
    const low = n & 0x7f;
    n >>= 7;
    if ((n === 0 && !(low & 0x40)) || (n === -1 && low & 0x40)) return [...out, low];
    out.push(low | 0x80);
  }
}
/** Appends nested code. A session waits for tens of kilobytes of it: a plain loop and `concat` make no object per byte. */
function flatten(code: Code, out: number[] = []): number[] {
  for (let i = 0; i < code.length; i++) {
    const part = code[i];
    if (typeof part === 'number') out.push(part);
    else flatten(part, out);
  }
  return out;
}
const withSize = (bytes: number[]) => uleb(bytes.length).concat(bytes);
const vec = (items: number[][]) => uleb(items.length).concat(...items);
const utf8 = (text: string) => withSize([...new TextEncoder().encode(text)]);
const section = (id: number, body: number[]) => [id].concat(withSize(body));

// ---------------------------------------------------------------- operators

const expr = <T extends Type>(type: T, ...code: Code): Expr<T> => ({ type, code });
const int = (x: Int): I32 => (typeof x === 'number' ? expr('i32', 0x41, sleb(x)) : x);
const simd = (opcode: number) => [0xfd, ...uleb(opcode)];

const unary =
  <A extends Type, R extends Type>(r: R, op: number[]) =>
  (a: Expr<A>) =>
    expr(r, a.code, op);
const binary =
  <A extends Type, R extends Type>(r: R, op: number[]) =>
  (a: Expr<A>, b: Expr<A>) =>
    expr(r, a.code, b.code, op);
const intBinary = (op: number) => (a: Int, b: Int) => expr('i32', int(a).code, int(b).code, op);
const shift = (op: number[]) => (a: V128, bits: Int) => expr('v128', a.code, int(bits).code, op);
const vv = (opcode: number) => binary<'v128', 'v128'>('v128', simd(opcode));
const v = (opcode: number) => unary<'v128', 'v128'>('v128', simd(opcode));

/** `load(ptr, offset)`: the offset is an immediate, free on every engine. Alignment is only a hint. */
const loader =
  <T extends Type>(type: T, op: number[], align: number) =>
  (ptr: I32, offset = 0) =>
    expr(type, ptr.code, op, align, uleb(offset));

export const i32 = {
  const: (n: number) => int(n),
  add: intBinary(0x6a),
  sub: intBinary(0x6b),
  mul: intBinary(0x6c),
  and: intBinary(0x71),
  or: intBinary(0x72),
  xor: intBinary(0x73),
  shl: intBinary(0x74),
  divU: intBinary(0x6e),
  remU: intBinary(0x70),
  shrU: intBinary(0x76),
  ltU: intBinary(0x49),
  gtU: intBinary(0x4b),
  geU: intBinary(0x4f),
  eq: intBinary(0x46),
  eqz: unary<'i32', 'i32'>('i32', [0x45]),
  /** condition ? a : b, both evaluated */
  select: (condition: I32, a: Int, b: Int): I32 => expr('i32', int(a).code, int(b).code, condition.code, 0x1b),
  /** evaluates both operands twice: pass locals or constants */
  minU: (a: Int, b: Int): I32 => i32.select(i32.ltU(a, b), a, b),
  maxU: (a: Int, b: Int): I32 => i32.select(i32.gtU(a, b), a, b),
  reinterpretF32: unary<'f32', 'i32'>('i32', [0xbc]),
  load: loader('i32', [0x28], 2),
  load8U: loader('i32', [0x2d], 0),
  load16U: loader('i32', [0x2f], 1),
};
export const f32 = {
  const: (x: number) => expr('f32', 0x43, [...new Uint8Array(Float32Array.of(x).buffer)]),
  add: binary<'f32', 'f32'>('f32', [0x92]),
  mul: binary<'f32', 'f32'>('f32', [0x94]),
  div: binary<'f32', 'f32'>('f32', [0x95]),
  reinterpretI32: unary<'i32', 'f32'>('f32', [0xbe]),
  select: (condition: I32, a: F32, b: F32): F32 => expr('f32', a.code, b.code, condition.code, 0x1b),
  load: loader('f32', [0x2a], 2),
};
export const v128 = {
  const: (...bytes: number[]) => expr('v128', simd(0x0c), bytes),
  const16: (lane: number) => v128.const(...Array.from({ length: 16 }, (_, i) => (lane >> (8 * (i & 1))) & 255)),
  load: loader('v128', simd(0x00), 4),
  load8x8S: loader('v128', simd(0x01), 3),
  load8x8U: loader('v128', simd(0x02), 3),
  load16x4S: loader('v128', simd(0x03), 3),
  load8Splat: loader('v128', simd(0x07), 0),
  load16Splat: loader('v128', simd(0x08), 1),
  load32Splat: loader('v128', simd(0x09), 2),
  load64Splat: loader('v128', simd(0x0a), 3),
  load32Zero: loader('v128', simd(0x5c), 2),
  load64Zero: loader('v128', simd(0x5d), 3),
  /** `lanes` with one of them read from memory. */
  load32Lane: (ptr: I32, lanes: V128, lane: number, offset = 0): V128 =>
    expr('v128', ptr.code, lanes.code, simd(0x56), 2, uleb(offset), lane),
  not: v(0x4d),
  and: vv(0x4e),
  /** a & ~b */
  andNot: vv(0x4f),
  or: vv(0x50),
  xor: vv(0x51),
  swizzle: vv(0x0e),
  /** mask ? a : b, bit by bit */
  bitselect: (a: V128, b: V128, mask: V128): V128 => expr('v128', a.code, b.code, mask.code, simd(0x52)),
  shuffle: (a: V128, b: V128, lanes: number[]) => expr('v128', a.code, b.code, simd(0x0d), lanes),
};
export const i8x16 = {
  sub: vv(0x71),
  shrU: shift(simd(0x6d)),
  narrowI16x8S: vv(0x65),
  /** Of signed lanes, saturated to 0..255. */
  narrowI16x8U: vv(0x66),
};
/** 1 if any bit is set. */
export const anyTrue = unary<'v128', 'i32'>('i32', simd(0x53));
export const i16x8 = {
  splat: unary<'i32', 'v128'>('v128', simd(0x10)),
  extractLaneS: (a: V128, lane: number): I32 => expr('i32', a.code, simd(0x18), lane),
  narrowI32x4S: vv(0x85),
  /** Of signed lanes, saturated to 0..65535. */
  narrowI32x4U: vv(0x86),
  extendLowS: v(0x87),
  extendLowU: v(0x89),
  extendHighS: v(0x88),
  extendHighU: v(0x8a),
  shl: shift(simd(0x8b)),
  shrS: shift(simd(0x8c)),
  shrU: shift(simd(0x8d)),
  gtS: vv(0x31),
  add: vv(0x8e),
  sub: vv(0x91),
  mul: vv(0x95),
  /** (a · b + 2¹⁴) >> 15 */
  q15mulrSatS: vv(0x82),
  minS: vv(0x96),
  maxS: vv(0x98),
};
/** By themselves, what few need: a page that has none of them leaves them out. */
export const load16Lane = (ptr: I32, lanes: V128, lane: number): V128 =>
  expr('v128', ptr.code, lanes.code, simd(0x55), 1, 0, lane);
export const load8Lane = (ptr: I32, lanes: V128, lane: number): V128 =>
  expr('v128', ptr.code, lanes.code, simd(0x54), 0, 0, lane);
export const maxU16 = (a: V128, b: V128): V128 => expr('v128', a.code, b.code, simd(0x99));
export const i32x4 = {
  splat: unary<'i32', 'v128'>('v128', simd(0x11)),
  extractLane: (a: V128, lane: number): I32 => expr('i32', a.code, simd(0x1b), lane),
  extendLowI16x8S: v(0xa7),
  extendHighI16x8S: v(0xa8),
  extendLowI16x8U: v(0xa9),
  shl: shift(simd(0xab)),
  shrS: shift(simd(0xac)),
  shrU: shift(simd(0xad)),
  add: vv(0xae),
  sub: vv(0xb1),
  mul: vv(0xb5),
  eq: vv(0x37),
  ltS: vv(0x39),
  gtS: vv(0x3b),
  abs: v(0xa0),
  minS: vv(0xb6),
  minU: vv(0xb7),
  maxS: vv(0xb8),
  maxU: vv(0xb9),
  dotI16x8S: vv(0xba),
  /** Saturates; NaN gives 0. */
  truncSatF32x4S: v(0xf8),
  /** The lower two lanes; the others are 0. */
  truncSatF64x2S: v(0xfc),
};
export const i64x2 = {
  /** Of unsigned lanes 0 and 1, or 2 and 3. */
  extmulLowI32x4U: vv(0xde),
  extmulHighI32x4U: vv(0xdf),
};
export const f64x2 = {
  convertLowI32x4S: v(0xfe),
  div: vv(0xf3),
};
export const f32x4 = {
  const: (x: number) => f32x4.splat(f32.const(x)),
  splat: unary<'f32', 'v128'>('v128', simd(0x13)),
  /** Half to even. */
  nearest: v(0x6a),
  ceil: v(0x67),
  floor: v(0x68),
  eq: vv(0x41),
  ne: vv(0x42),
  lt: vv(0x43),
  gt: vv(0x44),
  le: vv(0x45),
  ge: vv(0x46),
  abs: v(0xe0),
  neg: v(0xe1),
  sqrt: v(0xe3),
  sub: vv(0xe5),
  add: vv(0xe4),
  mul: vv(0xe6),
  div: vv(0xe7),
  /** NaN of either operand; −0 is below 0. */
  min: vv(0xe8),
  max: vv(0xe9),
  /** b < a ? b : a; NaN in a stays. */
  pmin: vv(0xea),
  /** a < b ? b : a; NaN in a stays. */
  pmax: vv(0xeb),
  convertI32x4S: v(0xfa),
};
/** Relaxed SIMD: an engine without it rejects the whole module. Operands must be such that every engine agrees. */
export const relaxed = {
  /** Indices 0..15. */
  swizzle: vv(0x100),
  /** acc + Σ of 4 products per lane of signed bytes with bytes 0..127. */
  dotI8x16I7x16AddS: (signed: V128, unsigned: V128, acc: V128): V128 =>
    expr('v128', signed.code, unsigned.code, acc.code, simd(0x113)),
};

// ---------------------------------------------------------------- functions and modules

type Params = Record<string, Type>;
type ParamLocals<P extends Params> = { [K in keyof P]: Local<P[K]> };

export class Func {
  body: Code[] = [];
  locals: Type[] = [];
  readonly paramCount: number;
  constructor(paramCount: number) {
    this.paramCount = paramCount;
  }

  private emit(...code: Code) {
    this.body.push(code);
  }

  localAt<T extends Type>(type: T, index: number): Local<T> {
    return { type, code: [0x20, uleb(index)], set: (value) => this.emit(value.code, 0x21, uleb(index)) };
  }
  /** A new local, 0 at first. */
  local<T extends Type>(type: T): Local<T> {
    return this.localAt(type, this.paramCount + this.locals.push(type) - 1);
  }
  /** A new local holding `value` from here on. */
  let<T extends Type>(value: Expr<T>): Local<T> {
    const local = this.local(value.type);
    local.set(value);
    return local;
  }
  storeV128(ptr: I32, value: V128, offset = 0) {
    this.emit(ptr.code, value.code, simd(0x0b), 4, uleb(offset));
  }
  storeLane32(ptr: I32, value: V128, lane: number, offset = 0) {
    this.emit(ptr.code, value.code, simd(0x5a), 2, uleb(offset), lane);
  }
  storeF32(ptr: I32, value: F32, offset = 0) {
    this.emit(ptr.code, value.code, 0x38, 2, uleb(offset));
  }
  storeI32(ptr: I32, value: I32, offset = 0) {
    this.emit(ptr.code, value.code, 0x36, 2, uleb(offset));
  }
  storeI16(ptr: I32, value: I32, offset = 0) {
    this.emit(ptr.code, value.code, 0x3b, 1, uleb(offset));
  }
  storeI8(ptr: I32, value: I32, offset = 0) {
    this.emit(ptr.code, value.code, 0x3a, 0, uleb(offset));
  }

  /** Runs `body` count times; count may be 0. */
  repeat(count: Int, body: () => void) {
    if (count === 1) return body();
    const left = this.let(int(count));
    this.when(left, () => {
      this.emit(0x03, VOID);
      body();
      left.set(i32.sub(left, 1));
      this.emit(left.code, 0x0d, 0, 0x0b);
    });
  }
  /** Runs `body` while `condition` is not 0. @param condition emits it anew */
  loopWhile(condition: () => I32, body: () => void) {
    this.when(condition(), () => {
      this.emit(0x03, VOID);
      body();
      this.emit(condition().code, 0x0d, 0, 0x0b);
    });
  }
  when(condition: I32, then: () => void, otherwise?: () => void) {
    this.emit(condition.code, 0x04, VOID);
    then();
    if (otherwise) {
      this.emit(0x05);
      otherwise();
    }
    this.emit(0x0b);
  }
}

export class Module {
  private funcs: { name: string; type: number[]; code: number[] }[] = [];

  func<P extends Params>(name: string, params: P, body: (f: Func, p: ParamLocals<P>) => void) {
    const types = Object.values(params);
    const f = new Func(types.length);
    const entries = Object.entries(params).map(([key, type], i) => [key, f.localAt(type, i)]);
    body(f, Object.fromEntries(entries) as ParamLocals<P>);
    const runs: [number, Type][] = []; // the format wants (count, type)
    for (const t of f.locals) runs.at(-1)?.[1] === t ? runs.at(-1)![0]++ : runs.push([1, t]);
    const locals = vec(runs.map(([count, t]) => [...uleb(count), VALUE_TYPE[t]]));
    this.funcs.push({
      name,
      type: [0x60, ...vec(types.map((t) => [VALUE_TYPE[t]])), 0],
      code: withSize(flatten([locals, f.body, 0x0b])),
    });
  }

  /** The module imports `env.memory`; `shared` is the only difference between the two variants. */
  toBytes({ shared = false } = {}): Uint8Array<ArrayBuffer> {
    const limits = shared ? [0x03, uleb(1), uleb(65536)] : [0x00, uleb(1)];
    const funcs = this.funcs;
    const names = vec(funcs.map((f, i) => uleb(i).concat(utf8(f.name))));
    const bytes = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0].concat(
      section(1, vec(funcs.map((f) => f.type))),
      section(2, vec([flatten([utf8('env'), utf8('memory'), 0x02, limits])])),
      section(3, vec(funcs.map((_, i) => uleb(i)))),
      section(7, vec(funcs.map((f, i) => utf8(f.name).concat(0x00, uleb(i))))),
      section(10, vec(funcs.map((f) => f.code))),
      section(0, utf8('name').concat(section(1, names))),
    );
    return new Uint8Array(bytes);
  }
}
