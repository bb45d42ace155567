/** TensorFlow.js, wasm backend (XNNPACK without relaxed SIMD), fp32: it has no quantized matMul. */
import { transpose } from '../models/weights.ts';
import { type Engine, type LayerSource, type Loaded, matrixRows, type Variant } from './engine.ts';

/** What is used of `@tensorflow/tfjs`, be it a module or a page's global. */
export interface TfCore {
  readonly version_core: string;
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  tensor2d(values: Float32Array, shape: [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor): TfTensor;
}
export interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}
/** What is used of `@tensorflow/tfjs-backend-wasm`. */
export interface TfWasm {
  setWasmPaths(folder: string): void;
  setThreadsCount(count: number): void;
  getThreadsCount(): number;
}

export async function tfjsEngine(tf: TfCore, wasm: TfWasm, wasmFolder: string, threads: number): Promise<Engine> {
  wasm.setWasmPaths(wasmFolder);
  wasm.setThreadsCount(threads);
  if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: its wasm backend did not start.');
  await tf.ready();
  const got = wasm.getThreadsCount();
  if (got !== threads) throw new Error(`tfjs: ${threads} threads expected, got ${got}.`);
  const variant: Variant = {
    id: 'tfjs fp32',
    engine: 'tfjs',
    label: 'tfjs wasm fp32',
    weights: 'fp32',
    minSqnrDb: 100,
    threads,
  };
  const load = async (_: Variant, source: LayerSource, M: number): Promise<Loaded> => {
    const layers = source.weights('fp32');
    const { K } = layers[0]!;
    const weights = layers.map((layer) => tf.tensor2d(transpose(layer.floats, layer.N, layer.K), [layer.K, layer.N]));
    let x = tf.tensor2d(new Float32Array(M * K), [M, K]);
    /** The result is the caller's. */
    const chain = (): TfTensor => {
      let current = x;
      for (const matrix of weights) {
        const next = tf.matMul(current, matrix);
        if (current !== x) current.dispose();
        current = next;
      }
      return current;
    };
    return {
      run: () => chain().dispose(),
      compute: async (values) => {
        x.dispose();
        x = tf.tensor2d(values, [M, K]);
        const y = chain();
        const data = await y.data();
        y.dispose();
        return data;
      },
      layers: matrixRows(layers),
      release: () => {
        for (const tensor of [x, ...weights]) tensor.dispose();
      },
    };
  };
  return { id: 'tfjs', version: tf.version_core, variants: [variant], load };
}
