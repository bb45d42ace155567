/**
 * node heap-probe.ts CASE SIDE: loads or quantizes weights, runs them on one row and on sixteen, and prints how far tfjs's wasm
 * heap has grown, as JSON. In a process of its own, since a heap does not shrink.
 */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { loadGraphModel, loadLayersModel, matMul, quantize, register } from '../src/index.ts';
import { artifactsOf, floats, handlerOf, type NodeEntry, placeholder, type WeightEntry } from './graph.ts';

/** Square matrices, 50 MB of floats in all. */
const [WIDTH, COUNT] = [1024, 12];
const [, , name, side] = process.argv as string[] as [string, string, keyof typeof cases, 'stock' | 'int8' | 'int4'];
const format = side as 'int8' | 'int4';

const first = floats('w0', [WIDTH, WIDTH]);
const weights: WeightEntry[] = Array.from({ length: COUNT }, (_, i) => ({ ...first, name: `w${i}` }));

type Run = (x: tf.Tensor2D) => tf.Tensor;
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
};

await tf.setBackend('wasm');
register(tf);
const { wasm } = tf.backend() as unknown as { wasm: { HEAPU8: Uint8Array; _malloc(n: number): number } };
const heap = () => wasm.HEAPU8.length;
// The heap starts with room: what fits in there would not be seen.
for (let size = heap(), begin = heap(); heap() === begin; size = Math.ceil(size / 2)) if (!wasm._malloc(size)) break;
const before = heap();
const run = await cases[name]();
const loaded = heap() - before;
for (const M of [1, 16]) tf.tidy(() => run(tf.ones([M, WIDTH])).dataSync());
console.log(JSON.stringify({ loaded, run: heap() - before, tensors: tf.memory().numBytes }));
