/**
 * One thread of WGSL, statement by statement: floats are f32, ints i32, masks bool. WGSL may assume that there is neither NaN nor
 * infinity, so what asks for them looks at bits; products may be contracted and divisions less exact than the contract says.
 */
import { wgslLanes } from '../../activations/activations.wgsl.ts';
import { f32Bits } from '../../numbers.ts';
import type { MoreLanes } from './lanes.ts';

/** What the operations below call. They also use the parameter `p.zero`, a 0 that no compiler knows. */
export const LANE_FUNCTIONS = `
fn isNaN(a: f32) -> bool { return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u; }
fn isNumber(a: f32, b: f32) -> bool { return !isNaN(a) && !isNaN(b); }

fn least(a: f32, b: f32) -> f32 {
  if (isNaN(a)) { return a; }
  return select(select(b, a, a < b), b, isNaN(b));
}
fn most(a: f32, b: f32) -> f32 {
  if (isNaN(a)) { return a; }
  return select(select(b, a, a > b), b, isNaN(b));
}

fn divInt(a: i32, b: i32) -> i32 {
  if (b == 0) { return select(select(0, 0x7fffffff, a > 0), -0x7fffffff - 1, a < 0); }
  if (b == -1) { return select(-a, 0x7fffffff, a == -0x7fffffff - 1); }
  return a / b;
}
fn mulHigh(a: i32, b: i32) -> i32 {
  let x = vec2u(bitcast<u32>(a) & 0xffffu, bitcast<u32>(a) >> 16u);
  let y = vec2u(bitcast<u32>(b) & 0xffffu, bitcast<u32>(b) >> 16u);
  let middle = x.y * y.x + ((x.x * y.x) >> 16u);
  return bitcast<i32>(x.y * y.y + (middle >> 16u) + ((x.x * y.y + (middle & 0xffffu)) >> 16u));
}
fn toInt(a: f32) -> i32 {
  if (isNaN(a)) { return 0; }
  if (a >= 0x1p31f) { return 0x7fffffff; }
  return select(i32(a), -0x7fffffff - 1, a <= -0x1p31f);
}
`;

/** Statements, as lanes make them. */
export class Statements {
  readonly lines: string[] = [];
  #names = 0;

  /** @returns the name of a new value */
  let(expression: string): string {
    return this.#declare('let', expression);
  }

  /** @returns the name of a variable */
  var(expression: string): string {
    return this.#declare('var', expression);
  }

  #declare(kind: 'let' | 'var', expression: string): string {
    const name = `t${this.#names++}`;
    this.lines.push(`${kind} ${name} = ${expression};`);
    return name;
  }
}

export function moreWgslLanes(statements: Statements): MoreLanes<string> {
  const value = (expression: string) => statements.let(expression);
  const words = (table: readonly number[]) =>
    Array.from({ length: table.length / 4 }, (_, w) => {
      const [a, b, c, d] = table.slice(4 * w, 4 * w + 4);
      return `${(a | (b << 8) | (c << 16) | (d << 24)) >>> 0}u`;
    });
  const assign = (names: readonly string[], values: readonly string[]) => {
    for (const [i, name] of names.entries()) statements.lines.push(`${name} = ${values[i]};`);
  };
  return {
    ...wgslLanes(value),
    // A constant expression may be neither NaN nor infinite.
    constant: (v) => value(`bitcast<f32>(0x${f32Bits(v).toString(16)}u${Number.isFinite(v) ? '' : ' | p.zero'})`),
    sqrt: (a) => value(`sqrt(${a})`),
    floor: (a) => value(`floor(${a})`),
    ceil: (a) => value(`ceil(${a})`),
    negate: (a) => value(`bitcast<f32>(bitcast<u32>(${a}) ^ 0x80000000u)`),
    rounded: (a) => value(`bitcast<f32>(bitcast<u32>(${a}) | p.zero)`),
    min: (a, b) => value(`least(${a}, ${b})`),
    max: (a, b) => value(`most(${a}, ${b})`),

    less: (a, b) => value(`${a} < ${b} && isNumber(${a}, ${b})`),
    lessOrEqual: (a, b) => value(`${a} <= ${b} && isNumber(${a}, ${b})`),
    equal: (a, b) => value(`${a} == ${b} && isNumber(${a}, ${b})`),
    lessInt: (a, b) => value(`${a} < ${b}`),
    equalInt: (a, b) => value(`${a} == ${b}`),
    and: (a, b) => value(`${a} && ${b}`),
    or: (a, b) => value(`${a} || ${b}`),
    xor: (a, b) => value(`${a} != ${b}`),
    not: (a) => value(`!${a}`),
    select: (mask, then, otherwise) => value(`select(${otherwise}, ${then}, ${mask})`),

    int: (v) => value(`bitcast<i32>(0x${(v >>> 0).toString(16)}u)`),
    addInt: (a, b) => value(`${a} + ${b}`),
    subInt: (a, b) => value(`${a} - ${b}`),
    mulInt: (a, b) => value(`${a} * ${b}`),
    divInt: (a, b) => value(`divInt(${a}, ${b})`),
    mulHigh: (a, b) => value(`mulHigh(${a}, ${b})`),
    minInt: (a, b) => value(`min(${a}, ${b})`),
    maxInt: (a, b) => value(`max(${a}, ${b})`),
    andInt: (a, b) => value(`${a} & ${b}`),
    orInt: (a, b) => value(`${a} | ${b}`),
    xorInt: (a, b) => value(`${a} ^ ${b}`),
    shiftLeft: (a, bits) => value(`${a} << ${bits}u`),
    shiftRight: (a, bits) => value(`bitcast<i32>(bitcast<u32>(${a}) >> ${bits}u)`),
    shiftRightSigned: (a, bits) => value(`${a} >> ${bits}u`),

    bits: (a) => value(`bitcast<i32>(${a})`),
    float: (bits) => value(`bitcast<f32>(${bits})`),
    toInt: (a) => value(`toInt(${a})`),
    toFloat: (a) => value(`f32(${a})`),
    maskToInt: (mask) => value(`select(0, 1, ${mask})`),

    lookUp(table, at) {
      const all = words(table);
      const name = statements.var(`array<u32, ${all.length + 1}>(${all.join(', ')}, 0u)`);
      const shift = value(`8u * (u32(${at}) % 4u)`);
      const low = value(`${name}[u32(${at}) / 4u] >> ${shift}`);
      const high = value(`(${name}[u32(${at}) / 4u + 1u] << (31u - ${shift})) << 1u`);
      return value(`bitcast<i32>(${low} | ${high})`);
    },

    whenAny(mask, values, then) {
      const names = values.map((v) => statements.var(v));
      statements.lines.push(`if (${mask}) {`);
      assign(names, then());
      statements.lines.push('}');
      return names;
    },
    loop(values, goesOn, step) {
      const names = values.map((v) => statements.var(v));
      statements.lines.push('loop {');
      statements.lines.push(`if (!(${goesOn(names)})) { break; }`);
      assign(
        names,
        step(names).map((next) => value(next)),
      );
      statements.lines.push('}');
      return names;
    },
  };
}
