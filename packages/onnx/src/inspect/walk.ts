/**
 * Goes through the records of a file behind a URL and has all of them fetched, but for the elements of large tensors: what reads the
 * model afterwards finds everything. Places of tensors are known one after the other only, each by the length of the one before, which
 * would cost a round trip each; but layers repeat, so where the next ones will be is guessed.
 */
import { PAGE, type RangedSource } from './ranged.ts';

/** Larger fields are stepped over, but for their beginnings. */
const LARGE_BYTES = 4 * PAGE;
/** Where a large tensor says what it is: dims, type and name, before its elements. */
const HEADER_BYTES = 512;
/** Bytes of a tag and a length at most. */
const TAG_BYTES = 20;
const GRAPH = 7;
const NODE = 1;
const ATTRIBUTE = 5;
const SUBGRAPH = 6;
const INITIALIZER = 5;

/** Tensors that are fetched ahead of the one that is read. */
const MOST_AHEAD = 24;
/** How many have to repeat before anything is guessed, and how many are looked at: about a layer. */
const LEAST_ALIKE = 3;
const MOST_ALIKE = 48;
/** Names have numbers in them, which get longer. */
const NAME_BYTES = 4;

/** Fetches the records of a model. A file that is none ends the walk: whoever reads it says what it is. */
export async function walkModel(source: RangedSource): Promise<void> {
  await walk(source, 0, source.byteLength, async ({ field, offset, length }) => {
    if (field === GRAPH) await walkGraph(source, offset, offset + length);
    else await source.need(offset, Math.min(length, LARGE_BYTES));
  });
}

async function walkGraph(source: RangedSource, begin: number, end: number): Promise<void> {
  const places = new Places(source);
  await walk(source, begin, end, async ({ field, offset, length }) => {
    if (length <= LARGE_BYTES) return source.need(offset, length);
    if (field === NODE) return walkNode(source, offset, offset + length);
    await source.need(offset, Math.min(HEADER_BYTES, length));
    if (field === INITIALIZER) places.add({ begin: offset, end: offset + length });
  });
}

/** Of a node that is large: a constant, or one with subgraphs. */
async function walkNode(source: RangedSource, begin: number, end: number): Promise<void> {
  await walk(source, begin, end, async ({ field, offset, length }) => {
    if (length <= LARGE_BYTES || field !== ATTRIBUTE) return source.need(offset, Math.min(length, LARGE_BYTES));
    await walk(source, offset, offset + length, async (inner) => {
      if (inner.field === SUBGRAPH) await walkGraph(source, inner.offset, inner.offset + inner.length);
      else await source.need(inner.offset, Math.min(inner.length, HEADER_BYTES));
    });
  });
}

/** Where a large tensor began, and where it ended. */
interface Seen {
  readonly begin: number;
  readonly end: number;
}

/** Where large tensors are, and where the next ones will be if layers repeat. */
class Places {
  readonly #source: RangedSource;
  readonly #seen: Seen[] = [];
  /** Where the next one was thought to be, and how many are fetched ahead: more as long as that is right. */
  #next = -1;
  #ahead = 0;

  constructor(source: RangedSource) {
    this.#source = source;
  }

  add(tensor: Seen): void {
    const isRight = Math.abs(tensor.begin - this.#next) <= NAME_BYTES;
    this.#ahead = isRight ? Math.min(MOST_AHEAD, 2 * this.#ahead + 1) : 0;
    this.#seen.push(tensor);
    const before = this.#alike();
    this.#next = -1;
    if (before === undefined) return;
    const now = this.#seen.length - 1;
    let at = tensor.begin;
    for (let i = 0; i <= this.#ahead; i++) {
      const like = before + 1 + (i % (now - before));
      at += this.#stride(like);
      if (i === 0) this.#next = at;
      // With the small tensors before it.
      const gap = this.#seen[like]!.begin - this.#seen[like - 1]!.end;
      if (this.#ahead > 0) this.#source.expect(at - gap, at + HEADER_BYTES);
    }
  }

  /** The last tensor that came after as many of the same as this one: a layer before. */
  #alike(): number | undefined {
    const now = this.#seen.length - 1;
    let [best, longest] = [-1, 0];
    for (let before = now - 1; before > longest; before--) {
      let count = 0;
      while (count < MOST_ALIKE && before - count > 0 && this.#isAlike(before - count, now - count)) count++;
      if (count > longest) [best, longest] = [before, count];
    }
    return longest >= LEAST_ALIKE ? best : undefined;
  }

  #stride(i: number): number {
    return this.#seen[i]!.begin - this.#seen[i - 1]!.begin;
  }

  #isAlike(a: number, b: number): boolean {
    return Math.abs(this.#stride(a) - this.#stride(b)) <= NAME_BYTES;
  }
}

interface Field {
  readonly field: number;
  readonly offset: number;
  readonly length: number;
}

/** The length-delimited fields of a message, one after the other. */
async function walk(
  source: RangedSource,
  begin: number,
  end: number,
  visit: (field: Field) => Promise<void>,
): Promise<void> {
  for (let at = begin; at < end; ) {
    await source.need(at, Math.min(TAG_BYTES, end - at));
    const bytes = source.read(at, Math.min(TAG_BYTES, end - at));
    const tag = varint(bytes, 0);
    if (!tag) return;
    const [type, field] = [tag.value % 8, Math.floor(tag.value / 8)];
    const next = varint(bytes, tag.end);
    if (type === 1 || type === 5) at += tag.end + (type === 1 ? 8 : 4);
    else if (type === 0 && next) at += next.end;
    else if (type === 2 && next && at + next.end + next.value <= end) {
      await visit({ field, offset: at + next.end, length: next.value });
      at += next.end + next.value;
    } else return;
  }
}

function varint(bytes: Uint8Array, from: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let i = 0; i < 8 && from + i < bytes.length; i++) {
    const byte = bytes[from + i]!;
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) return { value, end: from + i + 1 };
  }
  return undefined;
}
