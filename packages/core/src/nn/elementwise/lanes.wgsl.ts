/**
 * One lane as WGSL text: f32, i32 and bool. Operations give statements, functions that several kernels share are declared once.
 * NaN and infinities are recognised by their bits: WGSL may assume that no float is one, and does not allow them as
 * constants.
 */
import { wgslLanes } from '../../activations/activations.wgsl.ts';
import { f32Bits } from '../../numbers.ts';
import { range } from '../../wasm/loops.ts';
import type { MoreLanes } from './lanes.ts';

/** Text that grows as lanes are computed with. */
export interface WgslBody {
  readonly lanes: MoreLanes<string>;
  /** Statements so far. */
  statements(): string;
  /** What they call, by name. */
  readonly declarations: ReadonlyMap<string, string>;
}

const FUNCTIONS = {
  isNaN: 'fn isNaN(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }',
  areNumbers: 'fn areNumbers(a: f32, b: f32) -> bool { return !isNaN(a) && !isNaN(b); }',
  least:
    'fn least(a: f32, b: f32) -> f32 { return select(select(select(b, a, a < b || (a == b && bitcast<i32>(a) < 0)), b, isNaN(b)), a, isNaN(a)); }',
  most: 'fn most(a: f32, b: f32) -> f32 { return select(select(select(b, a, b < a || (a == b && bitcast<i32>(b) < 0)), b, isNaN(b)), a, isNaN(a)); }',
  toInt:
    'fn toInt(x: f32) -> i32 { return select(select(i32(clamp(x, -2147483648.0, 2147483520.0)), 2147483647, x >= 2147483648.0), 0, isNaN(x)); }',
  divInt: `fn divInt(a: i32, b: i32) -> i32 {
  if (b == 0) { return select(select(i32(-2147483647 - 1), 2147483647, a > 0), 0, a == 0); }
  if (b == -1) { return select(-a, 2147483647, a == i32(-2147483647 - 1)); }
  return a / b;
}`,
  mulHigh: `fn mulHigh(a: i32, b: i32) -> i32 {
  let x = vec2u(bitcast<u32>(a) & 0xffffu, bitcast<u32>(a) >> 16u);
  let y = vec2u(bitcast<u32>(b) & 0xffffu, bitcast<u32>(b) >> 16u);
  let middle = x.y * y.x + ((x.x * y.x) >> 16u);
  return bitcast<i32>(x.y * y.y + (middle >> 16u) + ((x.x * y.y + (middle & 0xffffu)) >> 16u));
}`,
  lookUp: `fn lookUp(low: u32, high: u32, at: u32) -> i32 {
  let shift = 8u * (at & 3u);
  return bitcast<i32>((low >> shift) | select(high << (32u - shift), 0u, shift == 0u));
}`,
} as const;

/** Bits that a compiler cannot treat as a constant. */
const unknownBits = (name: string, value: number): string =>
  `var<private> ${name}: u32 = 0x${f32Bits(value).toString(16)}u;`;

/** @param zero a u32 that is 0, without the compiler knowing it */
export function wgslBody(zero: string): WgslBody {
  const declarations = new Map<string, string>();
  const blocks: string[][] = [[]];
  let names = 0;
  const say = (statement: string): void => {
    blocks[blocks.length - 1].push(statement);
  };
  const declare = (kind: 'let' | 'var', expression: string): string => {
    const name = `t${names++}`;
    say(`${kind} ${name} = ${expression};`);
    return name;
  };
  const value = (expression: string): string => declare('let', expression);
  const within = <T>(body: () => T): { result: T; text: string } => {
    blocks.push([]);
    const result = body();
    return { result, text: blocks.pop()!.join('\n') };
  };
  const uses = (...functions: (keyof typeof FUNCTIONS)[]): void => {
    for (const name of functions) declarations.set(name, FUNCTIONS[name]);
  };
  const called = (name: keyof typeof FUNCTIONS, ...args: string[]): string => {
    if (name === 'least' || name === 'most' || name === 'toInt') uses('isNaN');
    uses(name);
    return value(`${name}(${args.join(', ')})`);
  };
  const operator =
    (symbol: string) =>
    (a: string, b: string): string =>
      value(`${a} ${symbol} ${b}`);
  /** A compiler that assumes there is no NaN may return anything for one. */
  const comparison =
    (symbol: string) =>
    (a: string, b: string): string => {
      uses('isNaN', 'areNumbers');
      return value(`${a} ${symbol} ${b} && areNumbers(${a}, ${b})`);
    };
  const prefix =
    (text: string) =>
    (a: string): string =>
      value(`${text}(${a})`);
  const base = wgslLanes(value);

  const lanes: MoreLanes<string> = {
    ...base,
    constant(number) {
      if (Number.isFinite(Math.fround(number))) return base.constant(number);
      const name = Number.isNaN(number) ? 'nanBits' : number < 0 ? 'minusInfinityBits' : 'infinityBits';
      declarations.set(name, unknownBits(name, number));
      return `bitcast<f32>(${name})`;
    },
    sqrt: prefix('sqrt'),
    floor: prefix('floor'),
    ceil: prefix('ceil'),
    negate: (a) => value(`bitcast<f32>(bitcast<u32>(${a}) ^ 0x80000000u)`),
    rounded: (a) => value(`bitcast<f32>(bitcast<u32>(${a}) | ${zero})`),
    min: (a, b) => called('least', a, b),
    max: (a, b) => called('most', a, b),

    less: comparison('<'),
    lessOrEqual: comparison('<='),
    equal: comparison('=='),
    lessInt: operator('<'),
    equalInt: operator('=='),
    and: operator('&&'),
    or: operator('||'),
    xor: operator('!='),
    not: prefix('!'),
    select: (mask, then, otherwise) => value(`select(${otherwise}, ${then}, ${mask})`),

    int: (number) => `bitcast<i32>(0x${(number >>> 0).toString(16)}u)`,
    addInt: operator('+'),
    subInt: operator('-'),
    mulInt: operator('*'),
    divInt: (a, b) => called('divInt', a, b),
    mulHigh: (a, b) => called('mulHigh', a, b),
    minInt: (a, b) => value(`min(${a}, ${b})`),
    maxInt: (a, b) => value(`max(${a}, ${b})`),
    andInt: operator('&'),
    orInt: operator('|'),
    xorInt: operator('^'),
    shiftLeft: (a, bits) => value(`${a} << ${bits}u`),
    shiftRight: (a, bits) => value(`bitcast<i32>(bitcast<u32>(${a}) >> ${bits}u)`),
    shiftRightSigned: (a, bits) => value(`${a} >> ${bits}u`),

    bits: prefix('bitcast<i32>'),
    float: prefix('bitcast<f32>'),
    toInt: (a) => called('toInt', a),
    toFloat: prefix('f32'),
    maskToInt: (mask) => value(`select(0, 1, ${mask})`),

    lookUp(table, at) {
      uses('lookUp');
      const words = range(8).map((i) => range(4).reduce((word, j) => word + table[4 * i + j] * 2 ** (8 * j), 0));
      const name = `table${words[7]}`;
      declarations.set(
        name,
        `var<private> ${name}: array<u32, 9> = array<u32, 9>(${words.map((word) => `${word}u`).join(', ')}, 0u);`,
      );
      const index = value(`u32(${at})`);
      return value(`lookUp(${name}[${index} / 4u], ${name}[${index} / 4u + 1u], ${index})`);
    },

    whenAny(mask, values, then) {
      const variables = values.map((start) => declare('var', start));
      const { result, text } = within(then);
      say(`if (${mask}) {\n${text}\n${variables.map((name, i) => `${name} = ${result[i]};`).join('\n')}\n}`);
      return variables;
    },
    loop(values, goesOn, step) {
      const variables = values.map((start) => declare('var', start));
      const { text } = within(() => {
        say(`if (!${goesOn(variables)}) { break; }`);
        const next = step(variables).map(value);
        for (const [i, name] of variables.entries()) say(`${name} = ${next[i]};`);
      });
      say(`loop {\n${text}\n}`);
      return variables;
    },
  };
  return { lanes, declarations, statements: () => blocks[0].join('\n') };
}
