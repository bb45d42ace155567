/**
 * node heap-probe.ts CASE SIDE: loads or quantizes weights, runs them on one row and on sixteen, and prints how far tfjs's wasm
 * heap has grown, as JSON. In a process of its own, since a heap does not shrink.
 */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { loadGraphModel, loadLayersModel, matMul, quantize, register } from '../src/index.ts';
import { artifactsOf, floats, handlerOf, type NodeEntry, placeholder, type WeightEntry } from './graph.ts';
import { diskHandler, sentenceEncoder } from './real-models.ts';

/** Square matrices, 50 MB of floats in all. */
const [WIDTH, COUNT] = [1024, 12];
const [, , name, side] = process.argv as string[] as [string, string, keyof typeof cases, 'stock' | 'int8' | 'int4'];
const format = side as 'int8' | 'int4';

const first = floats('w0', [WIDTH, WIDTH]);
const weights: WeightEntry[] = Array.from({ length: COUNT }, (_, i) => ({ ...first, name: `w${i}` }));

type Run = (x: tf.Tensor2D) => tf.Tensor;
/** Of a model that only runs when it is waited for. */
type Slow = (rows: number) => Promise<tf.Tensor>;
const chain = (x: tf.Tensor2D, products: readonly Run[]) =>
  products.reduce<tf.Tensor>((y, product) => product(y as tf.Tensor2D), x);

const cases = {
  async graphModel(): Promise<Run> {
    const nodes = weights.map(({ name: w }, i): NodeEntry => {
      return { name: `y${i}`, op: 'MatMul', input: [i ? `y${i - 1}` : 'x', w] };
    });
    const handler = handlerOf(
      artifactsOf({ nodes: [placeholder('x'), ...nodes], weights, outputs: [`y${COUNT - 1}`] }),
    );
    const model = side === 'stock' ? await tf.loadGraphModel(handler) : await loadGraphModel(handler, { format });
    return (x) => model.execute(x) as tf.Tensor;
  },
  async layersModel(): Promise<Run> {
    const layers = weights.map(({ name: own }) => ({
      class_name: 'Dense',
      config: { name: own, units: WIDTH, use_bias: false, batch_input_shape: [null, WIDTH] },
    }));
    const own = weights.map((weight) => ({ ...weight, name: `${weight.name}/kernel` }));
    const { weightSpecs, weightData } = artifactsOf({ nodes: [], weights: own });
    const modelTopology = { class_name: 'Sequential', config: { name: 'all', layers } };
    const handler = handlerOf({ modelTopology, weightSpecs, weightData } as tf.io.ModelArtifacts);
    const model = side === 'stock' ? await tf.loadLayersModel(handler) : await loadLayersModel(handler, { format });
    return (x) => model.predict(x) as tf.Tensor;
  },
  /** A float tensor after the other becomes integers. */
  async tensors(): Promise<Run> {
    const products = weights.map(({ values }): Run => {
      const float = tf.tensor2d(values as Float32Array, [WIDTH, WIDTH]);
      if (side === 'stock') return (x) => tf.matMul(x, float);
      const w = quantize(float, { format });
      float.dispose();
      return (x) => matMul(x, w);
    });
    return (x) => chain(x, products);
  },
  /** The Universal Sentence Encoder, sixteen tokens to a sentence. */
  async sentences(): Promise<Slow> {
    const source = diskHandler(sentenceEncoder());
    const model = side === 'stock' ? await tf.loadGraphModel(source) : await loadGraphModel(source, { format });
    return async (rows) => {
      const positions = Array.from({ length: 16 * rows }, (_, i): [number, number] => [Math.floor(i / 16), i % 16]);
      const indices = tf.tensor2d(positions, undefined, 'int32');
      const values = tf.tensor1d(
        positions.map((_, i) => 6 + ((7 * i) % 7000)),
        'int32',
      );
      const y = (await model.executeAsync({ indices, values })) as tf.Tensor;
      tf.dispose([indices, values]);
      return y;
    };
  },
};

await tf.setBackend('wasm');
register(tf);
const { wasm } = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array; _malloc(n: number): number } };
const heap = () => wasm.HEAPU8.length;
// The heap starts with room: what fits in there would not be seen.
for (let size = heap(), begin = heap(); heap() === begin; size = Math.ceil(size / 2)) if (!wasm._malloc(size)) break;
const before = heap();
const made = await cases[name]();
const loaded = heap() - before;
for (const M of [1, 16])
  if (name === 'sentences') (await (made as Slow)(M)).dispose();
  else tf.tidy(() => (made as Run)(tf.ones([M, WIDTH])).dataSync());
console.log(JSON.stringify({ loaded, run: heap() - before, tensors: tf.memory().numBytes }));
