/** The op: contract.ts says what it computes. */
import { kernelCall } from '../../kernel-spec.ts';
import { complete, type OpSpec } from '../../ops/op.ts';
import { argMaxReference } from './arg-max.reference.ts';
import { argMaxKernels } from './arg-max.wasm.ts';
import { type ArgMaxOp, argMaxExtents } from './contract.ts';

/** Time of an element, in multiplications of gemm. */
const MACS_PER_ELEMENT = 8;

export const argMaxOnWasm: OpSpec<ArgMaxOp> = {
  name: 'arg_max',
  infer: (op, [x]) => [{ dtype: 'i32', dims: argMaxExtents(op, x).result }],

  wasm(op, inputs) {
    const [x] = inputs;
    const { outer, n, inner } = argMaxExtents(op, x);
    const kernel = {
      kind: op.kind,
      dtype: x!.dtype as 'f32' | 'i32',
      last: op.last === true,
      layout: inner === 1 ? 'rows' : 'columns',
    } as const;
    const args = {
      x: { operand: 0, perRow: 4 * n * inner },
      y: { operand: inputs.length, perRow: 4 * inner },
      n,
      inner,
      rows: { rows: 1 },
    };
    const share = { rows: outer, macsPerRow: MACS_PER_ELEMENT * n * inner };
    return { calls: [kernelCall(argMaxKernels, kernel, args, share)], scratchBytes: 0 };
  },
};

export const argMax = /* @__PURE__ */ complete(argMaxOnWasm, {
  reference: argMaxReference,
});
