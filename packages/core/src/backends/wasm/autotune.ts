/** A search on the user's device: every tile of every carrier, on the very matrix. */
import type { Decomposition } from '../../decompose/contract.ts';
import { gemmId } from '../../gemm/options.ts';
import { gemmShapeFor } from '../../plan/choose.ts';
import { bestTime } from '../../wasm/timing.ts';
import type { WasmMatrix } from './matrix.ts';
import { ProductCall } from './product-call.ts';
import type { Runtime } from './runtime.ts';

/** One kernel of a search. */
export interface TunedKernel {
  readonly kernel: string;
  /** Shortest milliseconds of one multiplication, without decompose. */
  readonly milliseconds: number;
}

/** Sets the fastest kernel for a matrix at `M` rows of one slice. @returns what was measured, fastest first */
export function autotune(runtime: Runtime, matrix: WasmMatrix, M: number, decomposition: Decomposition): TunedKernel[] {
  const { K, N, kernelFormat, variant } = matrix;
  const shape = gemmShapeFor(M);
  // One multiplication leaves operands of the right size in scratch; their values do not matter.
  const call = new ProductCall(runtime, { decomposition, M, K, xType: 'f32' }, [
    { matrix, activation: undefined, outType: 'f32' },
  ]);
  call.x.set(new Float32Array(M * K));
  call.products[0].out.set(new Float32Array(M * N));
  call.run();
  const candidates = runtime.routes.candidates(kernelFormat, variant, shape, decomposition);
  const times = bestTime(candidates.map((options) => call.alternative(options)));
  const ranked = candidates
    .map((options, i) => ({ options, milliseconds: times[i] }))
    .sort((a, b) => a.milliseconds - b.milliseconds);
  // A clock that stands still tells nothing.
  if (ranked[0].milliseconds > 0) matrix.setKernel(shape, decomposition, ranked[0].options);
  return ranked.map(({ options, milliseconds }) => ({ kernel: gemmId(options), milliseconds }));
}
