/** A case in onnxruntime-web: as a session that one would run, and as several nodes in one run, which tell what a node costs by itself. */
import type { TensorType } from '@msd/core/nn';
import { type NodeSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import type * as Ort from 'onnxruntime-web';
import { type Data, DTYPES, type NnCase } from './cases/case.ts';

/** Copies of the node in one run: many of short ones, whose time is small beside a run's. */
const COPIES = { short: 33, long: 5, longMs: 0.3 };

export interface OnnxSide {
  /** `session.run`, from arrays to arrays. */
  run(): Promise<unknown>;
  outputs(): Promise<Data[]>;
  /** Runs of one and of several copies of the nodes, of which only the first one's results leave the session. */
  readonly one: () => Promise<unknown>;
  readonly several: () => Promise<unknown>;
  readonly copies: number;
  release(): Promise<void>;
}

export async function onnxSide(
  ort: typeof Ort,
  test: NnCase<unknown>,
  outputs: readonly TensorType[],
): Promise<OnnxSide> {
  const feeds = Object.fromEntries(
    inputsOf(test)
      .filter(({ isConstant }) => !isConstant)
      .map(({ name, dtype, dims, data }) => [name, new ort.Tensor(dtype as 'float32', data as Float32Array, dims)]),
  );
  const open = async (copies: number, graphOptimizationLevel: 'all' | 'disabled') => {
    const session = await ort.InferenceSession.create(modelOf(test, outputs, copies), {
      executionProviders: ['wasm'],
      graphOptimizationLevel,
      logSeverityLevel: 3,
    });
    return { session, run: () => session.run(feeds) };
  };
  const open1 = await open(1, 'all');
  await open1.run();
  const start = performance.now();
  await open1.run();
  const copies = performance.now() - start < COPIES.longMs ? COPIES.short : COPIES.long;
  // Unoptimized: equal nodes would become one.
  const [one, several] = [await open(1, 'disabled'), await open(copies, 'disabled')];
  return {
    run: open1.run,
    outputs: async () => {
      const results = await open1.run();
      return outputs.map((_, i) => {
        const { data } = results[`y${i}`]!;
        return data instanceof BigInt64Array ? Int32Array.from(data, Number) : (data as Data);
      });
    },
    one: one.run,
    several: several.run,
    copies,
    release: async () => {
      for (const { session } of [open1, one, several]) await session.release();
    },
  };
}

interface Input extends TensorSpec {
  readonly isConstant: boolean;
}

function inputsOf({ inputs, constants = [], onnx }: NnCase<unknown>): Input[] {
  return inputs.flatMap((input, i): Input[] => {
    if (!input) return [];
    const { dtype, dims, data } = input;
    const own = onnx.as?.[i] ?? { dtype: DTYPES[dtype], dims, data };
    return [{ ...own, name: `x${i}`, isConstant: constants.includes(i) }];
  });
}

function modelOf(test: NnCase<unknown>, outputs: readonly TensorType[], copies: number): Uint8Array {
  const inputs = inputsOf(test);
  const { nodes, also = [] } = test.onnx;
  const shared = new Set(['', ...inputs.map(({ name }) => name), ...also.map(({ name }) => name)]);
  const copy = (i: number): NodeSpec[] => {
    const rename = (name: string) => (i === 0 || shared.has(name) ? name : `${name}_${i}`);
    return nodes.map((node) => ({ ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) }));
  };
  return writeModel({
    graph: {
      nodes: Array.from({ length: copies }, (_, i) => copy(i)).flat(),
      initializers: [...inputs.filter(({ isConstant }) => isConstant), ...also],
      inputs: inputs.filter(({ isConstant }) => !isConstant).map(({ name, dtype, dims }) => ({ name, dtype, dims })),
      outputs: outputs.map((_, i) => ({ name: `y${i}` })),
    },
  });
}
