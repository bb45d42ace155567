/** @msd/core through its public API: weights prepared once, activations and results in the arena. */
import { createBackend, dequantizeWeights, type QuantizedWeights, quantizeWeights, type WasmBackend } from '@msd/core';
import type { MatrixRows } from '../models/reference.ts';
import { toMsd, type WeightsId } from '../models/weights.ts';
import { type Engine, type LayerSource, type Loaded, matrixRows, type Variant } from './engine.ts';

/** What `createBackend('wasm', …)` is asked for. An option that this version lacks shows in what it then does. */
interface BackendOptions {
  readonly threads?: number;
  readonly carrier?: string;
  readonly initialBytes?: number;
}

const CARRIERS = ['i16', 'i8'];
/** Weight formats, with the components and carriers that are worth a column. */
const FORMATS: readonly {
  weights: string;
  label: string;
  components: readonly (1 | 2)[];
  everyCarrier?: true;
}[] = [
  { weights: 'int8', label: 'int8', components: [2, 1], everyCarrier: true },
  { weights: 'int8/32', label: 'int8 block 32', components: [2] },
  { weights: 'int4/32', label: 'int4 block 32', components: [2, 1], everyCarrier: true },
  { weights: 'mxfp4', label: 'mxfp4', components: [2], everyCarrier: true },
  { weights: 'int2', label: 'int2 block 32', components: [2] },
];
const MIN_SQNR_DB = { 1: 34, 2: 80 };

/** `gemm_i16_int4_f32_1x16` -> `i16`; `gemm_i8ux2_…`, two digits and unsigned codes, -> `i8`. */
export const carrierOf = (kernel: string): string => /^gemm_(i16|i8)/.exec(kernel)?.[1] ?? 'unknown';

/** Threads that the backend really has; 1 for a version without a pool. */
const threadsOf = (backend: WasmBackend): number =>
  (backend as { threads?: { readonly count: number } }).threads?.count ?? 1;

/** One thread unless asked for more: the package's own default is all cores. */
export const createMsd = (options: BackendOptions): Promise<WasmBackend> =>
  createBackend('wasm', { threads: 1, ...options } as Parameters<typeof createBackend>[1] as object);

/** The matrices of a chain in MSD's format, and their rows for the reference. */
function matrices(source: LayerSource, weights: string): { quantized: QuantizedWeights[]; rows: MatrixRows[] } {
  if (weights !== 'mxfp4' && weights !== 'int2') {
    const layers = source.weights(weights as WeightsId);
    return { quantized: layers.map(toMsd), rows: matrixRows(layers) };
  }
  const quantized = source.shapes.map(({ N, K }, i) =>
    quantizeWeights(source.floats(i), { N, K, format: weights, blockSize: 32 }),
  );
  const rows = quantized.map((matrix) => {
    let real: Float32Array | undefined;
    const { K, N } = matrix;
    return { K, N, row: (n: number) => (real ??= dequantizeWeights(matrix)).subarray(n * K, (n + 1) * K) };
  });
  return { quantized, rows };
}

/**
 * Carriers that this engine and CPU have. One that cannot be had makes `createBackend` fail or leaves another in charge:
 * then it gets no column.
 */
async function usableCarriers(): Promise<string[]> {
  const usable: string[] = [];
  for (const carrier of CARRIERS) {
    const backend = await createMsd({ carrier }).catch(() => undefined);
    if (!backend) continue;
    const prepared = backend.prepare(
      quantizeWeights(new Float32Array(64 * 64).fill(1), { N: 64, K: 64, format: 'int4' }),
    );
    if (carrierOf(backend.kernelFor(prepared, 1)) === carrier) usable.push(carrier);
    backend.dispose();
  }
  return usable;
}

/** Those of `wanted` that the backend gives. */
export async function msdThreads(wanted: readonly number[]): Promise<number[]> {
  const counts: number[] = [];
  for (const count of wanted) {
    const backend = await createMsd({ threads: count });
    if (threadsOf(backend) === count) counts.push(count);
    backend.dispose();
  }
  return counts;
}

/** @param threads each count gets its own columns; those that the backend does not give are left out */
export async function msdEngine(version: string, threads: readonly number[]): Promise<Engine> {
  const carriers = await usableCarriers();
  // With one carrier the default is that one. Otherwise each gets a column beside what the default options choose.
  const columns = [undefined, ...(carriers.length > 1 ? carriers : [])];
  const counts = await msdThreads(threads);
  const variants = counts.flatMap((count) =>
    columns.flatMap((carrier) =>
      FORMATS.filter(({ everyCarrier }) => !carrier || (everyCarrier && count === 1)).flatMap(
        ({ weights, label, components }) =>
          components.map(
            (P): Variant => ({
              id: ['msd', weights, `P=${P}`, ...(carrier ? [carrier] : []), ...(count > 1 ? [`t${count}`] : [])].join(
                ' ',
              ),
              engine: 'msd',
              label: `MSD ${label}, ${P === 2 ? 'two components' : 'one component'}`,
              weights,
              minSqnrDb: MIN_SQNR_DB[P],
              threads: count,
              components: P,
              ...(carrier && { carrier }),
            }),
          ),
      ),
    ),
  );
  return { id: 'msd', version, variants, load: loadMsd };
}

async function loadMsd(
  { weights, components = 2, carrier, threads }: Variant,
  source: LayerSource,
  M: number,
): Promise<Loaded> {
  const backend = await createMsd({ ...(carrier && { carrier }), ...(threads > 1 && { threads }) });
  const { quantized, rows } = matrices(source, weights);
  const prepared = quantized.map((matrix) => backend.prepare(matrix));
  const kernel = backend.kernelFor(prepared[0]!, M, { components });
  if (carrier && carrierOf(kernel) !== carrier) {
    backend.dispose();
    throw new Error(`carrier ${carrier} cannot take ${weights} weights on this CPU and engine`);
  }
  const { arena } = backend;
  const x = arena.alloc(4 * M * quantized[0]!.K, 'x');
  // Two results take turns: a layer reads one and writes the other.
  const widest = Math.max(...quantized.map(({ N }) => N));
  const turns = [arena.alloc(4 * M * widest, 'even'), arena.alloc(4 * M * widest, 'odd')] as const;
  const steps = prepared.map((matrix, i) => ({
    matrix,
    input: i === 0 ? x : turns[(i - 1) % 2]!,
    options: { out: turns[i % 2]!, M, components },
  }));
  const run = (): void => {
    for (const { input, matrix, options } of steps) backend.matmul(input, matrix, options);
  };
  return {
    run,
    compute: async (values) => {
      arena.float32(x).set(values);
      run();
      const { options, matrix } = steps.at(-1)!;
      return arena.float32(options.out).slice(0, M * matrix.N);
    },
    layers: rows,
    kernel,
    weightBytes: backend.memory().packedBytes,
    release: () => backend.dispose(),
  };
}
