/** Windows over images as an op; contract.ts says what they do. */
import { type Arg, type KernelCall, kernelCall } from '../../kernel-spec.ts';
import { elementCount, type OpSpec } from '../../ops/op.ts';
import { inferWindows, type WindowsOp } from './contract.ts';
import { windowKernels } from './windows.wasm.ts';

const UNCLAMPED = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;

const bitsOf = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0];

export const windows: OpSpec<WindowsOp> = {
  name: 'windows',
  infer: inferWindows,
  reference({ kind, kernel, strides, dilations, clamp = UNCLAMPED }, [x, w, bias], [y], arithmetic) {
    const [batch, height, width, C] = x!.dims;
    const [, lines, columns] = y.dims;
    const fl = arithmetic === 'float32' ? Math.fround : (value: number) => value;
    const [down, across] = kernel;
    const taps = down * across;
    const [least, most] = [fl(clamp[0]), fl(clamp[1])];
    const at = (b: number, line: number, column: number, t: number, c: number): number => {
      const h = line * strides[0] + Math.floor(t / across) * dilations[0];
      return x!.data[((b * height + h) * width + column * strides[1] + (t % across) * dilations[1]) * C + c];
    };
    let to = 0;
    for (let b = 0; b < batch; b++)
      for (let line = 0; line < lines; line++)
        for (let column = 0; column < columns; column++)
          for (let c = 0; c < C; c++, to++) {
            let value = kind === 'max' ? at(b, line, column, 0, c) : 0;
            for (let t = 0; t < taps; t++) {
              const own = at(b, line, column, t, c);
              if (kind === 'max') value = Math.max(value, own);
              else value = fl(value + (kind === 'mean' ? own : fl(own * w!.data[t * C + c])));
            }
            if (kind === 'mean') value = fl(value / taps);
            if (kind === 'weighted' && bias) value = fl(value + bias.data[c]);
            if (kind === 'weighted' && value < least) value = least;
            if (kind === 'weighted' && most < value) value = most;
            y.data[to] = value;
          }
  },
  wasm({ kind, kernel, strides, dilations, clamp = UNCLAMPED }, inputs, [y]) {
    const [x, w, bias] = inputs;
    const [batch, height, width, C] = x!.dims;
    const [, lines, columns] = y.dims;
    const calls: KernelCall[] = [];
    const image = (operand: number, size: number, b: number, perRow: number): Arg => ({
      operand,
      value: 4 * size * b,
      perRow,
    });
    for (let b = 0; elementCount(y.dims) > 0 && b < batch; b++)
      calls.push(
        kernelCall(
          windowKernels,
          kind,
          {
            x: image(0, height * width * C, b, 4 * strides[0] * width * C),
            xLine: 4 * strides[0] * width * C,
            xColumn: 4 * strides[1] * C,
            tapLine: 4 * dilations[0] * width * C,
            tapColumn: 4 * dilations[1] * C,
            w: w ? { operand: 1 } : 0,
            bias: bias ? { operand: 2 } : 0,
            y: image(inputs.length, lines * columns * C, b, 4 * columns * C),
            lines: { rows: 1 },
            columns,
            channels: C,
            down: kernel[0],
            across: kernel[1],
            least: bitsOf(clamp[0]),
            most: bitsOf(clamp[1]),
          },
          { rows: lines, macsPerRow: columns * C * elementCount(kernel) },
        ),
      );
    return { calls, scratchBytes: 0 };
  },
};
