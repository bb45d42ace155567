/** A message of a file as its fields, for writing most of them again as they are. */
import { Cursor, WIRE } from '../read/cursor.ts';
import type { ByteRange } from '../read/source.ts';

/** A field with where its bytes lie. */
export interface Field {
  readonly field: number;
  /** With its tag. */
  readonly whole: ByteRange;
  /** Without: of fields that have a length. */
  readonly payload: ByteRange | undefined;
}

/** Fields of a message, in the order of the file. */
export function* fieldsOf(range: ByteRange, label: string): Generator<Field> {
  const cursor = Cursor.overRange(range, label);
  let from = cursor.position;
  while (cursor.next()) {
    const { field } = cursor;
    const payload = cursor.wire === WIRE.lengthDelimited ? cursor.range() : undefined;
    if (!payload) cursor.skip();
    const to = cursor.position;
    yield { field, whole: { source: range.source, offset: from, length: to - from }, payload };
    from = to;
  }
}
