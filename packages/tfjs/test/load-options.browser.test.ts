/** Options of both loaders in a browser, with a real server of another origin: shards that arrive in pieces, end early, are not there. */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import plain from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url';
import simd from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url';
import threaded from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LoadModelOptions, register, reportOf, unregister } from '../src/index.ts';
import { answer, KINDS } from './chains.ts';
import { handlerOf } from './graph.ts';
import { ModelSite } from './model-site.ts';
import { tf, useBackend, withoutLeaks } from './tf.ts';

const wordsOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'nothing was wrong',
    ({ message }: Error) => message,
  );

/** What a browser says of a connection that ends early. */
const BROKEN = navigator.userAgent.includes('Chrome/')
  ? /network error|Failed to fetch/
  : /NetworkError when attempting|Error in body stream|Load failed|network connection was lost/;

beforeAll(() => {
  const paths = { 'tfjs-backend-wasm.wasm': plain, 'tfjs-backend-wasm-simd.wasm': simd };
  setWasmPaths({ ...paths, 'tfjs-backend-wasm-threaded-simd.wasm': threaded }, true);
});

describe.each(['cpu', 'wasm'])('on %s', (backend) => {
  beforeAll(async () => {
    await useBackend(backend);
    register(tf);
  });
  afterAll(() => unregister(tf));

  describe.each(KINDS)('a %s model from a server', (kind, make, load, stock) => {
    it('arrives in pieces: values as at once, progress from 0 to 1, never all bytes at once', async () => {
      const artifacts = await make(256, 16);
      const want = await answer(await load(handlerOf(artifacts)));
      const site = new ModelSite();
      const bytes = (artifacts.weightData as ArrayBuffer).byteLength;
      const shards = await site.putModel(artifacts, 2 ** 19, { piece: 2 ** 17, pauseMs: 2 });
      const seen: number[] = [];
      const ends: Promise<number>[] = [];
      await withoutLeaks(async () => {
        const model = await load(site.url, {
          onProgress(fraction) {
            seen.push(fraction);
            if (seen.length % 8 === 1)
              ends.push(site.asked().then((all) => all.filter(({ end }) => end === 'sent').length));
          },
        });
        const { peakBytes } = reportOf(model as never)!;
        expect(peakBytes).toBeGreaterThan(0);
        expect(peakBytes).toBeLessThan(bytes * 0.75);
        expect(await answer(model)).toEqual(want);
      });
      expect(seen.length).toBeGreaterThanOrEqual(shards.length);
      expect(seen).toEqual(seen.slice().sort((a, b) => a - b));
      expect(seen[0]).toBeGreaterThanOrEqual(0);
      expect(seen[0]).toBeLessThan(0.5);
      expect(seen.at(-1)).toBe(1);
      expect((await Promise.all(ends))[0]).toBeLessThan(shards.length); // it told of progress while files came
      expect((await site.asked()).length).toBe(1 + shards.length);
    });

    it('is asked for as stock asks: headers, functions, prefixes and converters of URLs', async () => {
      const artifacts = await make(64, 3);
      const want = await answer(await load(handlerOf(artifacts)));
      const cases: ((site: ModelSite) => LoadModelOptions)[] = [
        () => ({}),
        () => ({ requestInit: { headers: { Authorization: 'Bearer me' } } }),
        ({ root }) => ({ weightPathPrefix: `${root}/elsewhere/` }),
        ({ root }) => ({ weightUrlConverter: async (name) => `${root}/elsewhere/${name}?signed=1` }),
        () => ({
          fetchFunc: ((url: string, init?: RequestInit) =>
            fetch(`${url}${url.includes('?') ? '&' : '?'}mine=1`, init)) as typeof fetch,
        }),
      ];
      for (const optionsFor of cases) {
        const [msd, plainly] = [new ModelSite(), new ModelSite()];
        for (const site of [msd, plainly]) {
          await site.putModel(artifacts, 20_000);
          await site.putModel(artifacts, 20_000, { prefix: 'elsewhere/' });
        }
        expect(await answer(await load(`${msd.url}?v=1`, optionsFor(msd)))).toEqual(want);
        await answer(await stock(`${plainly.url}?v=1`, optionsFor(plainly)));
        const [got, expected] = [await msd.paths(), await plainly.paths()];
        expect(got.slice().sort()).toEqual(expected.slice().sort());
        expect(got.length).toBeGreaterThan(2);
      }
    });

    it('stops while a shard arrives, and nothing stays', async () => {
      const artifacts = await make(128, 8);
      const site = new ModelSite();
      const shards = await site.putModel(artifacts, 50_000, { piece: 5000, pauseMs: 4 });
      // However slow the page is: this one is still under way when it stops the second time.
      const middle = shards.length >> 1;
      await site.put(shards[middle]!, new Uint8Array(50_000), { piece: 5000, stallsAt: 25_000 });
      await withoutLeaks(async () => {
        for (const at of [0.1, (middle + 0.2) / shards.length]) {
          const stop = new AbortController();
          const loading = load(site.url, {
            requestInit: { signal: stop.signal },
            onProgress: (fraction) => void (fraction > at && stop.abort()),
          });
          await expect(loading).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
        }
        const stopped = AbortSignal.abort(new Error('no more'));
        await expect(load(site.url, { requestInit: { signal: stopped } })).rejects.toThrow();
      });
      await expect
        .poll(async () => (await site.asked()).filter(({ end }) => end === 'under way').length, { timeout: 20_000 })
        .toBe(0);
      const asked = await site.asked();
      expect(asked.filter(({ end }) => end === 'cut off').length).toBeGreaterThan(0);
      expect(asked.length).toBeLessThan(2 * (1 + shards.length));
    });

    it('fails as stock does where model.json is missing, in the same words where a shard is, and when a connection ends', async () => {
      const artifacts = await make(64, 3);
      for (const status of [404, 500]) {
        const site = new ModelSite();
        await site.putModel(artifacts, 20_000);
        await site.put('model.json', 'not here', { status });
        const words = await wordsOf(stock(site.url));
        expect(words).toContain(`failed with status code ${status}`);
        await withoutLeaks(async () => expect(await wordsOf(load(site.url))).toBe(words));

        const [, second] = await site.putModel(artifacts, 20_000);
        await site.put(second!, new Uint8Array(20_000), { status });
        await withoutLeaks(async () =>
          expect(await wordsOf(load(site.url))).toBe(
            `Request to ${site.root}/${second} failed with status code ${status}. Please verify this URL points to the weights of the model to load.`,
          ),
        );
      }
      const site = new ModelSite();
      await site.putModel(artifacts, 20_000, { piece: 1000, breaksAt: 9000 });
      expect(await wordsOf(stock(site.url))).toMatch(BROKEN);
      await withoutLeaks(async () => expect(await wordsOf(load(site.url))).toMatch(BROKEN));
      const gone = site.url.replace(/:\d+\//, ':9/');
      expect(await wordsOf(load(gone))).toBe(await wordsOf(stock(gone)));
    });

    if (kind === 'graph')
      it('has the URL of a model of TF Hub completed, shards as well', async () => {
        const artifacts = await make(64, 3);
        for (const slash of ['', '/']) {
          const [msd, plainly] = [new ModelSite('a/model/1'), new ModelSite('a/model/1')];
          for (const site of [msd, plainly]) await site.putModel(artifacts, 20_000);
          const want = await answer(await load(handlerOf(artifacts)));
          expect(await answer(await load(msd.root + slash, { fromTFHub: true }))).toEqual(want);
          await answer(await stock(plainly.root + slash, { fromTFHub: true }));
          expect((await msd.paths()).sort()).toEqual((await plainly.paths()).sort());
          expect((await msd.paths())[0]).toContain('model.json?tfjs-format=file');
        }
      });
    else
      it('may lack weights and have others with strict: false', async () => {
        const artifacts = await make(64, 3);
        const renamed = artifacts.weightSpecs!.map((spec, i) => (i === 1 ? { ...spec, name: 'nobody/kernel' } : spec));
        const site = new ModelSite();
        await site.putModel({ ...artifacts, weightSpecs: renamed }, 20_000);
        const words = await wordsOf(stock(site.url)); // leaves its tensors behind
        await withoutLeaks(async () => {
          expect(await wordsOf(load(site.url))).toBe(words);
          expect((await answer(await load(site.url, { strict: false }))).length).toBe(32);
        });
      });
  });
});
