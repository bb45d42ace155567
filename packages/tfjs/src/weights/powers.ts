/**
 * Input features of very different size, levelled: x[k] · 2^p[k] meets W[k,:] / 2^p[k]. Both are exact, the product is the same, and
 * neither one scale per output channel nor one per activation block loses the small ones.         (docs/tfjs.md, "Accuracy")
 */
import type { MatrixSpec, QuantizedSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';

/** Features below the largest by more than this are as good as 0. */
const LOWEST = -60;

/** Powers that make the largest weight of each input feature between 1/2 and 1 of the largest of all. @param rows [N,K] */
export function powersOf(rows: Float32Array, N: number, K: number): number[] {
  const largest = new Float32Array(K);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++) largest[k] = Math.max(largest[k]!, Math.abs(rows[n * K + k]!));
  const all = largest.reduce((max, value) => Math.max(max, value), 0);
  return Array.from(largest, (own) => (own > 0 ? Math.max(LOWEST, Math.ceil(Math.log2(own / all))) + 0 : 0)); // + 0: no -0
}

const known = /* @__PURE__ */ new WeakMap<readonly number[], Float32Array>();

/** What x is multiplied by; `undefined` where nothing is. */
export function factorsOf(spec: QuantizedSpec): Float32Array | undefined {
  const powers = spec.kind === 'matrix' ? spec.powers : undefined;
  if (!powers) return undefined;
  let factors = known.get(powers);
  if (!factors) known.set(powers, (factors = Float32Array.from(powers, (power) => 2 ** power)));
  return factors;
}

/** The same matrix as kernels see it. */
export function withoutPowers<S extends QuantizedSpec>(spec: S): S {
  if (!factorsOf(spec)) return spec;
  const { powers: _taken, ...rest } = spec as MatrixSpec;
  return rest as S;
}

/** x as the packed matrix expects it, the caller's to dispose of. */
export function levelled(x: Tensor, spec: MatrixSpec): Tensor {
  const factors = factorsOf(spec);
  const { tf } = requireRegistration('matMul');
  return factors ? tf.mul(x, tf.tensor1d(factors)) : x;
}
