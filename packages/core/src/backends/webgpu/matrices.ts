/** The matrices that were prepared for the device; what is adopted stays its owner's, and is not counted. */
import { BackendUnavailableError } from '../../errors.ts';
import { variantOf } from '../../formats/layout.ts';
import { type PackedShape, validatePacked } from '../../formats/packed.ts';
import { validateWeights } from '../../formats/validate.ts';
import type { QuantizedWeights } from '../../formats/weights.ts';
import type { GpuBinding, GpuBuffer } from './api.ts';
import { checkInside } from './arguments.ts';
import type { WebGpuBackend } from './backend.ts';
import { bindingLimit, watch } from './live.ts';
import type { Session } from './session.ts';
import { GpuWeights, uploadWeights } from './weights.ts';

const PIECE_BYTES = 2 ** 26;

export class Matrices {
  readonly #backend: WebGpuBackend;
  readonly #session: Session;
  readonly #all = new Set<GpuWeights>();

  /** @param backend whose matrices they are */
  constructor(backend: WebGpuBackend, session: Session) {
    this.#backend = backend;
    this.#session = session;
  }

  get byteLength(): number {
    let sum = 0;
    for (const { byteLength } of this.#all) sum += byteLength;
    return sum;
  }

  async prepare(weights: QuantizedWeights): Promise<GpuWeights> {
    const session = this.#session;
    validateWeights(weights);
    session.checkUsable();
    const { device, recorder } = session.live.lost ? await session.restored() : session.live;
    const limit = bindingLimit(device);
    const scopes = watch(device);
    let pieces: ReturnType<typeof uploadWeights>;
    try {
      pieces = uploadWeights(device, weights, Math.min(session.options.pieceBytes ?? PIECE_BYTES, limit));
    } catch (error) {
      await scopes.end();
      throw error;
    }
    const problem = await scopes.end();
    if (problem || session.disposed) {
      for (const { buffer } of pieces) buffer.destroy();
      session.checkDisposed();
      throw new BackendUnavailableError(
        `prepare: the GPU refused ${weights.format} [${weights.N},${weights.K}]: ${problem!.message}`,
      );
    }
    const destroy = (buffer: GpuBuffer) => recorder.destroy(buffer);
    const matrix = new GpuWeights(this.#backend, device, weights, variantOf(weights), pieces, destroy);
    this.#all.add(matrix);
    return matrix;
  }

  adopt(packed: PackedShape, where: GpuBinding): GpuWeights {
    this.#session.checkUsable();
    const { buffer, offset = 0, byteLength } = where;
    const layout = validatePacked(packed, byteLength, 'adopt');
    checkInside('adopt: where', where, 16);
    const piece = { n: 0, N: packed.N, layout, buffer, offset };
    return new GpuWeights(this.#backend, this.#session.live.device, packed, packed, [piece]);
  }

  release(matrix: GpuWeights): void {
    this.#all.delete(matrix);
  }

  dispose(): void {
    for (const matrix of this.#all) matrix.dispose();
  }
}
