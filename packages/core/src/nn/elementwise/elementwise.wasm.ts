/**
 * elementwise_<expression>_<inputs>: one pass over all elements of the result. WebAssembly SIMD128, four elements at a time.
 *
 * in0 …     f32, i32 or bool; f4, i4, b4 in the name: one after the other along a row; f1, i1, b1: one value for a row
 * out0 …    f32, i32 or bool, dense; may start where an input of the same type and dimensions does
 * count     elements of a row
 * value<n>  bits of node n's constant, f32: expressions that differ in nothing else share a kernel, those with more of them than a kernel
 *           has arguments have them in their code
 * count<d>, step<d>_<i>   for each loop around the row, the outermost is 0: turns, and bytes that input i goes on per turn; outputs go
 *           on by themselves
 *
 * The last elements of a row, fewer than four, go through the same code: only they are loaded and stored, lane by lane.
 */
import { constantsOf } from '../../activations/activations.wasm.ts';
import { i32Params, type KernelSpec, MAX_ARGS } from '../../kernel-spec.ts';
import { f32Bits } from '../../numbers.ts';
import { byteSize, type DType } from '../../ops/op.ts';
import { Func, type I32, i8x16, i16x8, i32, i32x4, type Local, type V128, v128 } from '../../wasm/emitter.ts';
import { advance, range } from '../../wasm/loops.ts';
import { shortId } from '../ids.ts';
import { evaluate, expressionText, type TypedExpression, typedExpression } from './expression.ts';
import { functionIds, functionOf } from './functions.ts';
import { moreWasmLanes } from './lanes.wasm.ts';

export interface ElementwiseKernel {
  readonly expression: TypedExpression;
  /** For each input: does a row step through it, or is it one value? */
  readonly steps: readonly boolean[];
  /** Loops around the row. */
  readonly loops: number;
}

const outputTypes = ({ op, types }: TypedExpression): DType[] => op.outputs.map((output) => types[output]);

const placeNames = ({ expression, steps, loops }: ElementwiseKernel): string[] => [
  ...steps.map((_, i) => `in${i}`),
  ...expression.op.outputs.map((_, i) => `out${i}`),
  'count',
  ...range(loops).flatMap((d) => [`count${d}`, ...steps.map((_, i) => `step${d}_${i}`)]),
];

/** Nodes whose constants are arguments. */
export function givenNodes(params: ElementwiseKernel): readonly number[] {
  const { nodes } = params.expression.op;
  const constants = range(nodes.length).filter((i) => nodes[i].fn === 'ConstantF32');
  return constants.length + placeNames(params).length <= MAX_ARGS ? constants : [];
}

export const valueName = (node: number): string => `value${node}`;

const argNames = (params: ElementwiseKernel): string[] => [...placeNames(params), ...givenNodes(params).map(valueName)];

export const elementwiseKernel: KernelSpec<ElementwiseKernel> = {
  family: 'elementwise',
  args: argNames,
  id: (params) => {
    const { expression, steps, loops } = params;
    const text = expressionText(expression, givenNodes(params));
    const inputs = steps.map((isStepping, i) => `${expression.types[i][0]}${isStepping ? 4 : 1}`).join('');
    return shortId(`elementwise_${text}_${inputs}${loops ? `_${loops}d` : ''}`);
  },
  trial(params, at) {
    const names = argNames(params);
    const operands = params.steps.length + params.expression.op.outputs.length;
    const count = Math.min(512, Math.floor(65536 / 16 / operands) * 4);
    const counts = Object.fromEntries(names.map((name) => [name, name.startsWith('count') ? 1 : 0]));
    return {
      ...counts,
      ...Object.fromEntries(givenNodes(params).map((node) => [valueName(node), f32Bits(1)])),
      ...Object.fromEntries(names.slice(0, operands).map((name, i) => [name, at + 4 * count * i])),
      count,
    };
  },
  emit(module, params) {
    const { expression, steps, loops } = params;
    module.func(elementwiseKernel.id(params), i32Params(argNames(params)), (f, p) => {
      const given = new Map(givenNodes(params).map((node) => [node, f.let(i32x4.splat(p[valueName(node)]))]));
      const compute = expressionCode(f, expression, given);
      const inputs = steps.map((_, i) => p[`in${i}`]);
      const outputs = expression.op.outputs.map((_, i) => p[`out${i}`]);
      const results = outputTypes(expression);

      nest(0, inputs);
      function nest(d: number, at: Local<'i32'>[]) {
        if (d === loops) return row(at);
        f.repeat(p[`count${d}`], () => {
          nest(
            d + 1,
            at.map((pointer) => f.let(pointer)),
          );
          for (const [i, pointer] of at.entries()) advance(pointer, p[`step${d}_${i}`]);
        });
      }

      function row(from: Local<'i32'>[]) {
        const stepping = range(steps.length).filter((i) => steps[i]);
        const values = from.map((pointer, i) =>
          steps[i] ? f.local('v128') : f.let(loadOne(expression.types[i], pointer)),
        );
        const to = outputs.map((pointer) => f.let(pointer));
        const left = f.let(p.count);
        f.repeat(i32.shrU(i32.add(left, 3), 2), () => {
          const isLast = f.let(i32.ltU(left, 4));
          const load = (how: typeof loadFew) => () => {
            for (const i of stepping) values[i].set(how(f, expression.types[i], from[i], left));
          };
          if (stepping.length > 0) f.when(isLast, load(loadFew), load(loadFour));
          const computed = compute(values);
          const store = (how: typeof storeFew) => () => {
            for (const [i, pointer] of to.entries()) how(f, results[i], pointer, computed[i], left);
          };
          f.when(isLast, store(storeFew), store(storeFour));
          for (const i of stepping) advance(from[i], 4 * byteSize(expression.types[i]));
          for (const [i, pointer] of to.entries()) advance(pointer, 4 * byteSize(results[i]));
          left.set(i32.sub(left, 4));
        });
        if (loops > 0)
          for (const [i, pointer] of outputs.entries()) advance(pointer, i32.mul(p.count, byteSize(results[i])));
      }
    });
  },
};

/** Emits an expression wherever the result is called. Constants go into locals once, outside of the loops. */
function expressionCode(
  f: Func,
  expression: TypedExpression,
  given: ReadonlyMap<number, V128>,
): (inputs: readonly V128[]) => V128[] {
  const constant = constantsOf(f);
  dryRun(expression, constant, given);
  const lanes = moreWasmLanes(f, constant);
  return (inputs) => evaluate(lanes, expression, inputs, given);
}

/** Meets every constant; its code is dropped. */
function dryRun(
  expression: TypedExpression,
  constant: (pattern: number) => V128,
  given: ReadonlyMap<number, V128> = new Map(),
): Func {
  const dropped = new Func(0);
  const inputs = expression.types.slice(0, expression.types.length - expression.op.nodes.length);
  evaluate(
    moreWasmLanes(dropped, constant),
    expression,
    inputs.map(() => v128.const16(0)),
    given,
  );
  return dropped;
}

/** Instructions for four elements, those of rare branches too. */
export const operationsOf = (expression: TypedExpression): number =>
  dryRun(expression, () => v128.const16(0)).locals.length;

// ---------------------------------------------------------------- four elements, fewer, or one for all

const maskOf = (bytes: V128): V128 =>
  v128.not(i32x4.eq(i32x4.extendLowI16x8U(i16x8.extendLowU(bytes)), v128.const16(0)));

const loadOne = (type: DType, from: I32): V128 =>
  type === 'bool' ? v128.not(i32x4.eq(i32x4.splat(i32.load8U(from)), v128.const16(0))) : v128.load32Splat(from);

const loadFour = (_f: Func, type: DType, from: I32, _left: I32): V128 =>
  type === 'bool' ? maskOf(v128.load32Zero(from)) : v128.load(from);

function loadFew(f: Func, type: DType, from: I32, left: I32): V128 {
  if (type === 'bool') {
    const bytes = f.let(i32.load8U(from));
    for (const i of [1, 2])
      f.when(i32.gtU(left, i), () => bytes.set(i32.or(bytes, i32.shl(i32.load8U(from, i), 8 * i))));
    return maskOf(i32x4.splat(bytes));
  }
  const value = f.let(v128.load32Zero(from));
  for (const i of [1, 2]) f.when(i32.gtU(left, i), () => value.set(v128.load32Lane(from, value, i, 4 * i)));
  return value;
}

/** A byte for each lane of a mask, 0 or 1. */
function bytesOf(mask: V128): I32 {
  const words = i16x8.narrowI32x4S(mask, mask);
  return i32.and(i32x4.extractLane(i8x16.narrowI16x8S(words, words), 0), 0x01010101);
}

function storeFour(f: Func, type: DType, to: I32, value: V128): void {
  if (type === 'bool') f.storeI32(to, bytesOf(value));
  else f.storeV128(to, value);
}

function storeFew(f: Func, type: DType, to: I32, value: V128, left: I32): void {
  const bytes = type === 'bool' ? f.let(bytesOf(value)) : undefined;
  const store = (i: number) =>
    bytes ? f.storeI8(to, i32.shrU(bytes, 8 * i), i) : f.storeI32(to, i32x4.extractLane(value, i), 4 * i);
  store(0);
  for (const i of [1, 2]) f.when(i32.gtU(left, i), () => store(i));
}

// ---------------------------------------------------------------- what tests and benchmarks loop over

/** Every function in every form, and what decoders are made of. */
export function* elementwiseVariants(): Generator<ElementwiseKernel> {
  for (const fn of functionIds) {
    const { forms, values = [] } = functionOf(fn);
    for (const { args } of forms) {
      const node = { fn, args: range(args.length), values: values.map(() => 0.25) };
      const expression = typedExpression({ nodes: [node], outputs: [args.length] }, args);
      yield { expression, steps: args.map(() => true), loops: 0 };
    }
  }
  const gate = {
    nodes: [
      { fn: 'Silu', args: [0] },
      { fn: 'Mul', args: [2, 1] },
    ],
    outputs: [3],
  } as const;
  yield { expression: typedExpression(gate, ['f32', 'f32']), steps: [true, true], loops: 0 };
  const add = { nodes: [{ fn: 'Add', args: [0, 1] }], outputs: [2] } as const;
  for (const loops of [0, 1, 2])
    yield { expression: typedExpression(add, ['f32', 'f32']), steps: [true, false], loops };
}
