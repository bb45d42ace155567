/**
 * node test/bench/tfjs.ts [matmul | dense | recurrent | loops | convolution | attention | encoder | load | memory | classifier]… [--clock cpu] [--out DIR]
 * node test/bench/tfjs.ts readme [--out DIR]
 *
 * @msd/tfjs beside stock TensorFlow.js: wasm backend, one thread, one process, the two interleaved in one run and their
 * results compared before anything is timed. Medians; spread = half the distance of the quartiles, relative.
 * Figures go to DIR/tfjs.json and tfjs.md (default test/bench/results/DATE), beside what earlier runs left there; `readme` puts
 * them into @msd/tfjs's README.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  attention,
  formatReport,
  KvCache,
  loadGraphModel,
  loadLayersModel,
  matMul,
  quantize,
  register,
  reportOf,
} from '@msd/tfjs';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { Tokenizer } from '../../examples/tfjs-semantic-search/src/tokenizer.ts';
import { diskHandler, languageClassifier, sentenceEncoder } from '../../packages/tfjs/test/real-models.ts';
import { SENTENCES } from '../../packages/tfjs/test/sentences.ts';
import { describeMachine } from './environments.ts';
import { type Clock, interleave } from './measure.ts';
import { type Summary, summarize } from './samples.ts';
import { DECODE_ROWS, LLM_LAYERS, PREFILL_ROWS } from './shapes.ts';
import { convolutions } from './tfjs-convolutions.ts';
import { recurrentGraphs, recurrentLayers, recurrentLoops } from './tfjs-recurrent.ts';
import {
  FORMS,
  readTfjs,
  type Side,
  type TfjsCase,
  type TfjsMemory,
  type TfjsResult,
  totalBytes,
  writeTfjs,
  writeTfjsReadme,
} from './tfjs-report.ts';

const { values, positionals } = parseArgs({
  options: {
    out: { type: 'string' },
    clock: { type: 'string', default: 'wall' },
    rounds: { type: 'string', default: '11' },
    side: { type: 'string' },
  },
  allowPositionals: true,
});
const rounds = Number(values.rounds);
/** Of the parts that one thread computes: cpu where other programs take the cores. */
const clock = values.clock as Clock;
const wants = (part: string) => positionals.length === 0 || positionals.includes(part);
console.warn = () => {}; // executeAsync says on every call that execute would do
await tf.setBackend('wasm');
register(tf);

const cases: TfjsCase[] = [];
const others: { -readonly [K in 'cosine' | 'memory' | 'classifier']?: TfjsResult[K] } = {};
const round = (value: number, digits = 3) => Number(value.toPrecision(digits));

/** @param timings of the sides, stock first */
function record(
  part: TfjsCase['part'],
  id: string,
  timings: readonly (Summary & { name: string })[],
  macs?: number,
): void {
  const sides = Object.fromEntries(
    timings.map(({ name, median, spread }) => [name as Side, { median: round(median, 4), spread: round(spread) }]),
  );
  cases.push({ id, part, sides, load: round(loadavg()[0]!), ...(macs !== undefined && { macs }) });
  const texts = timings.map(({ name, median, spread }) => {
    const gain = name === 'stock' ? '' : ` = ${round(timings[0]!.median / median)}x`;
    return `${name} ${round(median)} ms ±${round(100 * spread, 2)} %${gain}`;
  });
  console.log(id.padEnd(44), texts.join('   '));
}

function relativeL2(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    size += want[i]! ** 2;
  }
  return Math.sqrt(error / size);
}

/** Weights that no cache holds: as many copies as make 64 MB, used in turn. */
const copiesFor = (bytes: number, rows: number) => (rows === 1 ? Math.max(1, Math.ceil(64e6 / bytes)) : 1);

/** Each has been used once: stock packs weights on their first call. */
function inTurn<T>(items: readonly T[], run: (item: T) => tf.Tensor): () => void {
  let next = 0;
  for (const item of items) run(item).dispose();
  return () => {
    run(items[next++ % items.length]!).dispose();
  };
}

async function matMuls(): Promise<void> {
  for (const M of [DECODE_ROWS, PREFILL_ROWS])
    for (const { K, N } of LLM_LAYERS) {
      const float = tf.randomNormal([K, N]) as tf.Tensor2D;
      const x = tf.randomNormal([M, K]) as tf.Tensor2D;
      const copies = copiesFor(4 * K * N, M);
      const floats = [float, ...Array.from({ length: copies - 1 }, () => tf.add(float, 0) as tf.Tensor2D)];
      const packed = (['int8', 'int4'] as const).map((format) => {
        const first = quantize(float, { format });
        const error = relativeL2(
          tf.tidy(() => matMul(x, first).dataSync().slice()),
          tf.tidy(() => tf.matMul(x, float).dataSync().slice()),
        );
        if (!(error < (format === 'int8' ? 0.02 : 0.2))) throw new Error(`${format}: relative error ${error}`);
        const count = copiesFor(first.byteLength, M);
        return { format, all: [first, ...Array.from({ length: count - 1 }, () => quantize(float, { format }))] };
      });
      const macs = M * K * N;
      const timings = await interleave(
        [
          { name: 'stock', macs, run: inTurn(floats, (w) => tf.matMul(x, w)) },
          ...packed.map(({ format, all }) => ({ name: format, macs, run: inTurn(all, (w) => matMul(x, w)) })),
        ],
        { rounds, sampleMs: 20 },
      );
      record('matmul', `matMul M=${M} ${K}x${N}`, timings, macs);
      tf.dispose([x, ...floats, ...packed.flatMap(({ all }) => all)] as never);
    }
}

async function dense(): Promise<void> {
  const D = 1024;
  const model = tf.sequential({ layers: [tf.layers.dense({ units: D, inputShape: [null, D] })] });
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' as const } };
    }),
  );
  const msd = await loadLayersModel(tf.io.fromMemory(saved!));
  const x = tf.randomNormal([1, 1, D]);
  const runs = [model, msd].map((own, i) => ({
    name: ['stock', 'int8'][i]!,
    macs: D * D,
    run: () => (own.apply(x) as tf.Tensor).dispose(),
  }));
  const error = relativeL2(
    ...([msd, model].map((own) => tf.tidy(() => (own.apply(x) as tf.Tensor).dataSync().slice())) as [
      Float32Array,
      Float32Array,
    ]),
  );
  if (!(error < 0.02)) throw new Error(`Dense: relative error ${error}`);
  const timings = await interleave(runs, { rounds, sampleMs: 30 });
  record('dense', `Dense on a sequence [1,1,${D}] -> ${D}`, timings, D * D);
  x.dispose();
  model.dispose();
  msd.dispose();
}

/** Heads of a small transformer. */
const [HEADS, HEAD_SIZE] = [12, 64];

/** Queries on keys that are there: MSD's in a cache, stock's as float tensors; then keys that come as floats each time. */
async function attentions(): Promise<void> {
  const scale = HEAD_SIZE ** -0.5;
  for (const T of [128, 1024])
    for (const M of [DECODE_ROWS, PREFILL_ROWS]) {
      const q = tf.randomNormal([1, HEADS, M, HEAD_SIZE]);
      const [k, v] = [0, 1].map(() => tf.randomNormal([1, HEADS, T, HEAD_SIZE])) as [tf.Tensor, tf.Tensor];
      const stock = () =>
        tf.tidy(() => tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), scale)), v) as tf.Tensor);
      const caches = (['int16', 'int8'] as const).map((type) => {
        const cache = new KvCache({ kvHeads: HEADS, headSize: HEAD_SIZE, type });
        cache.append(k, v);
        return { type, cache };
      });
      const macs = 2 * HEADS * M * T * HEAD_SIZE;
      const forms = [
        { what: FORMS[0], of: ({ cache }: (typeof caches)[number]) => attention(q, null, null, { cache }) },
        { what: FORMS[1], of: ({ type }: (typeof caches)[number]) => attention(q, k, v, { type }) },
      ];
      for (const { what, of } of forms) {
        for (const own of caches) {
          const [got, want] = [() => of(own), stock].map((run) => tf.tidy(() => run().dataSync().slice()));
          const error = relativeL2(got!, want!);
          if (!(error < (own.type === 'int16' ? 5e-4 : 0.03))) throw new Error(`${own.type}: relative error ${error}`);
        }
        const timings = await interleave(
          [
            { name: 'stock', macs, run: () => stock().dispose() },
            ...caches.map((own) => ({ name: own.type, macs, run: () => of(own).dispose() })),
          ],
          { rounds, sampleMs: 30 },
        );
        record('attention', `${what}, ${HEADS} heads of ${HEAD_SIZE}, M=${M}, T=${T}`, timings, macs);
      }
      for (const { cache } of caches) cache.dispose();
      tf.dispose([q, k, v]);
    }
}

const tokenizer = () => new Tokenizer(JSON.parse(readFileSync(join(dirname(sentenceEncoder()), 'vocab.json'), 'utf8')));

function feedsFor(sentences: readonly string[]): { indices: tf.Tensor2D; values: tf.Tensor1D } {
  const own = tokenizer();
  const ids = sentences.map((sentence) => own.encode(sentence));
  const positions = ids.flatMap((tokens, i) => tokens.map((_, j) => [i, j]));
  return { indices: tf.tensor2d(positions, [positions.length, 2], 'int32'), values: tf.tensor1d(ids.flat(), 'int32') };
}

const batchOf = (size: number) => Array.from({ length: size }, (_, i) => SENTENCES[i % SENTENCES.length]!);

async function encoder(): Promise<void> {
  const stock = await tf.loadGraphModel(diskHandler(sentenceEncoder()));
  const msd = await loadGraphModel(diskHandler(sentenceEncoder()));
  const feeds = feedsFor(SENTENCES);
  const embed = async (model: tf.GraphModel, inputs: typeof feeds) => {
    const y = (await model.executeAsync(inputs)) as tf.Tensor;
    const out = y.dataSync().slice() as Float32Array;
    y.dispose();
    return out;
  };
  const [a, b] = [await embed(stock, feeds), await embed(msd, feeds)];
  const cosines = SENTENCES.map((_, i) => {
    let sums = [0, 0, 0];
    for (let k = 512 * i; k < 512 * (i + 1); k++)
      sums = [sums[0]! + a[k]! * b[k]!, sums[1]! + a[k]! ** 2, sums[2]! + b[k]! ** 2];
    return sums[0]! / Math.sqrt(sums[1]! * sums[2]!);
  });
  others.cosine = { min: round(Math.min(...cosines), 6), mean: round(cosines.reduce((x, y) => x + y) / 40, 6) };
  console.log('encoder, cosine to stock, 40 sentences', others.cosine);
  for (const size of [1, 8, 64]) {
    const inputs = feedsFor(batchOf(size));
    const samples: Record<'stock' | 'msd', number[]> = { stock: [], msd: [] };
    const models = { stock, msd };
    for (const model of Object.values(models)) for (let i = 0; i < 3; i++) await embed(model, inputs);
    const calls = size === 64 ? 1 : size === 8 ? 4 : 12;
    for (let i = 0; i < 2 * rounds; i++)
      for (const name of i % 2 ? (['msd', 'stock'] as const) : (['stock', 'msd'] as const)) {
        const start = performance.now();
        for (let call = 0; call < calls; call++) await embed(models[name], inputs);
        samples[name].push((performance.now() - start) / calls);
      }
    record('encoder', `encoder, batch ${size}`, [
      { name: 'stock', ...summarize(samples.stock) },
      { name: 'int8', ...summarize(samples.msd) },
    ]);
    tf.dispose(inputs);
  }
  console.log(formatReport(reportOf(msd)!).split('\n').at(-1));
  stock.dispose();
  msd.dispose();
}

/** From bytes in memory to a model: what reading a disk or a network adds is the same for all. */
async function load(): Promise<void> {
  const artifacts = await diskHandler(sentenceEncoder()).load!();
  const handler = { load: async () => ({ ...artifacts }) };
  const loaders = {
    stock: () => tf.loadGraphModel(handler),
    int8: () => loadGraphModel(handler),
    int4: () => loadGraphModel(handler, { format: 'int4' }),
  };
  type Loader = keyof typeof loaders;
  const samples: Record<Loader, number[]> = { stock: [], int8: [], int4: [] };
  for (let i = -1; i < rounds; i++)
    for (const side of Object.keys(loaders) as Loader[]) {
      const start = performance.now();
      const model = await loaders[side]();
      if (i >= 0) samples[side].push(performance.now() - start);
      model.dispose();
    }
  record(
    'load',
    'encoder, load',
    Object.entries(samples).map(([name, values]) => ({ name, ...summarize(values) })),
  );
}

/** One side in a process of its own: a heap that has grown does not shrink. */
async function memorySide(side: string): Promise<void> {
  const heap = () => (tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array } }).wasm.HEAPU8.length;
  const initial = heap();
  const load = side === 'stock' ? tf.loadGraphModel : loadGraphModel;
  const model = await load(diskHandler(sentenceEncoder()));
  const inputs = feedsFor(batchOf(64));
  const y = (await model.executeAsync(inputs)) as tf.Tensor;
  tf.dispose([y, inputs] as never);
  const { artifacts } = model as unknown as { artifacts: tf.io.ModelArtifacts };
  const own = Object.getOwnPropertyDescriptor(artifacts, 'weightData')?.value as ArrayBuffer | undefined;
  console.log(JSON.stringify({ tensors: tf.memory().numBytes, initial, heap: heap(), keptInJs: own?.byteLength ?? 0 }));
}

function memory(): void {
  const sides = Object.fromEntries(
    ['stock', 'msd'].map((side) => {
      const { stdout, stderr } = spawnSync(
        process.execPath,
        [fileURLToPath(import.meta.url), 'memory', '--side', side],
        { encoding: 'utf8' },
      );
      const line = stdout.trim().split('\n').at(-1) ?? '';
      if (!line.startsWith('{')) throw new Error(stderr);
      return [side, JSON.parse(line) as TfjsMemory];
    }),
  );
  const [stock, msd] = [sides.stock!, sides.msd!];
  others.memory = { stock, int8: msd };
  const [before, after] = [totalBytes(stock), totalBytes(msd)];
  console.log(`encoder, memory after batch 64: ${before} B, int8 ${after} B = ${round(after / before)}`);
}

async function classifier(): Promise<void> {
  await tf.setBackend('cpu');
  const model = await loadGraphModel(diskHandler(languageClassifier()));
  const { weightBytes, stockBytes } = reportOf(model)!;
  others.classifier = { stock: stockBytes, kept: weightBytes };
  console.log(
    `classifier, uint8 manifest: ${stockBytes} B, kept ${weightBytes} B = ${round(weightBytes / stockBytes)}`,
  );
  model.dispose();
  await tf.setBackend('wasm');
}

const date = new Date().toISOString();
const root = fileURLToPath(new URL('../..', import.meta.url));
const out = values.out ?? join(root, 'test/bench/results', date.slice(0, 10));
if (values.side) await memorySide(values.side);
else if (positionals.includes('readme')) {
  const result = readTfjs(out);
  if (!result) throw new Error(`${out}: expected tfjs.json of a run.`);
  writeTfjsReadme(relative(root, out).replaceAll('\\', '/'), result);
} else {
  const machine = describeMachine();
  console.log(`${machine.cpu}, Node ${process.version}, load ${loadavg()[0]!.toFixed(2)}, medians of ${rounds} rounds`);
  if (wants('matmul')) await matMuls();
  if (wants('dense')) await dense();
  if (wants('convolution'))
    for await (const { id, timings, macs } of convolutions(relativeL2, { rounds, clock }))
      record('convolution', id, timings, macs);
  if (wants('recurrent'))
    for (const measure of [recurrentLayers, recurrentGraphs])
      for await (const { id, timings, macs } of measure(relativeL2, { rounds, clock }))
        record('recurrent', id, timings, macs);
  if (wants('loops'))
    for await (const { id, timings, macs } of recurrentLoops(relativeL2, { rounds, clock }))
      record('recurrent', id, timings, macs);
  if (wants('attention')) await attentions();
  if (wants('encoder')) await encoder();
  if (wants('load')) await load();
  if (wants('memory')) memory();
  if (wants('classifier')) await classifier();
  const versions = { node: process.version.slice(1), tfjs: tf.version.tfjs };
  mkdirSync(out, { recursive: true });
  writeTfjs(out, { date, machine, versions, rounds, cases, ...others });
}
