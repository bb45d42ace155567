/** Memory that is made ready beside other work, with what files have for it: nothing else is touched, and nothing grows. */
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ArenaHandle, createBackend, type WasmBackend } from '@msd/core';
import { afterEach, describe, expect, it } from 'vitest';
import { type Place, touch } from '../src/execute/touch.ts';
import { openFile } from '../src/read/file.ts';
import type { ByteRange, ByteSource } from '../src/read/source.ts';
import { type TensorRef, tensorBytes, tensorRange } from '../src/read/tensor.ts';
import { reportOf } from '../src/register.ts';
import { type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { floats, session, tensor } from './ort.ts';

const MEGABYTE = 2 ** 20;
const BYTES = 48 * MEGABYTE;
const isPossible = existsSync('/dev/zero') && availableParallelism() > 1;

const isFullOf = (bytes: Uint8Array, value: number) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).equals(Buffer.alloc(bytes.length, value));

let backend: WasmBackend | undefined;
afterEach(() => backend?.dispose());

/** Twelve places, something behind them. */
async function begin(threads = 1): Promise<readonly [WasmBackend, readonly Place[], ArenaHandle]> {
  backend = await createBackend('wasm', { initialBytes: BYTES + MEGABYTE, threads });
  const places = Array.from({ length: 12 }, () => ({ matrix: {}, handle: backend!.alloc(BYTES / 12) }));
  const behind = backend.alloc(MEGABYTE / 2);
  backend.arena.bytes(behind).fill(9);
  return [backend, places, behind];
}

it('is left out where the system has no zeros, or no core that is free', async () => {
  const [, places] = await begin();
  const touched = touch(places, tensorRange, false);
  expect(touched !== undefined).toBe(isPossible);
  await touched?.end();
});

describe.runIf(isPossible).each([
  [1, false],
  [1, true],
  [2, true],
])('with %i threads, beside other work: %s', (threads, isBusy) => {
  it('is ready in its order, and nobody writes to it from then on', async () => {
    const [{ arena }, places, behind] = await begin(threads);
    const before = arena.byteLength;
    const touched = touch(places, tensorRange, isBusy)!;
    for (const [i, place] of places.entries()) {
      await touched.room(place);
      arena.bytes(place.handle).fill(i + 1);
    }
    await touched.end();
    for (const [i, { handle }] of places.entries())
      expect(isFullOf(arena.bytes(handle), i + 1), `place ${i}`).toBe(true);
    expect(isFullOf(arena.bytes(behind), 9)).toBe(true);
    expect(arena.byteLength).toBe(before);
  });

  it('goes on where memory grows meanwhile', async () => {
    const [{ arena }, places] = await begin(threads);
    const touched = touch(places, tensorRange, isBusy)!;
    const more = arena.alloc(8 * MEGABYTE);
    arena.bytes(more).fill(7);
    for (const [i, place] of places.entries()) {
      await touched.room(place);
      arena.bytes(place.handle).fill(i + 1);
    }
    await touched.end();
    for (const [i, { handle }] of places.entries()) expect(arena.bytes(handle).at(-1)).toBe(i + 1);
    expect(arena.bytes(more).every((byte) => byte === 7)).toBe(true);
  });

  it('ends at once if nothing more is needed, and waits for nothing that is more than there is', async () => {
    const [, places] = await begin(threads);
    const touched = touch(places, tensorRange, isBusy)!;
    await touched.room(places[0]!);
    await touched.end();
    await touched.room(places.at(-1)!);
  });
});

/** Sizes of places, and what a file has for each: tensors in any order, with something between them. */
const SIZES = [1.2, 0.3, 0.01, 1.2, 0.9, 12, 0.5, 1.1, 1.2, 0.4, 1.2, 0.7, 1.2, 1, 1.2, 24, 0.6, 1.2].map(
  (megabytes) => 64 * Math.round((megabytes * MEGABYTE) / 64),
);
const TOTAL = SIZES.reduce((sum, size) => sum + size + 4096, 0);
const CONTENT = Uint32Array.from({ length: TOTAL / 4 }, (_, at) => at * 2654435761);
const contentOf = ({ offset, length }: ByteRange) => Buffer.from(CONTENT.buffer, offset, length);

describe.runIf(isPossible).each([
  [1, false],
  [1, true],
  [2, true],
])('bytes of a file, with %i threads, beside other work: %s', (threads, isBusy) => {
  let folder: string;
  let source: ByteSource | undefined;
  afterEach(() => {
    source?.close();
    rmSync(folder, { recursive: true });
  });

  /** Two tensors for each place, data and scales, in the order of the file that `order` makes of the places'. */
  async function beginFile(order: (sizes: readonly number[]) => readonly number[]) {
    folder = mkdtempSync(join(tmpdir(), 'msd-touch-'));
    const path = join(folder, 'weights');
    writeFileSync(path, CONTENT);
    source = openFile(path);
    backend = await createBackend('wasm', { initialBytes: TOTAL + MEGABYTE, threads });
    let at = 100; // the alignment of nothing
    const tensors = new Map<number, TensorRef[]>();
    for (const i of order(SIZES.map((_, index) => index))) {
      const scaleBytes = 16 * Math.floor(SIZES[i]! / 80);
      tensors.set(
        i,
        [SIZES[i]! - scaleBytes - (i % 3) * 17, scaleBytes].map((length): TensorRef => {
          const range = { source: source!, offset: at, length };
          at += length + (i % 4 === 0 ? 1000 : 0);
          const proto = { source: source!, offset: 0, length: 0 };
          return { name: `${i}`, elemType: 2, dims: [length], storage: { kind: 'raw', range }, proto };
        }),
      );
    }
    const places = SIZES.map((size, i) => ({ matrix: { tensors: tensors.get(i)! }, handle: backend!.alloc(size) }));
    const behind = backend.alloc(MEGABYTE / 2);
    backend.arena.bytes(behind).fill(9);
    return { path, places, arena: backend.arena, behind };
  }

  /** Copies what a place's tensors have to the place, and looks whether it is right. @returns how many lay in memory */
  function fill({ matrix, handle }: Place, i: number): number {
    const { arena } = handle;
    let inMemory = 0;
    for (const tensor of matrix.tensors!) {
      const bytes = tensorBytes(tensor);
      const isRight = contentOf(tensorRange(tensor)!).equals(bytes);
      expect(isRight, `place ${i}`).toBe(true);
      if (bytes.buffer === arena.memory.buffer) inMemory++;
    }
    arena.bytes(handle).fill(i + 1);
    return inMemory;
  }

  it.each([
    ['in their order', (all: readonly number[]) => all],
    ['backwards', (all: readonly number[]) => all.toReversed()],
    ['sorted by name', (all: readonly number[]) => all.map(String).sort().map(Number)],
  ])('are read for all that have room, %s', async (_, order) => {
    const { places, arena, behind } = await beginFile(order);
    const touched = touch(places, tensorRange, isBusy)!;
    let inMemory = 0;
    for (const [i, place] of places.entries()) {
      await touched.room(place);
      inMemory += fill(place, i);
    }
    await touched.end();
    // Neither the two large ones nor the last, which has nothing behind it.
    expect(inMemory).toBe(2 * (SIZES.length - 3));
    for (const [i, { handle }] of places.entries())
      expect(isFullOf(arena.bytes(handle), i + 1), `place ${i}`).toBe(true);
    expect(isFullOf(arena.bytes(behind), 9)).toBe(true);
    expect(tensorBytes(places[0]!.matrix.tensors![0]!).buffer).not.toBe(arena.memory.buffer);
  });

  it.each(['replaced', 'grown'])('are read when they are packed if memory is %s, or the file ends', async (change) => {
    const { path, places, arena } = await beginFile((all) => all);
    const touched = touch(places, tensorRange, isBusy)!;
    if (change === 'replaced') arena.move();
    else arena.alloc(8 * MEGABYTE);
    await touched.room(places[0]!);
    const inMemory = fill(places[0]!, 0);
    if (isBusy) expect(inMemory).toBe(0); // else nothing was asked for yet
    await touched.end();
    truncateSync(path, 1000);
    const again = touch(places, tensorRange, isBusy)!;
    await again.room(places[0]!);
    expect(() => fill(places[0]!, 0)).toThrow(RangeError);
    await again.end();
  });
});

/** A product with weights made of others': for many bytes in little time. */
function product(name: string, [x, y]: readonly [string, string], [N, K]: readonly [number, number], isOdd: boolean) {
  const blocks = Math.ceil(K / 32);
  const at = 4 * ((N * 7 + name.length * 13) % 1000);
  const data = new Uint8Array(CONTENT.buffer, at, N * blocks * 16);
  const scales = Float32Array.from({ length: N * blocks }, (_, i) => 0.001 + (i % 17) / 5e3);
  const tensors: TensorSpec[] = [
    { name: `${name}_Q`, dtype: 'uint8', dims: [N, blocks, 16], data },
    { name: `${name}_scales`, dtype: 'float32', dims: [N, blocks], data: scales },
  ];
  if (isOdd) {
    const zeroPoints = new Uint8Array(CONTENT.buffer, 8 * at, N * Math.ceil(blocks / 2));
    tensors.push({ name: `${name}_zp`, dtype: 'uint8', dims: [N, Math.ceil(blocks / 2)], data: zeroPoints });
  }
  const node: NodeSpec = {
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    inputs: [x, ...tensors.map((each) => each.name)],
    outputs: [y],
    attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: 32 } },
  };
  return { node, tensors };
}

it('makes a session of a file the same as one of its bytes', async () => {
  const layers = Array.from({ length: 36 }, (_, i) => {
    const size = (at: number): number => (at % 2 === 0 ? 2048 : 1000);
    return product(`w${i}`, [`x${i}`, `x${i + 1}`], [size(i + 1), size(i)], i % 3 === 0);
  });
  const bytes = writeModel({
    graph: {
      inputs: [{ name: 'x0', dtype: 'float32', dims: [1, 2048] }],
      outputs: [{ name: 'x36', dtype: 'float32', dims: [1, 2048] }],
      initializers: layers.flatMap(({ tensors }) => tensors),
      nodes: layers.map(({ node }) => node),
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'msd-touch-'));
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const x = Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i));
  const results: Uint8Array[] = [];
  for (const given of [path, bytes]) {
    const created = await session(given);
    expect(reportOf(created)!.weights.packedBytes).toBeGreaterThan(2 ** 25);
    const { x36 } = await created.run({ x0: tensor(x, [1, 2048]) });
    results.push(new Uint8Array(floats(x36).slice().buffer));
    await created.release();
  }
  rmSync(folder, { recursive: true });
  expect(new Set(results[0]).size).toBeGreaterThan(100);
  expect(Buffer.from(results[0]!).equals(results[1]!)).toBe(true);
});
