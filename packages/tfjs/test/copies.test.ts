/**
 * Two copies of tfjs, or of one of its packages: real ones, in folders of their own. MSD notices before it drops a weight, and says
 * what to do; and what stock's own loaders know once MSD is registered.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnsupportedError } from '@msd/core';
import { build as bundle } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  accelerate,
  graphModelHandler,
  layersModelHandler,
  loadGraphModel,
  loadLayersModel,
  register,
  reportOf,
  type TfNamespace,
  unregister,
} from '../src/index.ts';
import { type Copies, copiesOf } from './copies.ts';
import { artifactsOf, floats, type GraphEntry, handlerOf, placeholder, savedGraph } from './graph.ts';
import { saved } from './layers.ts';
import { BACKENDS, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

const entry: GraphEntry = {
  nodes: [
    placeholder('x'),
    { name: 'y', op: 'MatMul', input: ['x', 'w'] },
    { name: 'axis', op: 'Const', attr: { dtype: { type: 'DT_INT32' } } },
    { name: 'e', op: 'GatherV2', input: ['table', 'ids', 'axis'] },
    placeholder('ids', 'DT_INT32'),
  ],
  weights: [floats('w', [64, 48]), floats('table', [100, 32]), { name: 'axis', shape: [], values: Int32Array.of(0) }],
  outputs: ['y', 'e'],
};

type AnyGraphModel = Pick<tf.GraphModel, 'execute' | 'dispose'>;
const run = (model: AnyGraphModel) =>
  tf.tidy(() => {
    const inputs = { x: tensor(1, [2, 64]), ids: tf.tensor1d([3, 99], 'int32') };
    return (model.execute(inputs, ['y', 'e']) as tf.Tensor[]).map((result) => Array.from(result.dataSync()));
  }) as unknown as number[][];

let count = 0;
const build = (layers: Pick<typeof tf, 'sequential' | 'layers'> | Copies['layers']) =>
  (layers as typeof tf).sequential({
    layers: [(layers as typeof tf).layers.dense({ units: 64, inputShape: [32], name: `dense${count++}` })],
  });
const predict = (model: tf.LayersModel) =>
  tf.tidy(() => Array.from((model.predict(tensor(1, [2, 32])) as tf.Tensor).dataSync()));

describe('a page that only registers MSD', () => {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const cache = join(root, 'node_modules/.cache');
  let folder: string;
  let want: { graph: number[][]; layers: number[] };

  beforeAll(async () => {
    await useBackend('cpu');
    register(tf);
    mkdirSync(cache, { recursive: true });
    folder = mkdtempSync(join(cache, 'msd-page-')); // where packages of tfjs are found
    const graph = await loadGraphModel(handlerOf(artifactsOf(entry)));
    const made = build(tf);
    const layers = await loadLayersModel(handlerOf(await saved(made)));
    want = { graph: run(graph), layers: predict(layers) };
    const plain = ({ weightData, ...rest }: tf.io.ModelArtifacts) => ({
      ...rest,
      weights: Buffer.from(tf.io.CompositeArrayBuffer.join([weightData as ArrayBuffer].flat())).toString('base64'),
    });
    const models = { graph: plain(await savedGraph(graph)), layers: plain(await saved(layers)) };
    writeFileSync(join(folder, 'models.json'), JSON.stringify(models));
    for (const each of [graph, made, layers]) each.dispose();
    unregister(tf);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** Bundled without what is not used, and run in a process of its own. */
  async function output(imports: string, before: string): Promise<unknown> {
    writeFileSync(
      join(folder, 'page.ts'),
      `import { readFileSync } from 'node:fs';
      import * as tf from '@tensorflow/tfjs';
      import { ${imports} } from ${JSON.stringify(join(root, 'src/index.ts'))};
      const { graph, layers } = JSON.parse(readFileSync(${JSON.stringify(join(folder, 'models.json'))}, 'utf8'));
      const handler = ({ weights, ...rest }) => {
        const weightData = Uint8Array.from(Buffer.from(weights, 'base64')).buffer;
        return { load: async () => ({ ...rest, weightData }) };
      };
      const values = (result) => [result].flat().map((tensor) => Array.from(tensor.dataSync()));
      await tf.setBackend('cpu');
      ${before}
      const x = (shape, values) => tf.tensor(values, shape);
      const { inputs, row } = ${JSON.stringify({ inputs: Array.from(tensor(1, [2, 64]).dataSync()), row: Array.from(tensor(1, [2, 32]).dataSync()) })};
      const one = await tf.loadGraphModel(handler(graph));
      const other = await tf.loadLayersModel(handler(layers));
      const given = { x: x([2, 64], inputs), ids: tf.tensor1d([3, 99], 'int32') };
      console.log(JSON.stringify({ graph: values(one.execute(given, ['y', 'e'])), layers: values(other.predict(x([2, 32], row)))[0] }));`,
    );
    await bundle({
      configFile: false,
      logLevel: 'silent',
      build: {
        outDir: folder,
        emptyOutDir: false,
        target: 'esnext',
        lib: { entry: join(folder, 'page.ts'), formats: ['es'], fileName: () => 'page.mjs' },
        rollupOptions: { external: [/^node:/, /^@tensorflow\//] },
      },
    });
    const text = execFileSync(process.execPath, [join(folder, 'page.mjs')], { encoding: 'utf8', stdio: 'pipe' });
    return JSON.parse(text.trim().split('\n').at(-1)!);
  }

  it("has stock's loaders know MSD's ops and layers, once it is ready", async () => {
    expect(await output('ready, register', 'register(tf); await ready();')).toEqual(want);
  });

  it('has them know at once where it loads models with MSD as well', async () => {
    const used = 'globalThis.unused = [loadGraphModel, loadLayersModel];';
    expect(await output('loadGraphModel, loadLayersModel, register', `${used} register(tf);`)).toEqual(want);
  });
});

describe.each(BACKENDS)('two copies on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  beforeEach(() => register(tf));
  afterEach(() => unregister(tf));

  describe.each([
    ['the converter', ['tfjs-converter']],
    ['all of it', ['tfjs-core', 'tfjs-converter', 'tfjs-layers']],
  ] as const)('of %s', (_, names) => {
    let converter: Copies['converter'];
    beforeAll(() => {
      ({ converter } = copiesOf(names));
    });

    it('a graph model of the other is refused, is what it was, and is taken when its copy is handed over', async () => {
      expect(converter.GraphModel).not.toBe(tf.GraphModel);
      const model = (await converter.loadGraphModel(handlerOf(artifactsOf(entry)))) as unknown as tf.GraphModel;
      const want = run(model);
      const { artifacts } = model as unknown as { artifacts: tf.io.ModelArtifacts };
      await withoutLeaks(async () => {
        const accelerated = accelerate(model);
        await expect(accelerated).rejects.toBeInstanceOf(UnsupportedError);
        await expect(accelerated).rejects.toThrow(
          /^accelerate: model, expected a GraphModel of the @tensorflow\/tfjs-converter that MSD knows, got one of another copy: the package is there twice\. Have one: .*dedupe.*register\(tf, \{ converter \}\)/,
        );
      });
      expect(run(model)).toEqual(want);
      expect((model as unknown as { artifacts: object }).artifacts).toBe(artifacts);
      expect(reportOf(model)).toBeUndefined();
      register(tf, { converter });
      const { report } = await accelerate(model);
      expect(report.nodes.map(({ where }) => where)).toEqual(['msd', 'msd']);
      expect(run(model)).not.toEqual(want);
      model.dispose();
    });

    it("MSD's loader, and stock's on MSD's handler when it is handed over, have the one that knows the ops", async () => {
      const own = await loadGraphModel(handlerOf(artifactsOf(entry)));
      expect(own).toBeInstanceOf(tf.GraphModel);
      register(tf, { converter });
      const other = await converter.loadGraphModel(await graphModelHandler(handlerOf(artifactsOf(entry))));
      expect(run(other)).toEqual(run(own));
      own.dispose();
      other.dispose();
    });
  });

  it('of the core: graph models run as with one, whichever is registered', async () => {
    const { core } = copiesOf(['tfjs-core']);
    expect(core.Tensor).not.toBe(tf.Tensor);
    const want = await loadGraphModel(handlerOf(artifactsOf(entry)));
    const values = run(want);
    want.dispose();
    unregister(tf);
    register(core as unknown as TfNamespace, { converter: tf });
    const stock = await tf.loadGraphModel(handlerOf(artifactsOf(entry)));
    await accelerate(stock);
    expect(run(stock)).toEqual(values);
    stock.dispose();
    // Layers are made by the registry of their own core.
    const model = build(tf);
    const before = predict(model);
    register(core as unknown as TfNamespace, { layers: tf });
    await withoutLeaks(async () => {
      const message =
        /: @tensorflow\/tfjs-core is there twice: tfjs-layers uses another copy than the one that was registered\. Have one: /;
      await expect(accelerate(model)).rejects.toThrow(message);
      await expect(layersModelHandler(handlerOf({}))).rejects.toThrow(message);
    });
    expect(predict(model)).toEqual(before);
    model.dispose();
  });

  describe('of tfjs-layers', () => {
    let layers: Copies['layers'];
    let other: tf.LayersModel;
    beforeAll(() => {
      ({ layers } = copiesOf(['tfjs-layers']));
      other = build(layers);
    });

    it('a model of the other is refused, and is what it was', async () => {
      const want = predict(other);
      await withoutLeaks(async () => {
        const accelerated = accelerate(other);
        await expect(accelerated).rejects.toBeInstanceOf(UnsupportedError);
        await expect(accelerated).rejects.toThrow(
          /^accelerate: model, expected a LayersModel of the @tensorflow\/tfjs-layers that MSD knows, got one of another copy.*register\(tf, \{ layers \}\)/,
        );
      });
      expect(predict(other)).toEqual(want);
      expect(other.layers[0]!.getClassName()).toBe('Dense');
    });

    it("tfjs makes layers of the copy that came last: MSD's loader says so, or takes that one", async () => {
      const own = build(tf);
      const message =
        /: @tensorflow\/tfjs-layers is there twice, and tfjs makes layers of the copy that was imported last, not of the one that MSD knows\. Have one: .*dedupe.*register\(tf, \{ layers \}\)/;
      const artifacts = await saved(other);
      await withoutLeaks(async () => {
        await expect(loadLayersModel(handlerOf(artifacts))).rejects.toThrow(message);
        await expect(accelerate(own)).rejects.toThrow(message);
      });
      own.dispose();
      // A file with MSD's layers, whose classes are of the copy that MSD knows, in the other's loader.
      register(tf, { layers });
      const made = build(layers);
      const plain = await saved(made);
      made.dispose(); // names of variables are taken otherwise
      const packed = await loadLayersModel(handlerOf(plain));
      const files = await saved(packed);
      packed.dispose();
      register(tf);
      await expect(layers.loadLayersModel(handlerOf(files))).rejects.toThrow(
        /^MsdDense: input, expected a tensor, got what another copy of @tensorflow\/tfjs-layers has for one/,
      );
      register(tf, { layers });
      const want = predict(other);
      other.dispose();
      const model = await loadLayersModel(handlerOf(artifacts));
      expect(model).toBeInstanceOf(layers.LayersModel);
      expect(reportOf(model)!.nodes.map(({ where }) => where)).toEqual(['msd']);
      const got = predict(model);
      expect(got).not.toEqual(want);
      const again = await saved(model);
      model.dispose();
      const stock = (await layers.loadLayersModel(handlerOf(again))) as unknown as tf.LayersModel;
      expect(predict(stock)).toEqual(got);
      stock.dispose();
      other = build(layers);
      const { restore } = await accelerate(other, { restorable: true });
      expect(reportOf(other)!.nodes.map(({ where }) => where)).toEqual(['msd']);
      await restore();
    });
  });
});
