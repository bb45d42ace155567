import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BackendUnavailableError } from '../errors.ts';
import { Arena, type ArenaHandle } from './arena.ts';

describe('Arena', () => {
  it('hands out aligned buffers that never overlap, and takes all of them back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ bytes: fc.nat(5000), drop: fc.nat(9) }), { maxLength: 60 }),
        fc.boolean(),
        (steps, debug) => {
          const arena = new Arena({ debug });
          const live: ArenaHandle[] = [];
          for (const { bytes, drop } of steps) {
            const handle = arena.alloc(bytes);
            expect(handle.ptr % 64).toBe(0);
            for (const other of live)
              if (handle.ptr < other.ptr + Math.max(1, other.byteLength) && other.ptr < handle.ptr + Math.max(1, bytes))
                throw new Error(`overlap at ${handle.ptr}`);
            expect(handle.ptr + bytes).toBeLessThanOrEqual(arena.byteLength);
            arena.bytes(handle).fill(0xff);
            live.push(handle);
            if (drop < live.length) arena.free(live.splice(drop, 1)[0]);
            arena.check();
          }
          for (const handle of live) arena.free(handle);
          expect(arena.usedBytes).toBe(0);
          // All of it is one free piece again: the largest request so far fits without growing.
          const size = arena.byteLength;
          arena.free(arena.alloc(size - 1024));
          expect(arena.byteLength).toBe(size);
        },
      ),
    );
  });

  it('grows a large memory by whole large pages, a small one only as far as it has to', () => {
    const small = new Arena();
    small.alloc(65536);
    expect(small.byteLength).toBe(2 * 65536);
    const large = new Arena({ initialBytes: 2 ** 25 });
    large.alloc(2 ** 25);
    for (const bytes of [2 ** 16, 3 * 2 ** 20, 2 ** 22]) {
      large.alloc(bytes);
      expect(large.byteLength % 2 ** 21).toBe(0);
      expect(large.byteLength - large.usedBytes).toBeLessThan(2 ** 22);
    }
  });

  it('names the buffer that something wrote past', () => {
    const arena = new Arena({ debug: true });
    const handle = arena.alloc(100, 'logits');
    new Uint8Array(arena.memory.buffer)[handle.ptr + 100] = 0;
    expect(() => arena.check()).toThrow(/wrote past logits/);
    const other = arena.alloc(8, 'x');
    new Uint8Array(arena.memory.buffer)[other.ptr - 1] = 0;
    expect(() => arena.free(other)).toThrow(/wrote past x/);
  });

  it('refuses what is no size, no buffer, or more than WebAssembly can address', () => {
    const arena = new Arena();
    expect(() => arena.alloc(-1)).toThrow(RangeError);
    expect(() => arena.alloc(Number.NaN)).toThrow(RangeError);
    expect(() => arena.alloc(2 ** 33, 'weights')).toThrow(BackendUnavailableError);
    const handle = arena.alloc(16);
    arena.free(handle);
    expect(() => arena.free(handle)).toThrow(/live buffer/);
    expect(() => arena.free({ arena: new Arena(), ptr: handle.ptr, byteLength: 16 })).toThrow(/live buffer/);
    expect(arena.usedBytes).toBe(0);
  });
});
