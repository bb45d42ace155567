/** The memory that the programs of a session share. */
import type { ArenaHandle } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { Block } from '../src/execute/memory.ts';

/** A device that tells what it has, and programs that tell where they were bound. */
function setUp(most = Number.POSITIVE_INFINITY) {
  const held = new Set<ArenaHandle>();
  const device = {
    alloc(byteLength: number): ArenaHandle {
      if (byteLength > most) throw new RangeError('no memory');
      const handle = { byteLength } as ArenaHandle;
      held.add(handle);
      return handle;
    },
    free: (handle: ArenaHandle) => void held.delete(handle),
  };
  const program = (byteLength: number) => {
    const blocks: ArenaHandle[] = [];
    return { byteLength, blocks, bind: (block: ArenaHandle) => void blocks.push(block) };
  };
  return { held, program, block: new Block(device) };
}

describe('the block of a session', () => {
  it('binds programs once, and again when it was outgrown', () => {
    const { held, program, block } = setUp();
    const [small, large] = [program(100), program(2 ** 17)];
    for (const each of [small, small, large, small, large]) block.bind(each);
    expect(small.blocks.map(({ byteLength }) => byteLength)).toEqual([2 ** 16, 2 ** 17]);
    expect(large.blocks).toEqual([small.blocks[1]]);
    expect([...held]).toEqual(large.blocks);
  });

  it('is as large as before after it was left', () => {
    const { held, program, block } = setUp();
    const [small, large] = [program(100), program(2 ** 17)];
    block.bind(large);
    block.leave();
    expect([held.size, block.byteLength]).toEqual([0, 0]);
    block.bind(small);
    block.bind(large);
    expect(block.byteLength).toBe(2 ** 17);
    expect(large.blocks).toHaveLength(2);
    expect(large.blocks[1]).toBe(small.blocks[0]);
  });

  it('is as small as can be after one that there was no memory for', () => {
    const { program, block } = setUp(2 ** 18);
    block.bind(program(2 ** 18));
    expect(() => block.bind(program(2 ** 19))).toThrow('no memory');
    block.bind(program(100));
    expect(block.byteLength).toBe(2 ** 16);
  });
});
