/** What a first reply needs is compiled while the session is created, and nothing else is left of those runs. */
import { describe, expect, it } from 'vitest';
import { AbortError } from '../src/errors.ts';
import type { MsdSession } from '../src/index.ts';
import { asSession, type OrtHandler, type OrtModule } from '../src/ort.ts';
import { exactProduct, firstMiss, gaussian, makeMatrix, model, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';
import { openStoryModel, storyModel, storyPrompts } from './story.ts';
import { write } from './text.ts';

/** How many modules the engine compiles in the meantime. */
async function modulesOf<T>(work: () => Promise<T>): Promise<[T, number]> {
  const { Module } = WebAssembly;
  let count = 0;
  WebAssembly.Module = new Proxy(Module, {
    construct(target, args, own) {
      count++;
      return Reflect.construct(target, args, own);
    },
  });
  try {
    return [await work(), count];
  } finally {
    WebAssembly.Module = Module;
  }
}

describe('rehearsals', () => {
  it.each([
    ['no class', undefined],
    [
      'a class that is made of something else',
      class {
        constructor(url: string) {
          new URL(url);
        }
      },
    ],
    ['a class without run', class {}],
  ])('run the handler itself where a module has %s', async (_, Session) => {
    const handler = {
      outputNames: ['y'],
      run: async (feeds: object, fetches: object) => ({ feeds, fetches }),
    };
    const module = { Session } as unknown as OrtModule;
    const { run } = asSession(module, handler as unknown as OrtHandler);
    expect(await run({})).toEqual({ feeds: {}, fetches: { y: null } });
  });

  it.each([
    ['as it is', storyModel('q4')],
    ['whose file leaves the size of heads in its caches open', openStoryModel()],
  ])('compile what a prompt and the tokens after it need, and leave nothing else: a model %s', async (_, bytes) => {
    const [prompt] = storyPrompts() as [number[]];
    const [decoder, before] = await modulesOf(() => session(bytes) as Promise<MsdSession>);
    const cache = decoder.inputMetadata.find(({ name }) => name === 'past_key_values.0.value');
    expect(cache).toMatchObject({ shape: ['batch_size', 2, 'past_sequence_length', 32] });
    expect(before).toBeGreaterThan(0);
    const { bytesCopiedPerCall, plans, kvCache } = decoder.report!;
    expect(bytesCopiedPerCall).toEqual({ intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 });
    expect(plans).toBe(1);
    expect(kvCache).toEqual({ type: 'int16', byteLength: 0 });
    const long = Array.from({ length: 40 }, (_, i) => prompt[i % prompt.length]!);
    for (const ids of [prompt, long]) {
      const [steps, inReply] = await modulesOf(() => write(decoder, ids, 4));
      expect(steps).toHaveLength(4);
      expect(inReply).toBe(0);
    }
    expect(decoder.report!.plans).toBe(3);
    await decoder.release();
  });

  it('end with the creation that is stopped meanwhile', async () => {
    const signal = {
      get aborted() {
        return /\brehearse\.ts/.test(new Error('where').stack!);
      },
      addEventListener() {},
      removeEventListener() {},
    };
    const created = session(storyModel('q4'), 'msd', { signal } as ort.InferenceSession.SessionOptions);
    await expect(created).rejects.toThrow('create: stopped by its AbortSignal');
    await expect(created).rejects.toBeInstanceOf(AbortError);
  });

  it('give up where sizes do not go together, and runs go on as ever', async () => {
    const matrix = makeMatrix({ N: 32, K: 64 });
    const nodes = [
      { opType: 'Concat', inputs: ['a', 'b'], outputs: ['x'], attributes: { axis: { int: 1 } } },
      matrix.node('x', 'y'),
    ];
    const input = (name: string, width: number | string) => ({
      name,
      dtype: 'float32' as const,
      dims: ['rows', width],
    });
    const bytes = model({
      nodes,
      initializers: matrix.initializers,
      inputs: [input('a', 'left'), input('b', 'right')], // 64 together
      outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', 32] }],
    });
    const s = (await session(bytes, { name: 'msd', claim: 'all' })) as MsdSession;
    const x = gaussian(random(1), 3 * 64);
    const columns = (begin: number, end: number) =>
      tensor(
        Float32Array.from(
          { length: 3 * (end - begin) },
          (_, i) => x[64 * Math.floor(i / (end - begin)) + begin + (i % (end - begin))]!,
        ),
        [3, end - begin],
      );
    const { y } = await s.run({ a: columns(0, 24), b: columns(24, 64) });
    expect(y!.dims).toEqual([3, 32]);
    expect(firstMiss(floats(y), exactProduct(matrix, x))).toBeUndefined();
    await s.release();
  });
});
