/** Buffers that callers allocate, and copies to and from them. */
import { BackendUnavailableError } from '../../errors.ts';
import { BufferUsage, type GpuBinding, type GpuBuffer, type GpuQueue, MAP_MODE_READ } from './api.ts';
import { checkInside } from './arguments.ts';
import { bindingLimit } from './live.ts';
import type { Session } from './session.ts';

const { STORAGE, COPY_SRC, COPY_DST } = BufferUsage;

const words = (byteLength: number): number => 4 * Math.ceil(byteLength / 4);

export class Storage {
  readonly #session: Session;
  readonly #buffers = new Set<GpuBuffer>();

  constructor(session: Session) {
    this.#session = session;
  }

  get byteLength(): number {
    let sum = 0;
    for (const { size } of this.#buffers) sum += size;
    return sum;
  }

  alloc(byteLength: number, label: string): GpuBinding {
    const session = this.#session;
    if (!Number.isSafeInteger(byteLength) || byteLength < 0)
      throw new RangeError(`alloc: ${label} expected a byte length, got ${byteLength}.`);
    session.checkUsable();
    const { device } = session.checkLive();
    const size = Math.max(4, words(byteLength));
    if (size > bindingLimit(device))
      throw new BackendUnavailableError(
        `alloc: ${label} needs ${size} bytes; this device's bindings end at ${bindingLimit(device)}.`,
      );
    const buffer = session.watched(
      () => device.createBuffer({ label: `msd ${label}`, size, usage: STORAGE | COPY_SRC | COPY_DST }),
      (message) => new BackendUnavailableError(`alloc: the GPU has no ${size} bytes for ${label}: ${message}`),
    );
    this.#buffers.add(buffer);
    return { buffer, offset: 0, byteLength };
  }

  free({ buffer }: GpuBinding): void {
    if (!this.#buffers.delete(buffer))
      throw new RangeError('free: expected a live buffer from alloc of this backend. Was it freed before?');
    this.#session.live.recorder.destroy(buffer);
  }

  write(to: GpuBinding, data: ArrayBufferView): void {
    const session = this.#session;
    session.checkUsable();
    const { device, recorder } = session.checkLive();
    checkRange('write', to, data.byteLength);
    if (recorder.isOpen) session.submit(); // what was run before reads the old bytes
    writeBytes(device.queue, to, data);
  }

  async read(from: GpuBinding, into: ArrayBufferView): Promise<void> {
    const session = this.#session;
    session.checkUsable();
    const { readbacks, recorder } = session.checkLive();
    const { byteLength } = into;
    checkRange('read', from, byteLength);
    if (byteLength === 0) return;
    const size = words(byteLength);
    const readback = readbacks.take(size);
    recorder.copy(from.buffer, from.offset ?? 0, readback, size);
    session.submit();
    try {
      await readback.mapAsync(MAP_MODE_READ, 0, size);
    } catch (error) {
      readbacks.drop(readback);
      await session.answered(); // tells why
      throw error;
    }
    const bytes = new Uint8Array(readback.getMappedRange(0, size), 0, byteLength);
    new Uint8Array(into.buffer, into.byteOffset, byteLength).set(bytes);
    readback.unmap();
    readbacks.give(readback);
    await session.answered(); // what was refused has written nothing
  }

  /** Frees all of them. */
  dispose(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#buffers.clear();
  }
}

function checkRange(where: string, handle: GpuBinding, byteLength: number): void {
  if (byteLength > handle.byteLength)
    throw new RangeError(`${where}: expected at most the handle's ${handle.byteLength} bytes, got ${byteLength}.`);
  checkInside(`${where}: the handle`, { ...handle, byteLength: words(byteLength) });
}

/** Not every queue takes views of shared memory, and all take whole words only: such data is copied first. */
export function writeBytes(queue: GpuQueue, { buffer, offset = 0 }: GpuBinding, data: ArrayBufferView): void {
  const { byteLength } = data;
  if (data.buffer instanceof ArrayBuffer && byteLength % 4 === 0) {
    queue.writeBuffer(buffer, offset, data as ArrayBufferView<ArrayBuffer>);
    return;
  }
  const copy = new Uint8Array(words(byteLength));
  copy.set(new Uint8Array(data.buffer, data.byteOffset, byteLength));
  queue.writeBuffer(buffer, offset, copy);
}
