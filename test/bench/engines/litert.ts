/** LiteRT.js (XNNPACK with relaxed SIMD). Browsers only: it loads its module with a script element. */
import { tfliteChain } from '../models/tflite.ts';
import type { WeightsId } from '../models/weights.ts';
import { type Engine, type LayerSource, type Loaded, matrixRows, type Variant } from './engine.ts';

/** What is used of `@litertjs/core`, which is not there when types are checked. */
interface LiteRt {
  loadLiteRt(wasmFolder: string, options?: { threads?: boolean }): Promise<unknown>;
  loadAndCompile(
    model: Uint8Array,
    options: { accelerator: 'wasm'; cpuOptions: { numThreads: number } },
  ): Promise<LiteRtModel>;
  Tensor: new (data: Float32Array, shape: readonly number[]) => LiteRtTensor;
}
interface LiteRtModel {
  run(inputs: readonly LiteRtTensor[]): Promise<LiteRtTensor[]>;
  delete(): void;
}
interface LiteRtTensor {
  data(): Promise<Float32Array>;
  delete(): void;
}

const COLUMNS: readonly (Pick<Variant, 'label' | 'minSqnrDb'> & { weights: WeightsId })[] = [
  { weights: 'fp32', label: 'LiteRT fp32', minSqnrDb: 100 },
  { weights: 'int8', label: 'LiteRT int8', minSqnrDb: 34 },
  { weights: 'int4', label: 'LiteRT int4 per channel', minSqnrDb: 34 },
  { weights: 'int4/32', label: 'LiteRT int4 block 32', minSqnrDb: 34 },
];

/** @param peers URL of the folder that holds `@litertjs` */
export async function liteRtEngine(peers: string, version: string, threads: number): Promise<Engine> {
  const litert: LiteRt = await import(/* @vite-ignore */ `${peers}/@litertjs/core/dist/index.js`);
  await litert.loadLiteRt(`${peers}/@litertjs/core/wasm/`, threads > 1 ? { threads: true } : {});
  const variants = COLUMNS.map(
    (column): Variant => ({ ...column, id: `litert ${column.weights}`, engine: 'litert', threads }),
  );
  const load = async ({ weights }: Variant, source: LayerSource, M: number): Promise<Loaded> => {
    const layers = source.weights(weights as WeightsId);
    const model = await litert.loadAndCompile(tfliteChain(layers, M), {
      accelerator: 'wasm',
      cpuOptions: { numThreads: threads },
    });
    const tensor = (values: Float32Array) => new litert.Tensor(values, [M, layers[0]!.K]);
    let x = tensor(new Float32Array(M * layers[0]!.K));
    return {
      run: async () => {
        for (const result of await model.run([x])) result.delete();
      },
      compute: async (values) => {
        x.delete();
        x = tensor(values);
        const results = await model.run([x]);
        const data = (await results[0]!.data()).slice();
        for (const result of results) result.delete();
        return data;
      },
      layers: matrixRows(layers),
      release: () => {
        x.delete();
        model.delete();
      },
    };
  };
  return { id: 'litert', version, variants, load };
}
