/** Windows over images as an op; contract.ts says what they do. */
import { type KernelCall, kernelCall } from '../../kernel-spec.ts';
import { complete, elementCount, type OpSpec } from '../../ops/op.ts';
import { inferWindows, type WindowsOp } from './contract.ts';
import { windowKernels } from './windows.wasm.ts';

const UNPADDED = [0, 0, 0, 0] as const;
const UNCLAMPED = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY] as const;

const bitsOf = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0];

export const windowsOnWasm: OpSpec<WindowsOp> = {
  name: 'windows',
  infer: inferWindows,
  wasm({ kind, kernel, strides, dilations, pads = UNPADDED, clamp = UNCLAMPED }, inputs, [y]) {
    const [x, w, bias] = inputs;
    const [batch, height, width, C] = x!.dims;
    const [, lines, columns] = y.dims;
    const calls: KernelCall[] = [];
    const [xLine, yLine, tap] = [4 * width * C, 4 * columns * C, 4 * C];
    const [down, across] = [0, 1].map((d) =>
      stretches([height, width][d], [lines, columns][d], {
        taps: kernel[d],
        stride: strides[d],
        dilation: dilations[d],
        before: pads[2 * d],
      }),
    );
    for (let b = 0; elementCount(y.dims) > 0 && b < batch; b++)
      for (const rows of down)
        for (const own of across) {
          const places = { lines: { rows: 1 }, columns: own.count, down: rows.taps, across: own.taps };
          const xAt = b * height * xLine + rows.at * xLine + own.at * tap;
          const yAt = (b * lines + rows.first) * yLine + own.first * tap;
          calls.push(
            kernelCall(
              windowKernels,
              kind,
              {
                ...places,
                x: { operand: 0, value: xAt, perRow: strides[0] * xLine },
                xLine: strides[0] * xLine,
                xColumn: strides[1] * tap,
                tapLine: dilations[0] * xLine,
                tapColumn: dilations[1] * tap,
                w: w ? { operand: 1, value: (rows.tap * kernel[1] + own.tap) * tap } : 0,
                wLine: kernel[1] * tap,
                bias: bias ? { operand: 2 } : 0,
                y: { operand: inputs.length, value: yAt, perRow: yLine },
                yLine,
                channels: C,
                least: bitsOf(clamp[0]),
                most: bitsOf(clamp[1]),
              },
              { rows: rows.count, macsPerRow: own.count * C * Math.max(1, rows.taps * own.taps) },
            ),
          );
        }
    return { calls, scratchBytes: 0 };
  },
};

export const windows = /* @__PURE__ */ complete(windowsOnWasm, {
  reference({ kind, kernel, strides, dilations, pads = UNPADDED, clamp = UNCLAMPED }, [x, w, bias], [y], arithmetic) {
    const [batch, height, width, C] = x!.dims;
    const [, lines, columns] = y.dims;
    const fl = arithmetic === 'float32' ? Math.fround : (value: number) => value;
    const [down, across] = kernel;
    const taps = down * across;
    const [least, most] = [fl(clamp[0]), fl(clamp[1])];
    const at = (b: number, line: number, column: number, t: number, c: number): number | undefined => {
      const h = line * strides[0] - pads[0] + Math.floor(t / across) * dilations[0];
      const w = column * strides[1] - pads[2] + (t % across) * dilations[1];
      return h < 0 || h >= height || w < 0 || w >= width ? undefined : x!.data[((b * height + h) * width + w) * C + c];
    };
    let to = 0;
    for (let b = 0; b < batch; b++)
      for (let line = 0; line < lines; line++)
        for (let column = 0; column < columns; column++)
          for (let c = 0; c < C; c++, to++) {
            let value = kind === 'max' ? at(b, line, column, 0, c)! : 0;
            for (let t = 0; t < taps; t++) {
              const own = at(b, line, column, t, c);
              if (own === undefined) continue;
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
});

/** Windows side by side that reach x with the same taps. */
interface Stretch {
  readonly first: number;
  readonly count: number;
  /** The first tap inside of x, how many there are, and where in x the first one of the first window is. */
  readonly tap: number;
  readonly taps: number;
  readonly at: number;
}

/** Along one dimension. */
function stretches(
  size: number,
  out: number,
  { taps, stride, dilation, before }: Readonly<Record<'taps' | 'stride' | 'dilation' | 'before', number>>,
): Stretch[] {
  const found: Stretch[] = [];
  for (let i = 0; i < out; i++) {
    const begin = i * stride - before;
    const tap = Math.max(0, Math.ceil(-begin / dilation));
    const count = Math.max(0, Math.min(taps, Math.floor((size - 1 - begin) / dilation) + 1) - tap);
    const last = found.at(-1);
    if (last && last.tap === tap && last.taps === count) found[found.length - 1] = { ...last, count: last.count + 1 };
    else found.push({ first: i, count: 1, tap: count ? tap : 0, taps: count, at: count ? begin + tap * dilation : 0 });
  }
  return found;
}
