/**
 * A protobuf cursor over a {@link ByteSource}: it sees a file through a window and steps over what it does not read, so a
 * length field costs nothing until its bytes are asked for, and never more than the bytes that exist.
 */
import { OnnxFormatError } from '../errors.ts';
import { type ByteRange, type ByteSource, bytesSource } from './source.ts';
import { Window } from './window.ts';

/** How a field lies in the file. Groups, which ONNX has none of, are refused. */
export const WIRE = { varint: 0, bit64: 1, lengthDelimited: 2, bit32: 5 } as const;

/** ONNX files nest a few levels (model, graph, node, attribute, graph, …); deeper is an attack on the stack. */
const MAX_DEPTH = 100;

/** Longer lists of numbers are passed on unread: no operator that is looked at has such an attribute. */
const MAX_LIST = 1 << 16;
/** About what a record takes once it is parsed, by message. Others are gone by then. */
const RECORD_BYTES: ReadonlyMap<string, number> = /* @__PURE__ */ new Map([
  ['FunctionProto', 1500],
  ['NodeProto', 600],
  ['AttributeProto', 300],
  ['TensorProto', 500],
  ['SparseTensorProto', 200],
  ['ValueInfoProto', 200],
  ['StringStringEntryProto', 100],
  ['OperatorSetIdProto', 100],
]);
/** Longer texts are read where they are: no operator that is looked at has such an attribute. */
const MAX_TEXT = 64;
/** Nor one with more texts. */
const MAX_TEXTS = 64;
/** Of a string, or a range that is kept, beside its characters. */
const ITEM_BYTES = 40;

const utf8 = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads one message field by field.
 *
 * @example
 * ```ts
 * const cursor = Cursor.over(source, 'ModelProto');
 * while (cursor.next()) {
 *   if (cursor.field === 1) irVersion = cursor.int();
 *   else cursor.skip();
 * }
 * ```
 */
export class Cursor {
  /** Number of the field that `next` found. */
  field = 0;
  /** Wire type of that field. */
  wire: number = WIRE.varint;
  readonly label: string;
  readonly #window: Window;
  readonly #depth: number;
  readonly #start: number;
  readonly #end: number;
  #pos: number;
  #low = 0;
  #high = 0;

  private constructor(window: Window, start: number, end: number, label: string, depth: number) {
    this.#window = window;
    this.#start = start;
    this.#pos = start;
    this.#end = end;
    this.label = label;
    this.#depth = depth;
  }

  /** A cursor over a whole source. */
  static over(source: ByteSource, label: string): Cursor {
    return new Cursor(new Window(source), 0, source.byteLength, label, 0);
  }

  /** A cursor over one range of a source. */
  static overRange(range: ByteRange, label: string): Cursor {
    return new Cursor(new Window(range.source), range.offset, range.offset + range.length, label, 0);
  }

  /** Offset in the source of what comes next. */
  get position(): number {
    return this.#pos;
  }

  /** Steps to the next field; false at the end of the message. */
  next(): boolean {
    if (this.#pos >= this.#end) return false;
    this.#varint();
    this.field = this.#low >>> 3;
    this.wire = this.#low & 7;
    if (this.#high !== 0 || this.field === 0) this.fail('tag', 'a field number of at least 1', 'none');
    return true;
  }

  /** The payload of a length-delimited field, as a range that nobody has read. */
  range(): ByteRange {
    const length = this.#length();
    const offset = this.#pos;
    this.#pos += length;
    return { source: this.#window.source, offset, length };
  }

  /** The range of this whole message. */
  whole(): ByteRange {
    return { source: this.#window.source, offset: this.#start, length: this.#end - this.#start };
  }

  /** The same of a text: with bytes of its own, for it is asked for when the file is closed, too. */
  text(): ByteRange {
    const range = this.range();
    const { offset, length } = range;
    this.#charge(ITEM_BYTES);
    if (length > MAX_TEXT) return range;
    return { source: bytesSource(new Uint8Array(this.#window.view(offset, length))), offset: 0, length };
  }

  /** A cursor over an embedded message. */
  message(label: string): Cursor {
    if (this.#depth >= MAX_DEPTH) this.fail(label, `at most ${MAX_DEPTH} nested messages`, 'more');
    const length = this.#length();
    const start = this.#pos;
    this.#pos += length;
    this.#charge(RECORD_BYTES.get(label) ?? 0);
    return new Cursor(this.#window, start, start + length, label, this.#depth + 1);
  }

  /** The payload of a length-delimited field, valid until the cursor (or a relative over the same file) moves on. */
  bytes(): Uint8Array {
    const length = this.#length();
    const view = this.#window.view(this.#pos, length);
    this.#pos += length;
    return view;
  }

  /** A string field. */
  string(): string {
    const at = this.#pos;
    const bytes = this.bytes();
    this.#charge(ITEM_BYTES + 2 * bytes.length);
    try {
      return utf8.decode(bytes.buffer instanceof ArrayBuffer ? bytes : new Uint8Array(bytes)); // no shared memory
    } catch {
      throw new OnnxFormatError(`read: ${this.label} at byte ${at}: string, expected UTF-8, got other bytes.`);
    }
  }

  /** A varint field as a signed 64-bit integer; beyond 2⁵³ the nearest number. */
  int(): number {
    if (this.wire !== WIRE.varint) this.#wrongWire(WIRE.varint);
    this.#varint();
    return (this.#high | 0) * 0x1_0000_0000 + this.#low;
  }

  /** A float field. */
  float(): number {
    if (this.wire !== WIRE.bit32) this.#wrongWire(WIRE.bit32);
    scratch.setUint32(0, this.#word());
    return scratch.getFloat32(0);
  }

  /**
   * Appends the values of a repeated int64 field, packed or not.
   *
   * @param most values in `to`
   * @returns false if there are more, which are stepped over
   */
  ints(to: number[], most: number = MAX_LIST): boolean {
    if (this.wire !== WIRE.lengthDelimited) {
      const value = this.int();
      if (to.length >= most) return false;
      to.push(value);
      return true;
    }
    const end = this.#length() + this.#pos;
    while (this.#pos < end) {
      if (to.length >= most) {
        this.#pos = end;
        return false;
      }
      this.#varint();
      if (this.#pos > end) this.fail('packed integers', 'whole values', 'a cut one');
      to.push((this.#high | 0) * 0x1_0000_0000 + this.#low);
    }
    return true;
  }

  /** Appends the values of a repeated float field, packed or not. @returns as {@link Cursor.ints} */
  floats(to: number[]): boolean {
    if (this.wire !== WIRE.lengthDelimited) {
      const value = this.float();
      if (to.length >= MAX_LIST) return false;
      to.push(value);
      return true;
    }
    const { offset, length, source } = this.range();
    if (length / 4 + to.length > MAX_LIST) return false;
    const bytes = source.read(offset, length);
    if (bytes.length % 4 !== 0) this.fail('packed floats', 'a multiple of 4 bytes', `${bytes.length}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < bytes.length; i += 4) to.push(view.getFloat32(i, true));
    return true;
  }

  /** Gives every value of a repeated field of numbers, packed or not, as two words of 32 bits. @param wire of one value */
  words(
    wire: typeof WIRE.varint | typeof WIRE.bit32 | typeof WIRE.bit64,
    each: (low: number, high: number) => void,
  ): void {
    const isPacked = this.wire === WIRE.lengthDelimited;
    if (!isPacked && this.wire !== wire) this.#wrongWire(wire);
    const end = isPacked ? this.#length() + this.#pos : this.#pos + 1;
    while (this.#pos < end) {
      if (wire === WIRE.varint) this.#varint();
      else {
        this.#low = this.#word();
        this.#high = wire === WIRE.bit64 ? this.#word() : 0;
      }
      if (isPacked && this.#pos > end) this.fail('packed numbers', 'whole values', 'a cut one');
      each(this.#low, this.#high);
    }
  }

  /** Appends a text of a repeated bytes field. @returns as {@link Cursor.ints} */
  texts(to: ByteRange[]): boolean {
    if (to.length < MAX_TEXTS) return to.push(this.text()) > 0;
    const range = this.range();
    if (to.length >= MAX_LIST) return false;
    this.#charge(ITEM_BYTES);
    to.push(range);
    return true;
  }

  /** Steps over the field, whatever it is. */
  skip(): void {
    switch (this.wire) {
      case WIRE.varint:
        this.#varint();
        return;
      case WIRE.bit64:
        this.#advance(8);
        return;
      case WIRE.bit32:
        this.#advance(4);
        return;
      case WIRE.lengthDelimited:
        this.range();
        return;
      default:
        this.fail('wire type', '0, 1, 2 or 5 (ONNX has no groups)', `${this.wire}`);
    }
  }

  /** Throws the error of this place. */
  fail(what: string, expected: string, got: string): never {
    throw new OnnxFormatError(
      `read: ${this.label} at byte ${this.#pos} of ${this.#window.source.name}: ${what}, expected ${expected}, got ${got}. Is the file complete?`,
    );
  }

  #charge(bytes: number): void {
    this.#window.budget -= bytes;
    if (this.#window.budget < 0) this.fail(this.label, 'records in keeping with the size of the file', 'far more');
  }

  #advance(length: number): void {
    if (this.#pos + length > this.#end) this.fail('field', `${length} bytes`, `${this.#end - this.#pos}`);
    this.#pos += length;
  }

  #length(): number {
    if (this.wire !== WIRE.lengthDelimited) this.#wrongWire(WIRE.lengthDelimited);
    this.#varint();
    const length = this.#high * 0x1_0000_0000 + this.#low;
    const left = this.#end - this.#pos;
    if (length > left) this.fail(`field ${this.field}`, `${length} bytes`, `${left}`);
    return length;
  }

  #wrongWire(expected: number): never {
    return this.fail(`field ${this.field}`, `wire type ${expected}`, `${this.wire}`);
  }

  /** Four bytes, the least one first. */
  #word(): number {
    if (this.#pos + 4 > this.#end) this.fail('number', '4 bytes', `${this.#end - this.#pos}`);
    let word = 0;
    for (let shift = 0; shift < 32; shift += 8) word |= this.#window.at(this.#pos++) << shift;
    return word >>> 0;
  }

  #varint(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.#pos >= this.#end) this.fail('varint', 'more bytes', 'the end of the message');
      const byte = this.#window.at(this.#pos++);
      if (shift < 28) low |= (byte & 127) << shift;
      else if (shift === 28) {
        low |= (byte & 127) << 28;
        high = (byte & 127) >>> 4;
      } else high |= (byte & 127) << (shift - 32);
      if (byte < 128) {
        this.#low = low >>> 0;
        this.#high = high >>> 0;
        return;
      }
    }
    this.fail('varint', 'at most 10 bytes', 'more');
  }
}

const scratch = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(4));
