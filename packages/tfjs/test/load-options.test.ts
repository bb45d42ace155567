/** Options of tfjs's loaders, passed on by both of MSD's; files of weights over HTTP, which become integers as they arrive. */
import type { io } from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  formatReport,
  graphModelHandler,
  type LoadModelOptions,
  layersModelHandler,
  loadGraphModel,
  loadLayersModel,
  register,
  reportOf,
  unregister,
} from '../src/index.ts';
import { answer, chainGraph as graph, KINDS, chainLayers as layers } from './chains.ts';
import { handlerOf } from './graph.ts';
import { BACKENDS, relativeL2, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** A model in files of these sizes, and what was asked of it. */
class Site {
  readonly asked: { url: string; init: RequestInit | undefined; details: unknown }[] = [];
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>();
  /** What a file is answered with instead. */
  readonly instead = new Map<string, () => Response | Promise<Response>>();

  constructor(artifacts: io.ModelArtifacts, sizes: readonly number[] = [100_000]) {
    const { weightData, weightSpecs, ...rest } = artifacts;
    const data = new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData!));
    const paths: string[] = [];
    for (let at = 0; at < data.length; ) {
      const size = sizes[Math.min(paths.length, sizes.length - 1)]!;
      paths.push(`group1-shard${paths.length + 1}.bin`);
      this.files.set(paths.at(-1)!, data.slice(at, at + size));
      at += size;
    }
    const json = { ...rest, weightsManifest: [{ paths, weights: weightSpecs }] };
    this.files.set('model.json', new TextEncoder().encode(JSON.stringify(json)));
  }

  readonly fetchFunc = (async (url: string, init?: RequestInit, details?: unknown) => {
    this.asked.push({ url, init, details });
    init?.signal?.throwIfAborted();
    const name = url.split('?')[0]!.split('/').at(-1)!;
    const file = this.files.get(name);
    return this.instead.get(name)?.() ?? new Response(file, { status: file ? 200 : 404 });
  }) as typeof fetch;

  get urls(): string[] {
    return this.asked.map(({ url }) => url);
  }
}

const URL = 'http://models.example/a/model.json';

describe.each(KINDS)('options for a %s model', (kind, make, load, loadStock) => {
  beforeAll(() => useBackend('cpu'));

  it('are passed on: requests, their functions, prefixes and converters of URLs', async () => {
    const artifacts = await make(64, 2);
    const want = await answer(await load(handlerOf(artifacts)));
    const cases: ((site: Site) => LoadModelOptions)[] = [
      ({ fetchFunc }) => ({ fetchFunc }),
      ({ fetchFunc }) => ({ fetchFunc, requestInit: { headers: { Authorization: 'me' }, credentials: 'include' } }),
      ({ fetchFunc }) => ({ fetchFunc, weightPathPrefix: 'http://elsewhere.example/weights/' }),
      ({ fetchFunc }) => ({ fetchFunc, weightUrlConverter: async (name) => `http://signed.example/${name}?key=1` }),
      ({ fetchFunc }) => ({ fetchFunc, streamWeights: true }),
      ({ fetchFunc }) => ({ loadOptions: { fetchFunc, requestInit: { mode: 'cors' } } }),
    ];
    for (const options of cases) {
      const [msd, plain] = [new Site(artifacts, [10_000, 7, 20_000]), new Site(artifacts, [10_000, 7, 20_000])];
      expect(await answer(await load(`${URL}?v=1`, options(msd)))).toEqual(want);
      const { loadOptions, ...rest } = options(plain);
      await answer(await loadStock(`${URL}?v=1`, { ...loadOptions, ...rest }));
      // Stock's loader of layers models knows no streams, and loads no weights then.
      if (kind === 'graph' || !rest.streamWeights) expect(msd.asked).toEqual(plain.asked);
    }
  });

  it('are passed on with a handler that tfjs made for a URL', async () => {
    const site = new Site(await make(64, 2), [5000]);
    const seen: number[] = [];
    const handler = tf.io.http(URL, { fetchFunc: site.fetchFunc, onProgress: (at) => seen.push(at) });
    (await load(handler)).dispose();
    expect(site.asked.length).toBe(site.files.size);
    expect(seen.at(-1)).toBe(1);
    // A handler whose load somebody has changed is asked for nothing else.
    const artifacts = await make(64, 2);
    const own = Object.assign(tf.io.http(URL, { fetchFunc: site.fetchFunc }), { load: async () => artifacts });
    (await load(own)).dispose();
    expect(site.asked.length).toBe(site.files.size);
  });

  it('tell of progress, from 0 to 1 and never back', async () => {
    const site = new Site(await make(64, 4), [5000]);
    const seen: number[] = [];
    (await load(URL, { fetchFunc: site.fetchFunc, onProgress: (at) => seen.push(at) })).dispose();
    expect(seen.length).toBeGreaterThanOrEqual(site.files.size - 1);
    expect(seen).toEqual(seen.slice().sort((a, b) => a - b));
    expect(seen[0]).toBeGreaterThanOrEqual(0);
    expect(seen.at(-1)).toBe(1);
  });

  it('fail as in stock where model.json is not there, or none; and where a file is not, in the same words', async () => {
    const artifacts = await make(64, 2);
    for (const damage of [
      (site: Site) => site.files.delete('model.json'),
      (site: Site) => site.instead.set('model.json', () => new Response('<html>')),
      (site: Site) => site.instead.set('model.json', () => new Response('{}')),
      (site: Site) => site.instead.set('model.json', () => Promise.reject(new TypeError('fetch failed'))),
      (site: Site) => site.instead.set('group1-shard2.bin', () => Promise.reject(new TypeError('fetch failed'))),
    ]) {
      const site = new Site(artifacts, [5000]);
      damage(site);
      const { fetchFunc } = site;
      const words = await loadStock(URL, { fetchFunc }).then(
        () => '',
        ({ message }: Error) => message,
      );
      expect(words).not.toBe('');
      await withoutLeaks(async () => {
        await expect(load(URL, { fetchFunc })).rejects.toThrow(words);
      });
    }
    const site = new Site(artifacts, [5000]);
    site.instead.set('group1-shard3.bin', () => new Response(new Uint8Array(5000), { status: 503 }));
    await withoutLeaks(async () => {
      await expect(load(URL, { fetchFunc: site.fetchFunc })).rejects.toThrow(
        'Request to http://models.example/a/group1-shard3.bin failed with status code 503. Please verify this URL points to the weights of the model to load.',
      );
    });
    site.instead.set('group1-shard3.bin', () => new Response(new Uint8Array(12)));
    await withoutLeaks(async () => {
      await expect(load(URL, { fetchFunc: site.fetchFunc })).rejects.toThrow(/expected \d+ bytes, got \d+\. Are they/);
    });
  });

  it('stop a load: a signal, before, between the files, and after the last one', async () => {
    const artifacts = await make(64, 6);
    for (const at of [0, 2, 5]) {
      const stop = new AbortController();
      const site = new Site(artifacts, [5000]);
      const loading = load(URL, {
        requestInit: { signal: stop.signal },
        fetchFunc: (async (url: string, init?: RequestInit, details?: unknown) => {
          if (site.asked.length === at) stop.abort();
          return (site.fetchFunc as (...all: unknown[]) => Promise<Response>)(url, init, details);
        }) as typeof fetch,
      });
      await withoutLeaks(async () => {
        await expect(loading).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
      });
      expect(site.asked.length).toBeLessThan(site.files.size);
    }
  });

  it('may bring a function that does not stream, and files that are cut anywhere', async () => {
    const artifacts = await make(64, 3);
    const want = await answer(await load(handlerOf(artifacts)));
    const site = new Site(artifacts, [1, 2, 4097, 33_333]);
    const plainly = (async (url: string) => {
      const response = await site.fetchFunc(url);
      return { ok: true, json: () => response.json(), arrayBuffer: () => response.arrayBuffer() };
    }) as unknown as typeof fetch;
    expect(await answer(await load(URL, { fetchFunc: plainly }))).toEqual(want);
    const bytewise = (async (url: string) => {
      const { body, ...rest } = await site.fetchFunc(url);
      const pieces = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, out) {
          for (let i = 0; i < chunk.length; i += 1111) out.enqueue(chunk.subarray(i, i + 1111));
        },
      });
      return new Response(body!.pipeThrough(pieces), rest);
    }) as typeof fetch;
    expect(await answer(await load(URL, { fetchFunc: bytewise }))).toEqual(want);
  });

  it('that tfjs does not know are refused', async () => {
    const handler = kind === 'graph' ? graphModelHandler : layersModelHandler;
    for (const call of [load, handler] as ((source: string, options: object) => Promise<unknown>)[]) {
      await expect(call(URL, { onprogress: () => {} })).rejects.toThrow(/option 'onprogress', expected one of format/);
      await expect(call(URL, { loadOptions: 5 })).rejects.toThrow(/loadOptions, expected an object, got 5/);
    }
    await expect(load(URL, { requestInit: { body: 'x' } })).rejects.toThrow('no pre-existing body');
    await expect(load(URL, null as never)).rejects.toThrow(/options, expected an object, got null/);
    await expect(load(URL, { blockSize: 'x'.repeat(1e6) } as never)).rejects.toThrow(
      /blockSize, expected a number or null, got x{80}… /,
    );
    await expect(load({ load: async () => undefined } as never)).rejects.toThrow(
      "load: the handler's load(), expected the artifacts of a model, got undefined.",
    );
    await expect(load(5 as never)).rejects.toThrow('load: source, expected a URL or an IOHandler, got number');
  });
});

it('a handler passes options on as well', async () => {
  await useBackend('cpu');
  const site = new Site(graph(64, 2));
  const handler = await graphModelHandler(URL, { fetchFunc: site.fetchFunc });
  (await tf.loadGraphModel(handler)).dispose();
  expect(site.urls[0]).toBe(URL);
});

it('fromTFHub completes the URL of a graph model, as in stock', async () => {
  await useBackend('cpu');
  const artifacts = graph(64, 2);
  for (const url of ['https://hub.example/a/model/1', 'https://hub.example/a/model/1/']) {
    const [msd, plain] = [new Site(artifacts), new Site(artifacts)];
    (await loadGraphModel(url, { fromTFHub: true, fetchFunc: msd.fetchFunc })).dispose();
    (await tf.loadGraphModel(url, { fromTFHub: true, fetchFunc: plain.fetchFunc })).dispose();
    expect(msd.asked).toEqual(plain.asked);
  }
});

it('strict: false lets weights be missing, and others be there', async () => {
  await useBackend('cpu');
  const artifacts = await layers(64, 2);
  const renamed = artifacts.weightSpecs!.map((spec, i) => (i === 1 ? { ...spec, name: 'nobody/kernel' } : spec));
  const odd = { ...artifacts, weightSpecs: renamed };
  await withoutLeaks(async () => {
    await expect(loadLayersModel(handlerOf(odd))).rejects.toThrow(/nobody\/kernel/);
    const [model, stock] = [
      await loadLayersModel(handlerOf(odd), { strict: false }),
      await tf.loadLayersModel(handlerOf(odd), { strict: false }),
    ];
    expect(model.countParams()).toBe(stock.countParams());
    model.dispose();
    stock.dispose();
  });
});

describe.each(BACKENDS)('files that become integers as they arrive on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(KINDS)(
    'a %s model: never are all files there, and the values are those of a load at once',
    async (_, make, ours, stock) => {
      const [width, count] = [384, 20]; // 12 MB of floats
      const artifacts = await make(width, count);
      const fileBytes = (artifacts.weightData as ArrayBuffer).byteLength;
      const site = new Site(artifacts, [2 ** 20]);
      const reference = await ours(handlerOf(artifacts));
      const { weightBytes } = reportOf(reference)!;
      const want = await answer(reference);
      await withoutLeaks(async () => {
        const model = await ours(URL, { fetchFunc: site.fetchFunc });
        const report = reportOf(model)!;
        expect(report.weightBytes).toBe(weightBytes);
        // What is packed, two tries' worth of what is not, and what stays floats.
        expect(report.peakBytes).toBeLessThan(weightBytes + 2 * 2 ** 20 + 3 * 4 * width ** 2);
        expect(report.peakBytes).toBeLessThan(fileBytes * 0.6);
        expect(formatReport(report)).toMatch(/ [kM]B while loading$/);
        expect(await answer(model)).toEqual(want);
      });
      const plain = await answer(await stock(handlerOf(artifacts)));
      expect(relativeL2(want, plain)).toBeLessThan(0.05);
    },
  );

  it('a handler that streams is read as it does', async () => {
    const artifacts = graph(256, 24);
    const { weightData, ...rest } = artifacts;
    const data = new Uint8Array(weightData as ArrayBuffer);
    let given = 0;
    const getWeightStream = () =>
      new ReadableStream<ArrayBuffer>({
        pull(controller) {
          if (given >= data.length) return controller.close();
          controller.enqueue(data.slice(given, given + 100_001).buffer);
          given += 100_001;
        },
      });
    const want = await answer(await loadGraphModel(handlerOf(artifacts)));
    const model = await loadGraphModel(handlerOf({ ...rest, getWeightStream }));
    expect(reportOf(model)!.peakBytes).toBeLessThan(data.length);
    expect(await answer(model)).toEqual(want);
  });

  it('weights that stay with tfjs are as they were: NaN, readers of other kinds, cells of which one is bad', async () => {
    const bad = graph(128, 3);
    new Float32Array(bad.weightData as ArrayBuffer)[60 * 128 + 5] = Number.NaN;
    const site = new Site(bad, [1000]);
    const model = await loadGraphModel(URL, { fetchFunc: site.fetchFunc });
    expect(reportOf(model)!.nodes.find(({ name }) => name === 'm0')).toMatchObject({ where: 'tfjs' });
    model.dispose();
    const cells = await layers(64, 1);
    const at = cells.weightSpecs!.findIndex(({ name }) => name.endsWith('recurrent_kernel'));
    const before = cells
      .weightSpecs!.slice(0, at)
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    new Float32Array(cells.weightData as ArrayBuffer)[before] = Number.POSITIVE_INFINITY;
    const other = new Site(cells, [1000]);
    const [loaded, stock] = [
      await loadLayersModel(URL, { fetchFunc: other.fetchFunc }),
      await tf.loadLayersModel(handlerOf(cells)),
    ];
    const [kernel, plain] = [loaded, stock].map(({ layers: all }) => all.at(-1)!.getWeights()[0]!.dataSync());
    expect(kernel).toEqual(plain);
    loaded.dispose();
    stock.dispose();
  });
});

it('strings and padding arrive, too', async () => {
  await useBackend('cpu');
  const artifacts = graph(64, 2);
  const text = new TextEncoder().encode('größer');
  const strings = new Uint8Array([text.length, 0, 0, 0, ...text, 0, 0, 0, 0]);
  artifacts.weightSpecs!.unshift({ name: 'words', shape: [2], dtype: 'string' });
  const node = { name: 'words', op: 'Const', attr: { dtype: { type: 'DT_STRING' } } };
  (artifacts.modelTopology as { node: object[] }).node.push(node);
  artifacts.signature = {
    outputs: { y: { name: 'y:0' }, words: { name: 'words:0' } },
  };
  artifacts.weightData = await new Blob([
    strings,
    artifacts.weightData as ArrayBuffer,
    new Uint8Array(9),
  ]).arrayBuffer();
  const site = new Site(artifacts, [3, 5, 7000]);
  const model = await loadGraphModel(URL, { fetchFunc: site.fetchFunc });
  expect(model.weights.words![0]!.dataSync()).toEqual(['größer', '']);
  model.dispose();
});
