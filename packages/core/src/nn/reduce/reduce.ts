/** The op: contract.ts says what it computes. */
import { kernelCall } from '../../kernel-spec.ts';
import { complete, type OpSpec } from '../../ops/op.ts';
import { extentsOf, inferReduce, type ReduceOp } from './contract.ts';
import { reduceReference } from './reduce.reference.ts';
import { reduceKernels } from './reduce.wasm.ts';

/** Time of an element, in multiplications of gemm. */
const MACS_PER_ELEMENT = 4;

export const reduceOnWasm: OpSpec<ReduceOp> = {
  name: 'reduce',
  infer: inferReduce,

  wasm({ kind, axes }, inputs) {
    const { dtype, dims } = inputs[0]!;
    const { outer, n, inner } = extentsOf('reduce', dims, axes);
    const layout = inner === 1 ? 'rows' : 'columns';
    const x = { operand: 0, perRow: 4 * n * inner };
    const y = { operand: inputs.length, perRow: 4 * inner };
    const share = { rows: outer, macsPerRow: MACS_PER_ELEMENT * n * inner };
    const kernel = { kind, dtype: dtype as 'f32' | 'i32', layout } as const;
    return {
      calls: [kernelCall(reduceKernels, kernel, { x, y, n, inner, rows: { rows: 1 } }, share)],
      scratchBytes: 0,
    };
  },
};

export const reduce = /* @__PURE__ */ complete(reduceOnWasm, {
  reference: reduceReference,
});
