import { describe, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../test/random.ts';
import { BackendUnavailableError } from '../errors.ts';
import { packWeights } from '../formats/packed.ts';
import { Arena } from './arena.ts';
import { createBackend } from './create.ts';
import type { Heap } from './heap.ts';

/** A heap like that of an Emscripten module: 8-byte alignment, grown by its owner, `limit` bytes at most. */
function bumpHeap(memory: WebAssembly.Memory, limit: number): Heap & { readonly live: Set<number> } {
  const live = new Set<number>();
  let top = 1032;
  return {
    memory,
    live,
    alloc(byteLength) {
      if (top + byteLength > limit) return 0;
      const ptr = top;
      top += Math.ceil(byteLength / 8) * 8;
      const pages = Math.ceil((top - memory.buffer.byteLength) / 65536);
      if (pages > 0) memory.grow(pages);
      live.add(ptr);
      return ptr;
    },
    free(ptr) {
      if (!live.delete(ptr)) throw new Error(`freed ${ptr}, which is not live`);
    },
  };
}

const memories = [
  ['unshared', () => new WebAssembly.Memory({ initial: 1 })],
  ['shared', () => new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true })],
] as const;

describe('a heap that somebody else manages', () => {
  it.each(memories)('serves a backend with the same bits, %s', async (_, create) => {
    const heap = bumpHeap(create(), 2 ** 24);
    const backend = await createBackend('wasm', { heap, debug: true });
    const own = await createBackend('wasm');
    const next = random(1);
    const weights = randomWeights(next, { format: 'int8', N: 19, K: 300, blockSize: null, asymmetric: false });
    const packed = packWeights(weights);
    const ptr = heap.alloc(packed.bytes.length, 'a tensor of its owner');
    new Uint8Array(heap.memory.buffer).set(packed.bytes, ptr);
    const adopted = backend.adopt(packed, backend.arena.at(ptr, packed.bytes.length));
    const prepared = own.prepare(weights);
    for (const M of [1, 5, 300]) {
      const x = gaussians(next, M * 300);
      const bias = gaussians(next, 19);
      const want = own.matmul(x, prepared, { bias });
      expect(firstDifference(backend.matmul(x, adopted, { bias }), want)).toBe(-1);
      const [xAt, yAt] = [heap.alloc(x.byteLength, 'x'), heap.alloc(want.byteLength, 'y')];
      new Float32Array(heap.memory.buffer, xAt).set(x);
      const out = backend.arena.at(yAt, want.byteLength);
      backend.matmul(backend.arena.at(xAt, x.byteLength), adopted, { bias, out });
      expect(firstDifference(backend.arena.float32(out), want)).toBe(-1);
      for (const address of [xAt, yAt]) heap.free(address);
    }
    backend.dispose();
    expect([...heap.live]).toEqual([ptr]);
    expect(backend.arena.usedBytes).toBe(0);
    own.dispose();
  });

  it('gives aligned buffers, and a typed error when its owner has no more', () => {
    const heap = bumpHeap(new WebAssembly.Memory({ initial: 1 }), 2 ** 18);
    const arena = new Arena({ heap, debug: true });
    const handles = [1, 64, 100].map((bytes) => arena.alloc(bytes));
    for (const handle of handles) {
      expect(handle.ptr % 64).toBe(0);
      arena.bytes(handle).fill(0xff);
    }
    arena.check();
    expect(() => arena.alloc(2 ** 18, 'weights')).toThrow(BackendUnavailableError);
    for (const handle of handles) arena.free(handle);
    expect(heap.live.size).toBe(0);
  });

  it('may end right behind an operand: a bias that ends inside the last panel is staged', async () => {
    const heap = bumpHeap(new WebAssembly.Memory({ initial: 16 }), 2 ** 20);
    const backend = await createBackend('wasm', { heap });
    const weights = randomWeights(random(1), { format: 'int8', N: 5, K: 32, blockSize: null, asymmetric: false });
    const prepared = backend.prepare(weights);
    const bias = gaussians(random(2), 5);
    const x = gaussians(random(3), 32);
    const at = 2 ** 20 - bias.byteLength;
    new Float32Array(heap.memory.buffer, at).set(bias);
    const got = backend.matmul(x, prepared, { bias: backend.arena.at(at, bias.byteLength) }) as Float32Array;
    expect(firstDifference(got, backend.matmul(x, prepared, { bias }))).toBe(-1);
    backend.dispose();
  });
});
