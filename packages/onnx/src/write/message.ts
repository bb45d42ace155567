/**
 * A protobuf message as a list of parts: small fields go through the wire writer, large payloads are only referred to, so
 * that writing a model touches a weight once, when it lands in the final bytes.
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { ByteRange } from '../read/source.ts';

/** Payloads from here on are not copied into the writer. */
const LARGE_BYTES = 1024;

/** Bytes in memory, or a stretch of a source that is read straight into the result. */
export type Part = Uint8Array | ByteRange;

/** Collects the fields of one message. */
export class Message {
  /** Length of what was written so far. */
  byteLength = 0;
  readonly #parts: Part[] = [];
  readonly #writer = new BinaryWriter();
  #pending = false;

  /** A varint field. */
  int(field: number, value: number | bigint): this {
    this.#small().tag(field, WireType.Varint).int64(value);
    return this;
  }

  /** A float field. */
  float(field: number, value: number): this {
    this.#small().tag(field, WireType.Bit32).float(value);
    return this;
  }

  /** A string field. */
  string(field: number, value: string): this {
    this.#small().tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  /** A packed repeated int64 field. */
  ints(field: number, values: readonly (number | bigint)[]): this {
    const writer = this.#small().tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.int64(value);
    writer.join();
    return this;
  }

  /** A packed repeated float field. */
  floats(field: number, values: readonly number[]): this {
    const writer = this.#small().tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.float(value);
    writer.join();
    return this;
  }

  /** A bytes field. Large payloads are kept by reference until `finish`. */
  bytes(field: number, value: Part): this {
    const length = lengthOf(value);
    this.#small().tag(field, WireType.LengthDelimited).uint32(length);
    return this.raw(value);
  }

  /** An embedded message. */
  message(field: number, value: Message): this {
    value.#flush();
    this.#small().tag(field, WireType.LengthDelimited).uint32(value.byteLength);
    this.#flush();
    for (const part of value.#parts) this.#push(part);
    return this;
  }

  /** Fields that are already encoded. */
  raw(value: Part): this {
    if (value instanceof Uint8Array && value.byteLength < LARGE_BYTES) {
      this.#small().raw(value);
    } else {
      this.#flush();
      this.#push(value);
    }
    return this;
  }

  /** The whole message in pieces, in order: for files that are larger than a buffer can be. */
  parts(): readonly Part[] {
    this.#flush();
    return this.#parts;
  }

  /** The whole message in one buffer. */
  finish(): Uint8Array<ArrayBuffer> {
    this.#flush();
    const out = new Uint8Array(this.byteLength);
    let at = 0;
    for (const part of this.#parts) {
      const length = lengthOf(part);
      const target = out.subarray(at, at + length);
      const bytes = part instanceof Uint8Array ? part : part.source.read(part.offset, length, target);
      // A file reads into `target` itself; everything else is copied there.
      if (bytes.buffer !== out.buffer) target.set(bytes);
      at += length;
    }
    return out;
  }

  #small(): BinaryWriter {
    this.#pending = true;
    return this.#writer;
  }

  #flush(): void {
    if (!this.#pending) return;
    this.#pending = false;
    this.#push(this.#writer.finish());
  }

  #push(part: Part): void {
    this.#parts.push(part);
    this.byteLength += lengthOf(part);
  }
}

function lengthOf(part: Part): number {
  return part instanceof Uint8Array ? part.byteLength : part.length;
}
