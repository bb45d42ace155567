/** The op: contract.ts says what it computes. */
import { kernelCall } from '../../kernel-spec.ts';
import { complete, type OpSpec } from '../../ops/op.ts';
import { type RotaryOp, rotaryShape } from './contract.ts';
import { rotaryReference } from './rotary.reference.ts';
import { rotaryKernels } from './rotary.wasm.ts';

/** Time of an element, in multiplications of gemm. */
const MACS_PER_ELEMENT = 6;

export const rotaryOnWasm: OpSpec<RotaryOp> = {
  name: 'rotary',
  infer(op, inputs) {
    rotaryShape(op, inputs);
    return [inputs[0]!];
  },

  wasm(op, inputs) {
    const shape = rotaryShape(op, inputs);
    const { batch, sequence, heads, size, half, headsFirst, positions } = shape;
    const [head, token] = [4 * size, 4 * size * heads];
    const args = {
      x: { operand: 0 },
      y: { operand: inputs.length },
      cos: { operand: 1 },
      sin: { operand: 2 },
      positions: positions === 'token' ? 0 : { operand: 3 },
      firstRow: { perRow: 1 },
      rows: { rows: 1 },
      sequence,
      heads,
      tokenStride: headsFirst ? head : token,
      batchStride: headsFirst ? head * sequence * (heads - 1) : 0,
      headStride: headsFirst ? head * sequence : head,
      half,
      rest: size - 2 * half,
      cacheRows: shape.cacheRows,
    };
    const kernel = { interleaved: op.interleaved === true, positions };
    const share = { rows: batch * sequence, macsPerRow: MACS_PER_ELEMENT * heads * size };
    const calls = heads === 0 ? [] : [kernelCall(rotaryKernels, kernel, args, share)];
    return { calls, scratchBytes: 0 };
  },

  // A pair is read before it is written.
  inPlace: (_, __, input) => input === 0,
};

export const rotary = /* @__PURE__ */ complete(rotaryOnWasm, {
  reference: rotaryReference,
});
