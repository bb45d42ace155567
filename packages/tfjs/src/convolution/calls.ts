/**
 * Convolutions on a device of @msd/core's that lives in memory. Slice by slice, so that what lies between two kernels stays in the
 * cache: lines of the image with the zeros around them, then windows of these as rows, and rows times the weights. Where each channel
 * has a filter of its own: sums over windows, in one kernel.
 */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import {
  copyOnWasm as copy,
  type OpSpec,
  pad,
  type TensorType,
  type WindowSlice,
  windowRows,
  windowSlices,
  windowsOnWasm as windowsSpec,
} from '@msd/core/nn';
import { perHost } from '../kernels/host.ts';
import { sizeOf } from '../shapes.ts';
import { type Band, bandOf, type Placed } from './band.ts';
import { tapsOf } from './window.ts';

type Call = ReturnType<WasmBackend['bind']>;

/** Calls that are kept: a few of each layer. */
const MOST_CALLS = 1024;

const f32 = (dims: readonly number[]): TensorType => ({ dtype: 'f32', dims });
const partOf = ({ arena, ptr }: ArenaHandle, at: number, size: number): ArenaHandle => arena.at(ptr + 4 * at, 4 * size);

export class ConvolutionCalls {
  readonly #device: WasmBackend;
  readonly #calls = new Map<string, Call>();

  constructor(device: WasmBackend) {
    this.#device = device;
  }

  /**
   * y[b,p,n] = Σ over a window of x, as a row [taps · channels], times a matrix.
   *
   * @param y [batch, out…, N]
   * @param multiply puts M rows times the matrix into a place
   */
  product(
    image: Placed,
    { x, y }: Readonly<Record<'x' | 'y', ArenaHandle>>,
    N: number,
    multiply: (rows: ArenaHandle, M: number, y: ArenaHandle) => void,
  ): void {
    const { window, dims, places } = image;
    const [batch, , , C] = dims as [number, number, number, number];
    const [{ out: lines }, { out: columns }] = places as [Placed['places'][0], Placed['places'][0]];
    const K = tapsOf(window) * C;
    const slices = windowSlices(batch, lines, columns, 4 * K);
    const most = Math.max(...slices.map((slice) => slice.images * slice.lines * columns * K));
    this.#withScratch(most, 'windows', (rows) =>
      this.#bands(image, x, slices, (slice, band, at) => {
        const own = [slice.images, slice.lines, columns];
        this.#run(copy, windowRows(band.padded, window, own), [f32(band.padded)], [at, rows]);
        multiply(rows, sizeOf(own), partOf(y, (slice.image * lines + slice.line) * columns * N, sizeOf(own) * N));
      }),
    );
  }

  /**
   * y[b,p,c] = Σ over a window of x[…,c] · w[tap,c], + bias[c], clamped.
   *
   * @param w f32 [taps, channels]
   */
  depthwise(
    image: Placed,
    { x, w, bias, y }: Readonly<Record<'x' | 'w' | 'y', ArenaHandle>> & { readonly bias: ArenaHandle | undefined },
    clamp: readonly [number, number] | undefined,
  ): void {
    const { window, dims, places } = image;
    const { kernel, strides, dilations } = window;
    const [top, bottom, left, right] = places.flatMap(({ before, after }) => [before, after]);
    const pads = [top!, bottom!, left!, right!] as const;
    const op = { kind: 'weighted' as const, kernel, strides, dilations, pads, clamp };
    const channels = dims[3]!;
    this.#run(windowsSpec, op, [f32(dims), f32([tapsOf(window), channels]), bias && f32([channels])], [x, w, bias, y]);
  }

  /** @param use gets each band with its zeros: where it lies in the image if it has none */
  #bands(
    image: Placed,
    x: ArenaHandle,
    slices: readonly WindowSlice[],
    use: (slice: WindowSlice, band: Band, at: ArenaHandle) => void,
  ): void {
    const bands = slices.map((slice) => bandOf(image, slice));
    const most = Math.max(0, ...bands.map(({ padded, isPadded }) => (isPadded ? sizeOf(padded) : 0)));
    const run = (scratch: ArenaHandle | undefined): void =>
      slices.forEach((slice, i) => {
        const band = bands[i]!;
        const { first, dims, before, after, isPadded } = band;
        const own = partOf(x, first, sizeOf(dims));
        if (isPadded) this.#run(copy, pad(dims, { before, after }), [f32(dims)], [own, scratch]);
        use(slice, band, isPadded ? scratch! : own);
      });
    if (most) this.#withScratch(most, 'lines', run);
    else run(undefined);
  }

  #withScratch(size: number, label: string, use: (scratch: ArenaHandle) => void): void {
    const scratch = this.#device.alloc(4 * size, label);
    try {
      use(scratch);
    } finally {
      this.#device.free(scratch);
    }
  }

  #run<O>(
    spec: OpSpec<O>,
    op: O,
    inputs: readonly (TensorType | undefined)[],
    operands: readonly (ArenaHandle | undefined)[],
  ): void {
    const key = JSON.stringify([spec.name, op, inputs]);
    const known = this.#calls.get(key);
    if (known) {
      this.#device.run(known, { operands: operands as ArenaHandle[] }); // absent ones stay absent
      return;
    }
    const call = this.#device.bind({ kind: 'op', spec: spec as OpSpec<unknown>, op, inputs }, operands);
    if (this.#calls.size === MOST_CALLS) this.#calls.clear();
    this.#calls.set(key, call);
    this.#device.run(call);
  }
}

/** `undefined` if MSD has no kernels for convolutions there. */
export const callsOf = /* @__PURE__ */ perHost(({ device }) => new ConvolutionCalls(device));
