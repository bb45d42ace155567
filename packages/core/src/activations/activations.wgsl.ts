/** The activations' contract as a WGSL function, statement by statement. GPUs may contract and divide less exactly than it says. */
import { type ActivationId, activate, type Lanes } from './contract.ts';

const bitsOf = (value: number): string => `0x${new Uint32Array(Float32Array.of(value).buffer)[0].toString(16)}u`;

/** @param value gives an expression a name, since functions use their values more than once */
export const wgslLanes = (value: (expression: string) => string): Lanes<string> => ({
  constant: (v) => `bitcast<f32>(${bitsOf(v)})`,
  add: (a, b) => value(`${a} + ${b}`),
  sub: (a, b) => value(`${a} - ${b}`),
  mul: (a, b) => value(`${a} * ${b}`),
  div: (a, b) => value(`${a} / ${b}`),
  nearest: (a) => value(`round(${a})`),
  abs: (a) => value(`abs(${a})`),
  pmin: (a, b) => value(`select(${a}, ${b}, ${b} < ${a})`),
  pmax: (a, b) => value(`select(${a}, ${b}, ${a} < ${b})`),
  ifLess: (a, b, then, otherwise) => value(`select(${otherwise}, ${then}, ${a} < ${b})`),
  copySign: (magnitude, sign) =>
    value(`bitcast<f32>(bitcast<u32>(${magnitude}) | (bitcast<u32>(${sign}) & 0x80000000u))`),
  topBits: (a) => value(`bitcast<f32>(bitcast<u32>(${a}) & 0xfffff000u)`),
  pow2: (n) => value(`bitcast<f32>((i32(${n}) + 127) << 23u)`),
});

/** `fn activate(x: f32) -> f32` */
export function activationFunction(id: ActivationId): string {
  const statements: string[] = [];
  const lanes = wgslLanes((expression) => {
    const name = `t${statements.length}`;
    statements.push(`  let ${name} = ${expression};`);
    return name;
  });
  const result = activate(lanes, id, 'x');
  return `fn activate(x: f32) -> f32 {\n${statements.join('\n')}\n  return ${result};\n}`;
}
