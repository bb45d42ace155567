/**
 * The dispatches of an op. Its code knows operands by name only; here they get their bindings: one each, except that those in the
 * buffer of an output share its binding, since a dispatch may not read a buffer through one binding and write it through another.
 */

import { UnsupportedError } from '../../errors.ts';
import { byteLength, type DType, type TensorType, type WgslCall } from '../../ops/op.ts';
import { PARAM_WORDS, paramsOf, type WgslKernel } from '../../wgsl/wgsl.ts';
import type { OpWork } from '../device.ts';
import { checkOpOperands } from '../op-arguments.ts';
import type { GpuBinding } from './api.ts';
import { checkBindable, checkInside, gpuBinding } from './arguments.ts';
import type { Describe } from './calls.ts';
import { bindTogether, type Dispatch, describe } from './dispatch.ts';
import type { Live } from './live.ts';

/**
 * @returns what describes the op's dispatches, wherever operands lie
 * @throws {@link UnsupportedError} for an op without WGSL
 */
export function bindOp(live: Live, work: OpWork): Describe {
  const { spec, op, inputs } = work;
  const outputs = spec.infer(op, inputs);
  if (!spec.wgsl)
    throw new UnsupportedError(`bind: ${spec.name} has no WGSL kernel. Run it on device 'wasm' or 'reference'.`);
  const calls = spec.wgsl(op, inputs, outputs);
  const types = [...inputs, ...outputs];
  return (operands) => {
    checkOpOperands(work, operands, gpuBinding);
    operands.forEach((operand, i) => {
      if (operand) checkInside(`${spec.name}: operand ${i}`, operand);
    });
    const running = calls.filter(({ workgroups }) => workgroups > 0);
    return running.map((call) => describeCall(live, call, types, inputs.length, operands));
  };
}

/** An operand of a dispatch, under the name that its code has for it. */
interface Named {
  readonly name: string;
  readonly dtype: DType;
  readonly isOutput: boolean;
  readonly at: GpuBinding;
}

function describeCall(
  live: Live,
  call: WgslCall,
  types: readonly (TensorType | undefined)[],
  inputs: number,
  operands: readonly (GpuBinding | undefined)[],
): Dispatch {
  const named = Object.entries(call.operands).map(([name, i]) => {
    const type = types[i]!;
    const { buffer, offset = 0 } = operands[i]!;
    const at = { buffer, offset, byteLength: Math.max(4, 4 * Math.ceil(byteLength(type) / 4)) };
    checkBindable(`${call.id}: ${name}`, at, live.device);
    return { name, dtype: type.dtype, isOutput: i >= inputs, at };
  });
  const groups = grouped(named);
  const bound = groups.map((group) => ({
    group,
    ...bindTogether(
      live.device,
      group.map(({ at }) => at),
    ),
  }));
  const wordOf = (operand: Named) => bound.find(({ group }) => group.includes(operand))!.at(operand.at);
  const words = [...named.map(wordOf), ...Object.values(call.params)];
  if (words.length > PARAM_WORDS)
    throw new UnsupportedError(`bind: ${call.id} has ${words.length} parameters; a block holds ${PARAM_WORDS}.`);
  const shared = groups.filter(({ length }) => length > 1).map((group) => group.map(({ name }) => name).join('='));
  const id = [call.id, ...shared].join('@');
  const ranges = bound.map(({ range }) => range);
  return describe(live, id, () => opKernel(id, call, named, groups), words, ranges, call.workgroups);
}

/** One group per binding. */
function grouped(operands: readonly Named[]): Named[][] {
  const written = new Set(operands.flatMap(({ isOutput, at }) => (isOutput ? [at.buffer] : [])));
  const groups: Named[][] = [];
  for (const operand of operands) {
    const { buffer } = operand.at;
    const known = written.has(buffer) && groups.find(([first]) => first.at.buffer === buffer);
    if (known) known.push(operand);
    else groups.push([operand]);
  }
  return groups;
}

function opKernel(id: string, call: WgslCall, named: readonly Named[], groups: readonly Named[][]): WgslKernel {
  const isWritten = (group: readonly Named[]) => group.some(({ isOutput }) => isOutput);
  const params = [...named.map(({ name }) => `${name}At`), ...Object.keys(call.params)];
  const bindings = groups.map((group, i) => {
    const access = isWritten(group) ? 'read_write' : 'read';
    return `@group(0) @binding(${i + 1}) var<storage, ${access}> b${i}: array<u32>;`;
  });
  const functions = groups.flatMap((group, i) => group.map((operand) => accessors(operand, `b${i}`)));
  return {
    id,
    code: [`// ${id}`, paramsOf(params), ...bindings, ...functions, call.code()].join('\n'),
    buffers: groups.map((group) => (isWritten(group) ? 'write' : 'read')),
  };
}

/** `x(i)`, and `set_x(i, value)` of an output. */
function accessors({ name, dtype, isOutput }: Named, buffer: string): string {
  if (dtype === 'bool') {
    const read = `fn ${name}(i: u32) -> bool { return extractBits(${buffer}[p.${name}At + i / 4u], 8u * (i % 4u), 8u) != 0u; }`;
    return isOutput ? `${read}\nfn set_${name}(i: u32, four: u32) { ${buffer}[p.${name}At + i] = four; }` : read;
  }
  const read = `fn ${name}(i: u32) -> ${dtype} { return bitcast<${dtype}>(${buffer}[p.${name}At + i]); }`;
  const write = `fn set_${name}(i: u32, value: ${dtype}) { ${buffer}[p.${name}At + i] = bitcast<u32>(value); }`;
  return isOutput ? `${read}\n${write}` : read;
}
