/** Strided copies as an op; contract.ts says what they do, layouts.ts makes them. */
import { type Arg, type KernelCall, kernelCall } from '../../kernel-spec.ts';
import { byteSize, complete, type DType, elementCount, type OpSpec, type Tensor } from '../../ops/op.ts';
import { collapse, indexOf } from '../../ops/strides.ts';
import { type Copy, type CopyPart, checkCopy, fillBits, isFill } from './contract.ts';
import { type CopyKernel, type CopyKind, copyKernels } from './copy.wasm.ts';

export const copyOnWasm: OpSpec<Copy> = {
  name: 'copy',
  infer: checkCopy,
  wasm({ parts }, inputs, outputs) {
    const { dtype } = outputs[0];
    const calls = parts.filter(({ dims }) => elementCount(dims) > 0).map((part) => callOf(part, dtype, inputs.length));
    return { calls, scratchBytes: 0 };
  },
};

export const copy = /* @__PURE__ */ complete(copyOnWasm, {
  reference({ parts }, inputs, outputs) {
    for (const { dims, from, to } of parts) {
      const target = outputs[to.operand].data;
      for (let i = 0; i < elementCount(dims); i++)
        target[to.offset + indexOf(i, dims, to.strides)] = isFill(from)
          ? from.value
          : (inputs as readonly Tensor[])[from.operand].data[from.offset + indexOf(i, dims, from.strides)];
    }
  },
});

/** A loop of a part, steps in bytes. */
interface Loop {
  readonly count: number;
  readonly from: number;
  readonly to: number;
}

function callOf({ dims, from, to }: CopyPart, dtype: DType, inputs: number): KernelCall {
  const size = byteSize(dtype);
  const fill = isFill(from);
  const loops = loopsOf(dims, fill ? to.strides.map(() => 0) : from.strides, to.strides, size);
  const { kind, outer, inner } = plan(loops, size, fill);
  // Threads share the outermost loop, or the first loop of the kernel itself.
  const [shared] = [...outer, ...inner];
  const place = (operand: number, offset: number, step: number): Arg => ({
    operand,
    value: offset * size,
    perRow: step,
  });
  const count = (loop: Loop): Arg | number => (loop === shared ? { rows: 1 } : loop.count);
  const bytes = (loop: Loop): Arg | number => (loop === shared ? { rows: size } : loop.count * size);
  const [first, second] = inner;
  const args: Record<string, Arg | number> = {
    to: place(inputs + to.operand, to.offset, shared.to),
    ...(fill ? { value: fillBits(from, dtype) } : { from: place(from.operand, from.offset, shared.from) }),
    bytes: bytes(first),
    count: count(first),
    toStep: first.to,
    ...(second ? { rows: count(first), columns: second.count, fromStep: second.from } : { fromStep: first.from }),
  };
  for (const [d, loop] of outer.entries())
    Object.assign(args, { [`count${d}`]: count(loop), [`from${d}`]: loop.from, [`to${d}`]: loop.to });
  const kernel: CopyKernel = { kind, size, loops: outer.length };
  const share = { rows: shared.count, macsPerRow: elementCount(dims) / shared.count };
  return kernelCall(copyKernels, kernel, args, share);
}

/** As few loops as possible, in the order of the output. */
function loopsOf(dims: readonly number[], from: readonly number[], to: readonly number[], size: number): Loop[] {
  const order = [...dims.keys()].sort((a, b) => Math.abs(to[b]) - Math.abs(to[a]));
  const sorted = (values: readonly number[]) => order.map((d) => values[d]);
  const { dims: counts, strides } = collapse(sorted(dims), [sorted(from), sorted(to)]);
  return counts.map((count, d) => ({ count, from: size * strides[0][d], to: size * strides[1][d] }));
}

interface Plan {
  readonly kind: CopyKind;
  readonly outer: readonly Loop[];
  /** Loops of the kernel itself. */
  readonly inner: readonly Loop[];
}

function plan(loops: readonly Loop[], size: number, fill: boolean): Plan {
  const last = loops[loops.length - 1];
  const outer = loops.slice(0, -1);
  const is = (kind: CopyKind): Plan => ({ kind, outer, inner: [last] });
  const isDense = last.to === size || last.count === 1;
  if (!isDense) return fill ? { kind: 'fill', outer: loops, inner: [ONE] } : is('elements');
  if (fill) return is('fill');
  if (last.from === size || last.count === 1) return is('run');
  if (last.from === 0) return is('splat');
  const rows = size === 4 ? outer.findIndex(({ from }) => from === size) : -1;
  if (rows < 0) return is('elements');
  return { kind: 'transpose', outer: outer.filter((_, d) => d !== rows), inner: [outer[rows], last] };
}
/** A row of one element. */
const ONE: Loop = { count: 1, from: 0, to: 0 };
