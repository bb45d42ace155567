/** The op: contract.ts says what it computes. */
import { kernelCall } from '../../kernel-spec.ts';
import { complete, type OpSpec } from '../../ops/op.ts';
import { rowShape } from '../rows.ts';
import { inferSoftmax, type SoftmaxOp } from './contract.ts';
import { softmaxReference } from './softmax.reference.ts';
import { softmaxKernels } from './softmax.wasm.ts';

/** Time of an element (three passes and an exponential), in multiplications of gemm. */
const MACS_PER_ELEMENT = 32;

export const softmaxOnWasm: OpSpec<SoftmaxOp> = {
  name: 'softmax',
  infer: inferSoftmax,

  wasm({ kind, axes = 1 }, inputs) {
    const { rows, n } = rowShape(inputs[0]!.dims, axes);
    const x = { operand: 0, perRow: 4 * n };
    const y = { operand: inputs.length, perRow: 4 * n };
    const share = { rows, macsPerRow: MACS_PER_ELEMENT * n };
    return { calls: [kernelCall(softmaxKernels, { kind }, { x, y, n, rows: { rows: 1 } }, share)], scratchBytes: 0 };
  },

  inPlace: () => true,
};

export const softmax = /* @__PURE__ */ complete(softmaxOnWasm, {
  reference: softmaxReference,
});
