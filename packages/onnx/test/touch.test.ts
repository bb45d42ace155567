/** Memory that is made ready beside other work: nobody's bytes are touched, nothing of it is kept, and nothing grows. */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createBackend, type WasmBackend } from '@msd/core';
import { afterEach, describe, expect, it } from 'vitest';
import { touch } from '../src/execute/touch.ts';

const MEGABYTE = 2 ** 20;
const BYTES = 48 * MEGABYTE;
const isPossible = existsSync('/dev/zero') && availableParallelism() > 1;

let backend: WasmBackend | undefined;
afterEach(() => backend?.dispose());

async function begin(threads = 1): Promise<WasmBackend> {
  backend = await createBackend('wasm', { initialBytes: BYTES, threads });
  return backend;
}

it('is left out where the system has no zeros, or no core that is free', async () => {
  expect(touch(await begin(), BYTES) !== undefined).toBe(isPossible);
});

describe.runIf(isPossible).each([1, 2])('with %i threads', (threads) => {
  it('gives room in the order in which it is asked for, and everything back', async () => {
    const own = await begin(threads);
    const before = own.arena.byteLength;
    const touched = touch(own, BYTES)!;
    const handles = [];
    for (let i = 0; i < 10; i++) {
      await touched.room(4 * MEGABYTE);
      const handle = own.alloc(4 * MEGABYTE);
      own.arena.bytes(handle).fill(i + 1);
      handles.push(handle);
    }
    await touched.end();
    handles.forEach((handle, i) => {
      const bytes = own.arena.bytes(handle);
      expect([bytes[0], bytes[MEGABYTE], bytes.at(-1)], `block ${i}`).toEqual([i + 1, i + 1, i + 1]);
      own.free(handle);
    });
    expect(own.arena.usedBytes).toBe(0);
    expect(own.arena.byteLength).toBe(before);
  });

  it('touches nothing that others were given meanwhile', async () => {
    const own = await begin(threads);
    const touched = touch(own, BYTES)!;
    const handle = own.alloc(BYTES / 2); // without waiting: it is elsewhere
    own.arena.bytes(handle).fill(7);
    await touched.room(BYTES);
    await touched.end();
    expect(own.arena.bytes(handle).every((byte) => byte === 7)).toBe(true);
  });

  it('ends at once if nothing more is needed, and waits for nothing that is more than there is', async () => {
    const own = await begin(threads);
    const touched = touch(own, BYTES)!;
    await touched.room(1);
    await touched.end();
    await touched.room(10 * BYTES);
    expect(own.arena.usedBytes).toBe(0);
  });
});
