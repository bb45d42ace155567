/** Which cache a run goes on in, over a cache of plain arrays. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { KvCache, KvShape } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { FLOAT16, FLOAT32 } from '../../src/data-types.ts';
import { KvKeeper, type KvState } from '../../src/execute/kv/keeper.ts';
import { canBeLazy, expectQuestions, keptOf, lazyTensor, readKept } from '../../src/execute/kv/lazy.ts';
import { ort } from '../ort.ts';

/** One head of one channel: keys are numbers, values the same numbers negated. */
class Plain {
  readonly shape: KvShape = { batch: 1, kvHeads: 1, headSize: 1, valueSize: 1 };
  readonly living: Set<Plain>;
  content: number[];

  constructor(living: Set<Plain>, content: number[] = []) {
    this.living = living;
    this.content = content;
    living.add(this);
  }

  get lengths(): number[] {
    return [this.content.length];
  }
  get byteLength(): number {
    return this.content.length;
  }
  append(k: Float32Array): void {
    this.content.push(...k);
  }
  keys(count: number): Float32Array {
    return Float32Array.from(this.content.slice(0, count));
  }
  values(count: number): Float32Array {
    return this.keys(count).map((x) => -x);
  }
  truncate(length: number | readonly number[]): void {
    this.content.length = typeof length === 'number' ? length : length[0]!;
  }
  branch(): Plain {
    return new Plain(this.living, [...this.content]);
  }
  dispose(): void {
    this.living.delete(this);
  }
}

const shape: KvShape = { batch: 1, kvHeads: 1, headSize: 1 };

function setup() {
  const living = new Set<Plain>();
  const keeper = new KvKeeper(() => new Plain(living) as unknown as KvCache);
  /** A run that adds a key after the first `past` ones of a state. */
  const run = (key: number, from?: KvState, past = from?.lengths[0] ?? 0): KvState => {
    const state = from ? keeper.extend(from, [past], [1]) : keeper.create(shape, [1]);
    state.store!.cache.append(Float32Array.of(key), Float32Array.of(-key), 1);
    state.holders++;
    keeper.endRun({});
    return state;
  };
  const keys = (state: KvState) => {
    const kept = { keeper, state, half: 'keys' as const, elemType: FLOAT32, dims: [1, 1, state.lengths[0]!, 1] };
    return Array.from(readKept(kept) as Float32Array);
  };
  return { living, keeper, run, keys };
}

describe('states of caches', () => {
  it('go on in the same pages, whether the old ones are let go of or not', () => {
    const { living, keeper, run, keys } = setup();
    let state = run(0);
    for (let i = 1; i < 10; i++) {
      const next = run(i, state);
      if (i % 2 === 0) keeper.release(state);
      state = next;
    }
    expect(keys(state)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(living.size).toBe(1);
  });

  it('branch where somebody still holds a longer one', () => {
    const { living, keeper, run, keys } = setup();
    const prompt = run(1);
    const [a, b] = [run(2, prompt), run(3, prompt)];
    expect([keys(prompt), keys(a), keys(b)]).toEqual([[1], [1, 2], [1, 3]]);
    expect(living.size).toBe(2);
    const c = run(4, a);
    expect([keys(a), keys(b), keys(c)]).toEqual([
      [1, 2],
      [1, 3],
      [1, 2, 4],
    ]);
    for (const state of [prompt, a, c]) keeper.release(state);
    expect(living.size).toBe(1);
    expect(keys(b)).toEqual([1, 3]);
  });

  it('are cut off in place where nobody does', () => {
    const { living, keeper, run, keys } = setup();
    const first = run(1);
    keeper.release(run(2, run(5, first)));
    const second = run(3, first);
    expect(keys(second)).toEqual([1, 3]);
    expect(living.size).toBe(2); // that of [1, 5] is held
    expect(keys(run(9, second, 1))).toEqual([1, 9]);
  });

  it('give their cache back with the last holder, and with a run that nobody wants anything of', () => {
    const { living, keeper, run } = setup();
    const [a, b] = [run(1), run(2)];
    keeper.release(a);
    keeper.release(b);
    keeper.create(shape, [1]);
    expect(living.size).toBe(1);
    keeper.endRun(undefined);
    expect(living.size).toBe(0);
    expect(keeper.byteLength).toBe(0);
  });

  it('are given back when their tensors are collected as garbage', async () => {
    const { living, keeper, run } = setup();
    const kept = run(0);
    keeper.release(kept);
    let holder: object | undefined = {};
    const state = keeper.create(shape, [1]);
    const tensor = new WeakRef(
      lazyTensor(ort, { keeper, state, half: 'keys', elemType: FLOAT32, dims: [1, 1, 1, 1] }, holder),
    );
    keeper.endRun(holder);
    holder = undefined;
    expect(living.size).toBe(1);
    setFlagsFromString('--expose_gc');
    const gc = runInNewContext('gc') as () => void;
    for (let i = 0; i < 20 && living.size > 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      gc();
    }
    expect(tensor.deref()).toBeUndefined();
    expect(living.size).toBe(0);
  });
});

describe('lazy tensors', () => {
  function present(
    lengths = [2],
    dims: readonly number[] = [1, 1, 2, 1],
    module: typeof ort = ort,
    elemType = FLOAT32,
  ) {
    const { living, keeper } = setup();
    const state = keeper.create(shape, lengths);
    state.store!.cache.append(Float32Array.of(7, 8), Float32Array.of(-7, -8), 2);
    const of = (half: 'keys' | 'values') =>
      lazyTensor(module, { keeper, state, half, elemType, dims }, {}) as ort.Tensor;
    const tensors = { keys: of('keys'), values: of('values') };
    keeper.endRun({});
    return { living, keeper, state, ...tensors };
  }

  it('can be made of this version’s class', () => {
    expect(canBeLazy(ort)).toBe(true);
  });

  it('are tensors like others', async () => {
    const { keys, values } = present();
    expect(keys).toBeInstanceOf(ort.Tensor);
    expect([keys.type, keys.dims, keys.size, keys.location]).toEqual(['float32', [1, 1, 2, 1], 2, 'cpu']);
    expect([...(keys.data as Float32Array)]).toEqual([7, 8]);
    expect(keys.data).toBe(keys.data);
    expect([...((await values.getData()) as Float32Array)]).toEqual([-7, -8]);
  });

  it('are in the cache until somebody reads them', () => {
    const { keys, values, living } = present();
    expect(keptOf(keys as never)).toBeDefined();
    void keys.data;
    expect(keptOf(keys as never)).toBeUndefined();
    expect(keptOf(values as never)).toBeDefined();
    expect(living.size).toBe(1);
    void values.data;
    expect(living.size).toBe(0);
  });

  describe('that are asked of what kind their array is', () => {
    // As onnxruntime-node is under Transformers.js: a module of its own.
    const asked = { ...ort, Tensor: class extends (ort.Tensor as never as new () => object) {} as never };
    expectQuestions(asked);
    const open = () => {
      const { keys, ...rest } = present([2], [1, 1, 2, 1], asked);
      return { keys, held: keys as unknown as { cpuData: Float32Array }, ...rest };
    };

    it('answer, and stay in the cache', () => {
      const { keys, held } = open();
      expect(held.cpuData instanceof Float16Array).toBe(false);
      expect(held.cpuData instanceof Float32Array).toBe(true);
      expect(keptOf(keys as never)).toBeDefined();
    });

    it.each<
      [string, (keys: ort.Tensor, held: { cpuData: Float32Array }) => ArrayLike<number> | Promise<ArrayLike<number>>]
    >([
      ['data', ({ data }) => data as Float32Array],
      ['getData', async (keys) => (await keys.getData()) as Float32Array],
      ['reshape', (keys) => keys.reshape([2]).data as Float32Array],
      ['structuredClone', (keys) => (structuredClone(keys) as unknown as { cpuData: Float32Array }).cpuData],
      ['spread', (keys) => ({ ...keys }) as unknown as Float32Array & { cpuData: Float32Array }],
      ['an element', (_, { cpuData }) => [cpuData[0]!, cpuData[1]!]],
      ['a copy', (_, { cpuData }) => cpuData.slice()],
      ['another array', (_, { cpuData }) => new Float32Array(cpuData)],
      ['its buffer', (_, { cpuData }) => new Float32Array(cpuData.buffer)],
      ['keys', (_, { cpuData }) => Object.keys(cpuData).map((key) => cpuData[Number(key)]!)],
      ['a length', (_, { cpuData }) => Array.from({ length: cpuData.length }, (_, i) => cpuData[i]!)],
    ])('give their elements to who wants them: %s', async (_, read) => {
      const { keys, held } = open();
      const got = await read(keys, held);
      const list = 'cpuData' in got ? (got.cpuData as Float32Array) : got;
      expect(Array.from(list)).toEqual([7, 8]);
      expect(keptOf(keys as never)).toBeUndefined();
      expect(held.cpuData).toBe(keys.data);
    });

    it('are the array that somebody wrote to', () => {
      const { keys, held } = open();
      held.cpuData[1] = 5;
      expect([...(keys.data as Float32Array)]).toEqual([7, 5]);
      const other = open();
      other.held.cpuData = Float32Array.of(1, 2);
      expect([...(other.keys.data as Float32Array)]).toEqual([1, 2]);
    });

    describe('of float16', () => {
      const halves = () => {
        const { keys, ...rest } = present([2], [1, 1, 2, 1], asked, FLOAT16);
        return { keys, held: keys as unknown as { cpuData: Uint16Array }, ...rest };
      };
      const [SEVEN, EIGHT] = [0x4700, 0x4800];

      it('answer that their bits are there already, and stay in the cache', () => {
        const { keys, held } = halves();
        expect(held.cpuData instanceof Float16Array).toBe(false);
        expect(held.cpuData instanceof Uint16Array).toBe(true);
        expect(keptOf(keys as never)).toBeDefined();
      });

      it('give numbers as data, and bits where native code reads them', () => {
        const { keys, held } = halves();
        expect([...held.cpuData]).toEqual([SEVEN, EIGHT]);
        expect(keptOf(keys as never)).toBeUndefined();
        expect(keys.data).toBeInstanceOf(Float16Array);
        expect(Array.from(keys.data as Uint16Array, Number)).toEqual([7, 8]);
        expect([...new Uint16Array(halves().held.cpuData.buffer)]).toEqual([SEVEN, EIGHT]);
      });

      it('are the array that somebody wrote to', () => {
        const { keys, held } = halves();
        held.cpuData[1] = SEVEN;
        expect(Array.from(keys.data as Uint16Array, Number)).toEqual([7, 7]);
      });
    });

    it('are let go of like others', () => {
      const { keys, values, held, living } = open();
      const before = held.cpuData;
      keys.dispose();
      values.dispose();
      expect(living.size).toBe(0);
      expect(() => keys.data).toThrow('disposed');
      expect(before.length).toBe(0);
    });
  });

  it('can be reshaped, cloned and disposed', () => {
    const { keys, values, living } = present();
    expect([...(keys.reshape([2]).data as Float32Array)]).toEqual([7, 8]);
    const clone = structuredClone(values) as unknown as { dims: number[]; cpuData: Float32Array };
    expect([clone.dims, [...clone.cpuData]]).toEqual([
      [1, 1, 2, 1],
      [-7, -8],
    ]);
    expect(living.size).toBe(0);
    const other = present();
    other.keys.dispose();
    other.values.dispose();
    expect(other.living.size).toBe(0);
    expect(() => other.keys.data).toThrow('disposed');
    expect(keptOf(other.keys as never)).toBeUndefined();
  });

  it('have zeros beyond the keys of a sequence', () => {
    const { keys } = present([2], [1, 1, 4, 1]);
    expect([...(keys.data as Float32Array)]).toEqual([7, 8, 0, 0]);
  });

  it('say so when their session has ended', () => {
    const { keys, keeper } = present();
    keeper.close();
    expect(() => keys.data).toThrow('release');
  });
});
