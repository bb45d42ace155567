/** A command encoder that stays open: what runs is recorded, in order, until something has to be copied, written or waited for. */
import type { GpuBuffer, GpuCommandEncoder, GpuComputePass, GpuDevice } from './api.ts';

export class Recorder {
  readonly #device: GpuDevice;
  #encoder: GpuCommandEncoder | undefined;
  #pass: GpuComputePass | undefined;
  /** Given up, but part of what is recorded. */
  #doomed: GpuBuffer[] = [];

  constructor(device: GpuDevice) {
    this.#device = device;
  }

  /** Is there something that has not been submitted? */
  get isOpen(): boolean {
    return this.#encoder !== undefined;
  }

  get pass(): GpuComputePass {
    return (this.#pass ??= this.#open().beginComputePass({ label: 'msd' }));
  }

  /** Offsets and `byteLength` are multiples of 4. */
  copy(from: GpuBuffer, fromOffset: number, to: GpuBuffer, byteLength: number): void {
    this.#endPass();
    this.#open().copyBufferToBuffer(from, fromOffset, to, 0, byteLength);
  }

  submit(): void {
    const encoder = this.#encoder;
    if (!encoder) return;
    this.#endPass();
    this.#encoder = undefined;
    this.#device.queue.submit([encoder.finish()]);
    for (const buffer of this.#doomed) buffer.destroy();
    this.#doomed = [];
  }

  /** Destroys a buffer once what is recorded with it has been submitted; what was submitted still runs. */
  destroy(buffer: GpuBuffer): void {
    if (this.isOpen) this.#doomed.push(buffer);
    else buffer.destroy();
  }

  /** Forgets what was not submitted. */
  dispose(): void {
    this.#endPass();
    this.#encoder = undefined;
    for (const buffer of this.#doomed) buffer.destroy();
    this.#doomed = [];
  }

  #open(): GpuCommandEncoder {
    return (this.#encoder ??= this.#device.createCommandEncoder({ label: 'msd' }));
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }
}
