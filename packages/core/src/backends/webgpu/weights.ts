/** A matrix on the GPU: the packed layout of WASM, in as many pieces of whole panels as the device's bindings demand. */

import { BackendUnavailableError } from '../../errors.ts';
import { PANEL, type WeightFormat, type WeightVariant } from '../../formats/format.ts';
import { formats } from '../../formats/index.ts';
import { type PackedLayout, packedLayout, rowsOf, variantOf } from '../../formats/layout.ts';
import { packInto } from '../../formats/pack.ts';
import { PACKED_VERSION } from '../../formats/packed.ts';
import type { FormatId, QuantizedWeights, WeightShape } from '../../formats/weights.ts';
import type { PreparedMatrix } from '../backend.ts';
import { BufferUsage, type GpuBuffer, type GpuDevice } from './api.ts';
import type { WebGpuBackend } from './backend.ts';

const { STORAGE, COPY_SRC, COPY_DST } = BufferUsage;

/** Columns [n, n + N) of a matrix, packed as a matrix of their own. */
export interface WeightPiece {
  readonly n: number;
  readonly N: number;
  readonly layout: PackedLayout;
  readonly buffer: GpuBuffer;
  /** Bytes into the buffer, a multiple of 16. */
  readonly offset: number;
}

export class GpuWeights implements PreparedMatrix {
  readonly version = PACKED_VERSION;
  readonly backend: WebGpuBackend;
  readonly format: FormatId;
  readonly N: number;
  readonly K: number;
  readonly blockSize: number | null;
  readonly byteLength: number;
  readonly kernelFormat: WeightFormat;
  readonly variant: WeightVariant;
  /** Whose buffers these are; they die with it. */
  readonly gpuDevice: GpuDevice;
  /** Buffers that were adopted are their owner's: none is destroyed. */
  readonly #destroy: ((buffer: GpuBuffer) => void) | undefined;
  #pieces: readonly WeightPiece[] | undefined;

  /** @internal by {@link WebGpuBackend.prepare} and {@link WebGpuBackend.adopt} */
  constructor(
    backend: WebGpuBackend,
    gpuDevice: GpuDevice,
    { format, N, K, blockSize }: WeightShape,
    variant: WeightVariant,
    pieces: readonly WeightPiece[],
    destroy?: (buffer: GpuBuffer) => void,
  ) {
    this.backend = backend;
    this.gpuDevice = gpuDevice;
    this.format = format;
    this.N = N;
    this.K = K;
    this.blockSize = blockSize;
    this.kernelFormat = formats[format];
    this.variant = variant;
    this.byteLength = pieces.reduce((sum, { layout }) => sum + layout.byteLength, 0);
    this.#pieces = pieces;
    this.#destroy = destroy;
  }

  /** `undefined` once disposed. */
  get pieces(): readonly WeightPiece[] | undefined {
    return this.#pieces;
  }

  /** Gives the bytes back, unless they were adopted: those stay their owner's. Work that was submitted still finishes. */
  dispose(): void {
    if (!this.#pieces) return;
    for (const { buffer } of this.#pieces) this.#destroy?.(buffer);
    this.#pieces = undefined;
    this.backend.release(this);
  }
}

/**
 * Packs and uploads a piece at a time, through memory for one of them.
 *
 * @param pieceBytes what a buffer may have
 * @throws {@link BackendUnavailableError} if not even 16 columns fit, or there is no memory; nothing is left behind then
 */
export function uploadWeights(device: GpuDevice, weights: QuantizedWeights, pieceBytes: number): WeightPiece[] {
  const { N, K, format } = weights;
  const variant = variantOf(weights);
  const layoutOf = (columns: number) => packedLayout(formats[format], variant, columns, K);
  const panelBytes = layoutOf(PANEL).byteLength;
  const columns = PANEL * Math.floor(pieceBytes / panelBytes);
  const label = `msd weights ${format} [${N},${K}]`;
  if (columns === 0)
    throw new BackendUnavailableError(
      `prepare: 16 columns of ${format} [N=${N},K=${K}] take ${panelBytes} bytes; a buffer of this device may have ${pieceBytes}.`,
    );
  const pieces: WeightPiece[] = [];
  try {
    const packed = new ArrayBuffer(layoutOf(Math.min(N, columns)).byteLength);
    for (let n = 0; n < N; n += columns) {
      const end = Math.min(N, n + columns);
      const layout = layoutOf(end - n);
      const buffer = device.createBuffer({ label, size: layout.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
      pieces.push({ n, N: end - n, layout, buffer, offset: 0 });
      packInto(rowsOf(weights, n, end), layout, packed, 0);
      device.queue.writeBuffer(buffer, 0, packed, 0, layout.byteLength);
    }
  } catch (cause) {
    for (const { buffer } of pieces) buffer.destroy();
    throw new BackendUnavailableError(`prepare: no memory left for ${label}.`, { cause });
  }
  return pieces;
}
