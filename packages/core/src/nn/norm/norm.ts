/** The op: contract.ts says what it computes. */
import { type Arg, kernelCall } from '../../kernel-spec.ts';
import { f32Bits } from '../../numbers.ts';
import { complete, type OpSpec } from '../../ops/op.ts';
import { INPUTS, inferNorm, type NormOp, normExtras, normShape } from './contract.ts';
import { normReference } from './norm.reference.ts';
import { normKernels } from './norm.wasm.ts';
import { normWgsl } from './norm.wgsl.ts';

/** Time of an element in all three passes, in multiplications of gemm. */
const MACS_PER_ELEMENT = 8;

export const normOnWasm: OpSpec<NormOp> = {
  name: 'norm',
  infer: inferNorm,

  wasm(op, inputs) {
    const [, scale, bias, skip, skipBias] = inputs;
    const { rows, n, skipRows } = normShape(op, inputs);
    const extras = normExtras(op);
    const input = (operand: number, perRow = 0): Arg | number => (inputs[operand] ? { operand, perRow } : 0);
    const extra = (name: (typeof extras)[number], perRow: number): Arg | number => {
      const i = extras.indexOf(name);
      return i < 0 ? 0 : { operand: inputs.length + 1 + i, perRow };
    };
    const kernel = { kind: op.kind, skip: !!skip, skipBias: !!skipBias, scale: !!scale, bias: !!bias };
    const args = {
      x: input(0, 4 * n),
      scale: input(1),
      bias: input(2),
      skip: input(3),
      skipBias: input(4),
      y: { operand: inputs.length, perRow: 4 * n },
      mean: extra('mean', 4),
      invStdDev: extra('invStdDev', 4),
      sum: extra('sum', 4 * n),
      n,
      rows: { rows: 1 },
      firstRow: { perRow: 1 },
      skipRows,
      epsilon: f32Bits(op.epsilon),
    };
    const share = { rows, macsPerRow: MACS_PER_ELEMENT * n };
    return { calls: [kernelCall(normKernels, kernel, args, share)], scratchBytes: 0 };
  },

  // Rows are read before they are written, but a skip that repeats is read again.
  inPlace: (op, output, input) => input === 0 && (output === 0 || normExtras(op)[output - 1] === 'sum'),
};

export const norm = /* @__PURE__ */ complete(normOnWasm, {
  reference: normReference,
  wgsl(op, inputs) {
    const there = INPUTS.flatMap((name, i) => (inputs[i] ? [[name, i] as const] : []));
    const outputs = ['y', ...normExtras(op)].map((name, i) => [name, inputs.length + i] as const);
    return [normWgsl(op, normShape(op, inputs), Object.fromEntries([...there, ...outputs]))];
  },
});
