/**
 * Large constants on their way to ONNX Runtime: as external data beside a region's model, not as a part of it. Inside, they would be
 * copied into the model, the model into ONNX Runtime's memory, and out of it again.
 */
import { BackendUnavailableError } from '@msd/core';
import type { ByteRange, ByteSource } from '../read/source.ts';
import { readRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import { Message } from '../write/message.ts';

/** Constants from this size on. Smaller ones may be shapes that ONNX Runtime looks at while it reads the model. */
const LARGE_BYTES = 65536;
/** ONNX Runtime's offsets have 32 bits. */
const MOST_BYTES = 2 ** 32;

/** Throws before anything so large is read: ONNX Runtime's memory is limited to 4 GB. */
export function checkFits(what: string, byteLength: number): void {
  if (byteLength < MOST_BYTES) return;
  throw new BackendUnavailableError(
    `create: constants of ${what}, expected less than the 4 GB that the memory of ONNX Runtime can have, got ${(byteLength / 1e9).toFixed(1)} GB: too large.`,
  );
}

/** What a session is created from. */
export interface RegionModel {
  readonly bytes: Uint8Array;
  readonly externalData: readonly { readonly path: string; readonly data: Uint8Array }[];
  readonly byteLength: number;
}

/** Collects the large constants of one model. */
export class ExternalConstants {
  readonly #paths = new Map<ByteSource, string>();
  readonly #single: { readonly path: string; readonly range: ByteRange }[] = [];
  readonly #areCopied: boolean;
  #byteLength = 0;

  /** @param areCopied nothing may refer to the bytes of a whole file (in proxy mode all of them would be copied) */
  constructor(areCopied: boolean) {
    this.#areCopied = areCopied;
  }

  /** The constant as a TensorProto that says where its bytes lie; `undefined` if they are few. */
  message(name: string, { elemType, dims }: TensorRef, range: ByteRange): Message | undefined {
    if (range.length < LARGE_BYTES) return undefined;
    this.#byteLength += range.length;
    const { path, offset } = this.#placeOf(range);
    const message = new Message().ints(1, dims).int(2, elemType).string(8, name);
    for (const [key, value] of Object.entries({ location: path, offset, length: range.length }))
      message.message(13, new Message().string(1, key).string(2, `${value}`));
    return message.int(14, 1);
  }

  /** @param bytes the model that refers to them */
  model(bytes: Uint8Array): RegionModel {
    checkFits('a region', this.#byteLength);
    const shared = [...this.#paths].map(([source, path]) => ({ path, data: source.bytes! }));
    const read = this.#single.map(({ path, range }) => ({ path, data: readRange(range) }));
    return { bytes, externalData: [...shared, ...read], byteLength: bytes.byteLength + this.#byteLength };
  }

  /** Bytes in memory are referenced, others are read. */
  #placeOf(range: ByteRange): { path: string; offset: number } {
    const { source, offset, length } = range;
    // If the file consists mostly of this constant, a copy of it would be a second copy of the file.
    const isMost = source.arriving?.loaded === source.byteLength && 2 * length > source.byteLength;
    if (isMost && !this.#areCopied) source.arriving!.join();
    if (this.#areCopied || source.byteLength >= MOST_BYTES || !source.bytes) {
      const path = `constant${this.#single.length}`;
      this.#single.push({ path, range });
      return { path, offset: 0 };
    }
    let path = this.#paths.get(source);
    if (path === undefined) {
      path = `bytes${this.#paths.size}`;
      this.#paths.set(source, path);
    }
    return { path, offset };
  }
}

/** The options of a session that is created from it. */
export function withExternal(options: object, { externalData }: RegionModel): object {
  return externalData.length > 0 ? { ...options, externalData } : options;
}
