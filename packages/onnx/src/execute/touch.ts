/**
 * New memory has no pages yet: the system gives each one when it is written to for the first time, and zeros it. For a large model that
 * takes longer than packing its weights. In Node it can be done at the same time, by Node's file threads: they read the bytes of
 * matrices into places where later ones will lie packed, and matrices are packed from there. So the system fills new pages
 * with what is needed, and the main thread reads nothing. Where no such bytes belong, the threads read zeros.
 */
import type { ArenaHandle } from '@msd/core';
import { builtin } from '../read/builtin.ts';
import type { ByteRange, ByteSource } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';

interface FileSystem {
  openSync(path: string, flags: 'r'): number;
  closeSync(fd: number): void;
  readv(
    fd: number,
    buffers: readonly Uint8Array[],
    position: number | null,
    done: (error: unknown, byteLength: number) => void,
  ): void;
}

/** A matrix, and where it will lie packed. */
export interface Place {
  readonly matrix: Pick<Matrix, 'tensors'>;
  readonly handle: ArenaHandle;
}

/** Memory that is ready before it is needed. */
export interface Touched {
  /**
   * Waits until a place is ready, or until nothing more will be. Before that, nothing may be written to it. Places are asked for, and
   * filled, in their order: what was read for one lies where later ones will. Until the next call its bytes are read
   * from memory.
   */
  room(place: Place): Promise<void>;
  /** Stops, and waits for pieces in progress. */
  end(): Promise<void>;
}

interface System {
  availableParallelism(): number;
}

/** What is asked for at a time: some milliseconds. */
const PIECE_BYTES = 2 ** 23;
/** Node has four threads for files: others may want one. On two cores one of these would be as slow as the first writes were. */
const LANES = 3;
/** What is asked for at first while JavaScript has other work, and asks for nothing more in the meantime. */
const AHEAD_BYTES = 5 * 2 ** 25;
/** The most that is asked for at first if it lies all over a file. */
const FIRST_PIECES = 64;
/** Bytes between two stretches that are read along, to nowhere, or left as they are in memory, rather than asked for apart. */
const GAP_BYTES = 2 ** 16;
/** Buffers that the system fills with one read. */
const MAX_BUFFERS = 512;
/** Of all bytes: matrices larger than this share are read when they are packed, since others are read as far behind their places. */
const LARGEST_SHARE = 1 / 32;
/** A vector, as scales are read. */
const ALIGNMENT = 16;

/** `tensorRange`, handed over: this module, for Node alone, shares no code with what pages load. */
type RangeOf = (tensor: TensorRef) => ByteRange | undefined;

/**
 * Makes the memory of some places ready, from the first one on. They follow each other in one arena, nothing else lies between them,
 * and nothing has been written to them: anything may lie there later.
 *
 * @param isBusy the caller has other work for some 50 ms: until then there is a thread for each core that is free, no more
 * @returns `undefined` where the system has no zeros to read, or one core; else {@link Touched.end} has to follow
 */
export function touch(places: readonly Place[], rangeOf: RangeOf, isBusy: boolean): Touched | undefined {
  const fs = builtin<FileSystem>('node:fs');
  const free = (builtin<System>('node:os')?.availableParallelism() ?? 1) - 1;
  const zeros = fs && free > 0 ? open(fs) : undefined;
  if (zeros === undefined) return undefined;
  return new Touching(places, wantedOf(places, rangeOf), { fs: fs!, fd: zeros }, isBusy ? Math.min(LANES, free) : 0);
}

/** Where zeros come from. */
interface Zeros {
  readonly fs: FileSystem;
  readonly fd: number;
}

function open(fs: FileSystem): number | undefined {
  try {
    return fs.openSync('/dev/zero', 'r');
  } catch {
    return undefined;
  }
}

/** A stretch of a file, and where in memory it is read to. */
interface Stretch extends ByteRange {
  readonly ptr: number;
}

/** What is read at a time: zeros, or stretches of a file that follow each other there and in memory. */
interface Piece {
  readonly begin: number;
  end: number;
  readonly stretches: Stretch[];
  isReady: boolean;
  isRead: boolean;
}

/** What one place waits for. */
interface Wanted {
  /** Where what it needs ends: its own place, and its bytes. */
  end: number;
  readonly stretches: Stretch[];
}

class Touching implements Touched {
  readonly #zeros: Zeros;
  readonly #arena: ArenaHandle['arena'];
  readonly #wanted: ReadonlyMap<Place, Wanted>;
  readonly #pieces: readonly Piece[];
  /** The piece of each stretch. */
  readonly #pieceOf = new Map<Stretch, Piece>();
  readonly #sources: ReadonlySet<ByteSource>;
  readonly #nowhere = new Uint8Array(GAP_BYTES);
  readonly #all: Promise<unknown>;
  #begun = 0;
  /** Pieces that are ready, with all before them. */
  #ready = 0;
  #isOver = false;
  #wake: (() => void) | undefined;

  /** @param lanes threads for what is read at first, 0: as many as there are */
  constructor(places: readonly Place[], wanted: ReadonlyMap<Place, Wanted>, zeros: Zeros, lanes: number) {
    this.#zeros = zeros;
    this.#arena = places[0]!.handle.arena;
    this.#wanted = wanted;
    const stretches = [...wanted.values()].flatMap((each) => each.stretches);
    this.#sources = new Set(stretches.map(({ source }) => source));
    const last = places.at(-1)!.handle;
    this.#pieces = piecesOf(stretches, places[0]!.handle.ptr, last.ptr + last.byteLength, lanes);
    for (const piece of this.#pieces) for (const stretch of piece.stretches) this.#pieceOf.set(stretch, piece);
    this.#all = this.#run(lanes).finally(() => zeros.fs.closeSync(zeros.fd));
  }

  async room(place: Place): Promise<void> {
    const { end, stretches } = this.#wanted.get(place)!;
    while (!this.#isOver && this.#ready < this.#pieces.length && this.#pieces[this.#ready]!.begin < end)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    const read = this.#isOver ? [] : stretches.filter((stretch) => this.#pieceOf.get(stretch)!.isRead);
    for (const source of this.#sources)
      source.ahead = read.filter((stretch) => stretch.source === source).map(this.#view);
  }

  readonly #view = ({ offset, length, ptr }: Stretch) => ({
    offset,
    length,
    // Fresh ones: memory may have grown.
    view: (from: number, count: number) => this.#arena.bytes(this.#arena.at(ptr + from, count)),
  });

  async end(): Promise<void> {
    this.#isOver = true;
    for (const source of this.#sources) source.ahead = undefined;
    await this.#all;
  }

  async #run(lanes: number): Promise<void> {
    const first: Promise<void>[] = [];
    for (let bytes = 0; bytes < lanes * AHEAD_BYTES && first.length < FIRST_PIECES; ) {
      const piece = this.#pieces[this.#begun];
      if (!piece) break;
      bytes += piece.end - piece.begin;
      first.push(this.#next());
    }
    await Promise.all(first);
    const lane = async (): Promise<void> => {
      while (this.#begun < this.#pieces.length) await this.#next();
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  }

  async #next(): Promise<void> {
    if (this.#isOver) {
      this.#begun = this.#pieces.length;
      return;
    }
    const piece = this.#pieces[this.#begun++]!;
    const { buffer } = this.#arena.memory;
    const count = await this.#read(piece);
    // Memory that grew or was replaced meanwhile may lie elsewhere, without these bytes. Then they are read when they are packed.
    piece.isRead = count === byteLengthOf(piece) && this.#arena.memory.buffer === buffer;
    piece.isReady = true;
    while (this.#pieces[this.#ready]?.isReady) this.#ready++;
    this.#wake?.();
  }

  #read({ begin, end, stretches }: Piece): Promise<number> {
    const { fs, fd } = this.#zeros;
    const [first] = stretches;
    const bytes = (ptr: number, length: number) => this.#arena.bytes(this.#arena.at(ptr, length));
    const buffers: Uint8Array[] = first ? [] : [bytes(begin, end - begin)];
    let at = first?.offset ?? 0;
    for (const { offset, length, ptr } of stretches) {
      if (offset > at) buffers.push(this.#nowhere.subarray(0, offset - at));
      buffers.push(bytes(ptr, length));
      at = offset + length;
    }
    const [from, position] = first ? [first.source.descriptor!, first.offset] : [fd, null];
    return new Promise<number>((resolve) => {
      fs.readv(from, buffers, position, (error, count) => resolve(error ? 0 : count));
    }).catch(() => 0);
  }
}

/** Bytes of the file that a piece takes, those between stretches included. */
function byteLengthOf({ begin, end, stretches }: Piece): number {
  const [first, last] = [stretches[0], stretches.at(-1)];
  return first && last ? last.offset + last.length - first.offset : end - begin;
}

/**
 * Where the bytes of matrices are read to: as far behind their places as the largest of them is large. Then none of it is written over
 * before it is packed, and nothing lies past the end. The last ones have no room for it, and very large ones are read when they are packed.
 */
function wantedOf(places: readonly Place[], rangeOf: RangeOf): ReadonlyMap<Place, Wanted> {
  const [first, last] = [places[0]!.handle, places.at(-1)!.handle];
  const end = last.ptr + last.byteLength;
  const most = (end - first.ptr) * LARGEST_SHARE;
  const small = places.filter(({ handle }) => handle.byteLength <= most);
  const shift = small.reduce((size, { handle }) => Math.max(size, handle.byteLength + ALIGNMENT), 0);
  return new Map(
    places.map((place) => {
      const { ptr, byteLength } = place.handle;
      const wanted: Wanted = { end: ptr + byteLength, stretches: [] };
      if (byteLength > most) return [place, wanted];
      let at = roundUp(ptr + shift);
      const limit = Math.min(end, at + byteLength);
      for (const range of rangesOf(place, rangeOf)) {
        wanted.stretches.push({ ...range, ptr: at });
        at = roundUp(at + range.length);
      }
      if (at > limit) wanted.stretches.length = 0;
      else wanted.end = Math.max(wanted.end, at);
      return [place, wanted];
    }),
  );
}

const roundUp = (address: number): number => Math.ceil(address / ALIGNMENT) * ALIGNMENT;

/** Of a matrix in files; none if some of it does not lie in one as it is. */
function rangesOf({ matrix: { tensors = [] } }: Place, rangeOf: RangeOf): ByteRange[] {
  const ranges = tensors.map(rangeOf);
  return ranges.every((range) => range?.source.descriptor !== undefined) ? (ranges as ByteRange[]) : [];
}

/** @param stretches in the order of their addresses */
function piecesOf(stretches: readonly Stretch[], begin: number, end: number, lanes: number): Piece[] {
  const pieces: Piece[] = [];
  const most = (from: number): number => (from - begin < lanes * AHEAD_BYTES ? AHEAD_BYTES : PIECE_BYTES);
  let limit = 0;
  const start = (from: number, to: number): Piece => {
    limit = from + most(from);
    const piece = { begin: from, end: to, stretches: [], isReady: false, isRead: false };
    pieces.push(piece);
    return piece;
  };
  const zeros = (from: number, to: number): void => {
    if (to - from < GAP_BYTES) return;
    for (let at = from; at < to; at = pieces.at(-1)!.end) start(at, Math.min(at + most(at), to));
  };
  let at = begin;
  for (const stretch of stretches) {
    const { ptr, length, source, offset } = stretch;
    const piece = pieces.at(-1);
    const before = piece?.stretches.at(-1);
    const gap = before && before.source === source ? offset - before.offset - before.length : -1;
    const isNext = gap >= 0 && gap <= GAP_BYTES && ptr - at < GAP_BYTES && ptr + length <= limit;
    if (piece && isNext && 2 * piece.stretches.length < MAX_BUFFERS) piece.end = ptr + length;
    else {
      zeros(at, ptr);
      start(ptr, ptr + length);
    }
    pieces.at(-1)!.stretches.push(stretch);
    at = ptr + length;
  }
  zeros(at, end);
  return pieces;
}
