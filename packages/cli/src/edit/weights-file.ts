/**
 * Tensors on their way into a model: appended to a file, so that memory never holds more than a slab of one. It becomes the model's
 * external data, or is copied into the model and taken away.
 */
import { closeSync, openSync, readSync, rmSync } from 'node:fs';
import type { ByteRange, ByteSource } from '@msd/onnx/model';
import { writeFully } from './disk.ts';

/** Where a tensor begins: what ONNX Runtime maps it needs no better. */
const ALIGNMENT = 64;

/** A file that grows. */
export class WeightsFile {
  readonly path: string;
  byteLength = 0;
  readonly #fd: number;
  readonly #source: ByteSource;
  #isOpen = true;

  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'w+');
    this.#source = {
      name: path,
      byteLength: Number.MAX_SAFE_INTEGER,
      read: (offset, length, into) => {
        const target = into && into.length >= length ? into.subarray(0, length) : new Uint8Array(length);
        for (let done = 0; done < length; ) done += readSync(this.#fd, target, done, length - done, offset + done);
        return target;
      },
      close() {},
    };
  }

  /** Begins a tensor. @returns its offset */
  begin(): number {
    const gap = WeightsFile.aligned(this.byteLength) - this.byteLength;
    if (gap > 0) this.append(new Uint8Array(gap));
    return this.byteLength;
  }

  /** Where a tensor may begin, from an offset on. */
  static aligned(offset: number): number {
    return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
  }

  append(bytes: ArrayBufferView): void {
    writeFully(this.#fd, bytes, this.path, this.byteLength);
    this.byteLength += bytes.byteLength;
  }

  /** A whole tensor. */
  tensor(bytes: ArrayBufferView): ByteRange {
    const offset = this.begin();
    this.append(bytes);
    return this.range(offset);
  }

  /** What was appended from `offset` on. */
  range(offset: number): ByteRange {
    return { source: this.#source, offset, length: this.byteLength - offset };
  }

  /** Forgets what was appended from `offset` on. */
  rewind(offset: number): void {
    this.byteLength = offset;
  }

  /** Is this a part of it? */
  has({ source }: ByteRange): boolean {
    return source === this.#source;
  }

  /** Idempotent. */
  close(): void {
    if (this.#isOpen) closeSync(this.#fd);
    this.#isOpen = false;
  }

  /** Closes it and takes the file away. */
  remove(): void {
    this.close();
    rmSync(this.path, { force: true });
  }
}
