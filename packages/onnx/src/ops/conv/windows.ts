/** Where the windows of convolutions and pools lie: kernel, strides, dilations and pads of one or two spatial dimensions. */
import { samePlace, windowSpan } from '@msd/core/nn';
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { NodeView } from '../operator.ts';

/** What the attributes say. */
export interface Windows {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** How much is added before and after each dimension, or how that follows from its size. */
  readonly pads:
    | 'SAME_UPPER'
    | 'SAME_LOWER'
    | { readonly before: readonly number[]; readonly after: readonly number[] };
  /** Pools may begin a window that the pads do not fill. */
  readonly ceil: boolean;
}

/** What they are for an image of known size. */
export interface Placed {
  readonly out: readonly number[];
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** @param kernel of the weights, if there are any. @returns why they cannot be taken */
export function windowsOf(view: NodeView, kernel = view.ints('kernel_shape')): Windows | string {
  if (!kernel) return 'the kernel has no shape';
  const rank = kernel.length;
  if (rank !== 1 && rank !== 2) return `${rank} spatial dimensions`;
  const ones = kernel.map(() => 1);
  const strides = view.ints('strides') ?? ones;
  const dilations = view.ints('dilations') ?? ones;
  for (const [name, sizes] of Object.entries({ kernel_shape: view.ints('kernel_shape') ?? kernel, strides, dilations }))
    if (sizes.length !== rank || sizes.some((size) => size < 1)) return `${name} [${sizes.join(', ')}]`;
  const own = view.ints('kernel_shape');
  if (own?.some((size, d) => size !== kernel[d]))
    return `kernel_shape [${own.join(', ')}] beside weights of [${kernel.join(', ')}]`;
  const auto = view.string('auto_pad', 'NOTSET');
  const base = { kernel, strides, dilations, ceil: view.int('ceil_mode', 0) === 1 };
  if (auto === 'SAME_UPPER' || auto === 'SAME_LOWER') return { ...base, pads: auto };
  if (auto !== 'NOTSET' && auto !== 'VALID') return `auto_pad '${auto}'`;
  const pads = (auto === 'NOTSET' ? view.ints('pads') : undefined) ?? [...ones, ...ones].map(() => 0);
  if (pads.length !== 2 * rank || pads.some((pad) => pad < 0)) return `pads [${pads.join(', ')}]`;
  return { ...base, pads: { before: pads.slice(0, rank), after: pads.slice(rank) } };
}

/** More floats than WebAssembly has room for: a damaged file may declare any size. */
const MAX_PLANE = 2 ** 30;

/**
 * @param spatial sizes of the image
 * @param tooFew of a pool: counts of windows that are right where the image is smaller than one. ONNX Runtime counts with a division that rounds
 * towards zero: what lacks less than a stride has one window all the same, partly outside, and what lacks less than two has none
 * @throws {@link RangeError} if no window fits, and `tooFew` has no such count
 */
export function placed(
  view: NodeView,
  windows: Windows,
  spatial: readonly number[],
  tooFew: readonly number[] = [],
): Placed {
  const { strides, pads, ceil } = windows;
  const each = spatial.map((size, d) => {
    const [stride, span] = [strides[d]!, windowSpan(windows, d)];
    if (typeof pads === 'string') return samePlace(size, stride, span, pads === 'SAME_UPPER' ? 'after' : 'before');
    const [before, after] = [pads.before[d]!, pads.after[d]!];
    const room = size + before + after - span;
    if (room < 0) {
      const out = Math.trunc(room / stride) + 1;
      if (tooFew.includes(out)) return { out, before, after };
      view.fail('X', `at least ${span} elements, pads included`, `${size + before + after}`);
    }
    let out = Math.floor(room / stride) + 1;
    // A window that begins in the pads behind the image is none.
    if (ceil && room % stride !== 0 && out * stride < size + before) out++;
    return { out, before, after };
  });
  const padded = spatial.reduce((count, size, d) => count * (size + each[d]!.before + each[d]!.after), 1);
  if (padded > MAX_PLANE) view.fail('X', `at most ${MAX_PLANE} elements of a channel, pads included`, `${padded}`);
  return {
    out: each.map(({ out }) => out),
    before: each.map(({ before }) => before),
    after: each.map(({ after }) => after),
  };
}

/** Dims of a result [batch, channels, …]. */
export function inferWindows(
  view: NodeView,
  x: Info | undefined,
  channels: Size | undefined,
  windows: Windows | string,
  symbols: Symbols,
): readonly Size[] | undefined {
  if (!x?.dims || channels === undefined) return undefined;
  const [batch, , ...spatial] = x.dims;
  if (batch === undefined) return undefined;
  if (typeof windows === 'string') return [batch, channels, ...spatial.map((size) => symbols.fresh([size]))];
  if (spatial.length !== windows.kernel.length)
    view.fail('X', `${windows.kernel.length} spatial dimensions`, `[${x.dims.join(', ')}]`);
  return [
    batch,
    channels,
    ...spatial.map((size, d) => {
      if (typeof size === 'number') return placed(view, alone(windows, d), [size]).out[0]!;
      return keepsSize(windows, d) ? size : symbols.fresh([size]);
    }),
  ];
}

/** One of the dimensions. */
function alone({ kernel, strides, dilations, pads, ceil }: Windows, d: number): Windows {
  const only = (sizes: readonly number[]): number[] => [sizes[d]!];
  const own = typeof pads === 'string' ? pads : { before: only(pads.before), after: only(pads.after) };
  return { kernel: only(kernel), strides: only(strides), dilations: only(dilations), pads: own, ceil };
}

function keepsSize(windows: Windows, d: number): boolean {
  const { strides, pads } = windows;
  if (strides[d] !== 1) return false;
  return typeof pads === 'string' || pads.before[d]! + pads.after[d]! === windowSpan(windows, d) - 1;
}

/** Is every window one element, in its place? */
export function isPointwise({ kernel, strides, pads }: Windows): boolean {
  const none = typeof pads === 'string' || [...pads.before, ...pads.after].every((pad) => pad === 0);
  return none && kernel.every((size) => size === 1) && strides.every((stride) => stride === 1);
}
