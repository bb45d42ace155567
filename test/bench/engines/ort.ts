/** onnxruntime-web, its plain WebAssembly build. Input and result of `run` are copied by its public API. */
import type * as Ort from 'onnxruntime-web';
import { onnxChain } from '../models/onnx.ts';
import type { WeightsId } from '../models/weights.ts';
import { type Engine, type LayerSource, type Loaded, matrixRows, type Variant } from './engine.ts';

const COLUMNS: readonly (Pick<Variant, 'label' | 'minSqnrDb'> & { weights: WeightsId })[] = [
  { weights: 'fp32', label: 'ORT MatMul fp32', minSqnrDb: 100 },
  { weights: 'int8', label: 'ORT dynamic int8', minSqnrDb: 34 },
  { weights: 'int8/32', label: 'ORT MatMulNBits 8 bit', minSqnrDb: 100 },
  { weights: 'int4/32', label: 'ORT MatMulNBits 4 bit', minSqnrDb: 100 },
];

/** @param ort the module, not yet initialised: `threads` is set once for all sessions */
export function ortEngine(ort: typeof Ort, threads: number): Engine {
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const variants = COLUMNS.map(
    (column): Variant => ({ ...column, id: `ort ${column.weights}`, engine: 'ort', threads }),
  );
  const load = async ({ weights }: Variant, source: LayerSource, M: number): Promise<Loaded> => {
    const layers = source.weights(weights as WeightsId);
    const { K } = layers[0]!;
    const session = await ort.InferenceSession.create(onnxChain(layers, M), { executionProviders: ['wasm'] });
    let x = new ort.Tensor('float32', new Float32Array(M * K), [M, K]);
    return {
      run: () => session.run({ x }),
      compute: async (values) => {
        x = new ort.Tensor('float32', values, [M, K]);
        return (await session.run({ x })).y!.data as Float32Array;
      },
      layers: matrixRows(layers),
      release: () => session.release(),
    };
  };
  return { id: 'ort', version: ort.env.versions.web ?? 'unknown', variants, load };
}
