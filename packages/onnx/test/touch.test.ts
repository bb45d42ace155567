/** Memory that is made ready beside other work: nothing else is touched, and nothing grows. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type ArenaHandle, createBackend, type WasmBackend } from '@msd/core';
import { afterEach, describe, expect, it } from 'vitest';
import { touch } from '../src/execute/touch.ts';

const MEGABYTE = 2 ** 20;
const BYTES = 48 * MEGABYTE;
const isPossible = existsSync('/dev/zero') && availableParallelism() > 1;

let backend: WasmBackend | undefined;
afterEach(() => backend?.dispose());

/** Twelve handles, something behind them. */
async function begin(threads = 1): Promise<readonly [WasmBackend, readonly ArenaHandle[], ArenaHandle]> {
  backend = await createBackend('wasm', { initialBytes: BYTES + MEGABYTE, threads });
  const handles = Array.from({ length: 12 }, () => backend!.alloc(BYTES / 12));
  const behind = backend.alloc(MEGABYTE / 2);
  backend.arena.bytes(behind).fill(9);
  return [backend, handles, behind];
}

it('is left out where the system has no zeros, or no core that is free', async () => {
  const [, handles] = await begin();
  const touched = touch(handles, false);
  expect(touched !== undefined).toBe(isPossible);
  await touched?.end();
});

describe.runIf(isPossible).each([
  [1, false],
  [1, true],
  [2, true],
])('with %i threads, beside other work: %s', (threads, isBusy) => {
  it('is ready in its order, and nobody writes to it from then on', async () => {
    const [{ arena }, handles, behind] = await begin(threads);
    const before = arena.byteLength;
    const touched = touch(handles, isBusy)!;
    for (const [i, handle] of handles.entries()) {
      await touched.room(handle.ptr + handle.byteLength);
      arena.bytes(handle).fill(i + 1);
    }
    await touched.end();
    for (const [i, handle] of handles.entries())
      expect(
        arena.bytes(handle).every((byte) => byte === i + 1),
        `handle ${i}`,
      ).toBe(true);
    expect(arena.bytes(behind).every((byte) => byte === 9)).toBe(true);
    expect(arena.byteLength).toBe(before);
  });

  it('goes on where memory grows meanwhile', async () => {
    const [{ arena }, handles] = await begin(threads);
    const touched = touch(handles, isBusy)!;
    const more = arena.alloc(8 * MEGABYTE);
    arena.bytes(more).fill(7);
    for (const [i, handle] of handles.entries()) {
      await touched.room(handle.ptr + handle.byteLength);
      arena.bytes(handle).fill(i + 1);
    }
    await touched.end();
    for (const [i, handle] of handles.entries()) expect(arena.bytes(handle).at(-1)).toBe(i + 1);
    expect(arena.bytes(more).every((byte) => byte === 7)).toBe(true);
  });

  it('ends at once if nothing more is needed, and waits for nothing that is more than there is', async () => {
    const [, handles] = await begin(threads);
    const touched = touch(handles, isBusy)!;
    await touched.room(handles[0]!.ptr + 1);
    await touched.end();
    await touched.room(10 * BYTES);
  });
});
