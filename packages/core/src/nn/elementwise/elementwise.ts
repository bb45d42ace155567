/**
 * Elementwise: an expression over inputs that are broadcast against each other, in one pass.
 *
 *   y_o[i] = expression_o(x_0[i], x_1[i], …)            every output has the dimensions that all inputs make together
 *
 * What a function computes, bit for bit, is in functions.ts; docs/nn.md has the formulas and their errors.
 */
import { kernelCall } from '../../kernel-spec.ts';
import { f32Bits } from '../../numbers.ts';
import { byteSize, complete, elementCount, type OpSpec, type Tensor, type TensorType } from '../../ops/op.ts';
import { broadcastDims, broadcastStrides, collapse, indexOf, type Loops } from '../../ops/strides.ts';
import { elementwiseKernel, givenNodes, operationsOf, valueName } from './elementwise.wasm.ts';
import { elementwiseWgsl } from './elementwise.wgsl.ts';
import { type Elementwise, evaluate, type TypedExpression, typedExpression } from './expression.ts';
import { evaluate64 } from './functions.reference.ts';
import { scalarLanes } from './lanes.reference.ts';

export const elementwiseOnWasm: OpSpec<Elementwise> = {
  name: 'elementwise',
  infer(op, inputs) {
    const {
      op: { outputs },
      types,
    } = typed(op, inputs);
    const dims = broadcastDims(
      'elementwise',
      inputs.map((input) => input!.dims),
    );
    return outputs.map((output) => ({ dtype: types[output], dims }));
  },
  wasm(op, inputs, outputs) {
    const { dims } = outputs[0];
    if (elementCount(dims) === 0) return { calls: [], scratchBytes: 0 };
    const expression = typed(op, inputs);
    const loops = loopsOf(inputs, dims);
    const around = loops.dims.length - 1;
    const count = loops.dims[around];
    const steps = inputs.map((_, i) => loops.strides[i][around] !== 0);

    // Threads share the outermost loop.
    const perRow = (i: number) => byteSize(inputs[i]!.dtype) * loops.strides[i][0];
    const args: Record<string, object | number> = { count: around ? count : { rows: 1 } };
    for (const i of inputs.keys()) args[`in${i}`] = { operand: i, perRow: perRow(i) };
    for (const [o, { dtype }] of outputs.entries())
      args[`out${o}`] = { operand: inputs.length + o, perRow: (byteSize(dtype) * elementCount(dims)) / loops.dims[0] };
    for (let d = 0; d < around; d++) {
      args[`count${d}`] = d === 0 ? { rows: 1 } : loops.dims[d];
      for (const [i, input] of inputs.entries()) args[`step${d}_${i}`] = byteSize(input!.dtype) * loops.strides[i][d];
    }
    const params = { expression, steps, loops: around };
    for (const node of givenNodes(params)) args[valueName(node)] = f32Bits(expression.values[node][0]);
    const macs = operationsOf(expression) + 3 * (inputs.length + outputs.length);
    const share = { rows: loops.dims[0], macsPerRow: (macs * elementCount(dims)) / loops.dims[0] };
    return {
      calls: [kernelCall(elementwiseKernel, params, args, share)],
      scratchBytes: 0,
    };
  },
  // All of four elements is loaded before any of them is stored.
  inPlace: () => true,
};

export const elementwise = /* @__PURE__ */ complete(elementwiseOnWasm, {
  reference(op, inputs, outputs, arithmetic) {
    const expression = typed(op, inputs);
    const { dims } = outputs[0];
    const strides = inputs.map((input) => broadcastStrides(input!.dims, dims.length));
    const compute = arithmetic === 'float64' ? evaluate64 : evaluate32;
    for (let i = 0; i < elementCount(dims); i++) {
      const values = (inputs as readonly Tensor[]).map(({ data }, n) => data[indexOf(i, dims, strides[n])]);
      for (const [o, value] of compute(expression, values).entries()) outputs[o].data[i] = value;
    }
  },
  wgsl(op, inputs, outputs) {
    const { dims } = outputs[0];
    if (elementCount(dims) === 0) return [];
    return [elementwiseWgsl(typed(op, inputs), loopsOf(inputs, dims), inputs.length, outputs)];
  },
});

/** Of all inputs, and of the result behind them. */
function loopsOf(inputs: readonly (TensorType | undefined)[], dims: readonly number[]): Loops {
  const strides = inputs.map((input) => broadcastStrides(input!.dims, dims.length));
  return collapse(dims, [...strides, broadcastStrides(dims, dims.length)]);
}

function typed(op: Elementwise, inputs: readonly (TensorType | undefined)[]): TypedExpression {
  return typedExpression(
    op,
    inputs.map((input, i) => {
      if (!input) throw new RangeError(`elementwise: input ${i} expected a tensor, got nothing.`);
      return input.dtype;
    }),
  );
}

/** The f32 contract of one element. */
const evaluate32 = (expression: TypedExpression, values: readonly number[]): number[] =>
  evaluate(scalarLanes, expression, values);
