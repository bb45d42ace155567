/**
 * Calls that `matmul` and `matmulMany` have bound, a few for each matrix. So callers that multiply with the same
 * matrices over and over without binding pay for binding only once. Calls are found by the caller's arguments, and are
 * dropped with the matrix.
 */

import type { WasmMatrix } from './matrix.ts';
import { modeOf, type Place } from './operands.ts';
import type { Product, ProductForm } from './product.ts';
import { ProductCall } from './product-call.ts';
import type { Activations } from './product-slices.ts';
import type { Runtime } from './runtime.ts';

/** Decode and prefill, from arrays and from handles. */
const MOST = 4;

/** A product with its operands. */
export interface PlacedProduct extends ProductForm {
  readonly bias: Place;
  readonly multiply: Place;
  readonly residual: Place;
  readonly out: Place;
}

export class BoundCalls {
  readonly #runtime: Runtime;
  readonly #calls = new WeakMap<WasmMatrix, ProductCall[]>();

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** The call for these operands, which are set. */
  find(activations: Activations, x: Place, products: readonly PlacedProduct[]): ProductCall {
    const { matrix } = products[0];
    let calls = this.#calls.get(matrix);
    if (!calls) this.#calls.set(matrix, (calls = []));
    let call = calls.find((known) => fits(known, activations, x, products));
    if (!call) {
      call = new ProductCall(this.#runtime, activations, products);
      calls.unshift(call);
      calls.length = Math.min(calls.length, MOST);
    }
    call.x.set(x);
    for (let i = 0; i < products.length; i++) {
      const { bias, multiply, residual, out } = call.products[i];
      const places = products[i];
      bias.set(places.bias);
      multiply.set(places.multiply);
      residual.set(places.residual);
      out.set(places.out);
    }
    return call;
  }
}

function fits(call: ProductCall, wanted: Activations, x: Place, products: readonly PlacedProduct[]): boolean {
  const { decomposition, M, xType } = call.activations;
  if (decomposition !== wanted.decomposition || M !== wanted.M || xType !== wanted.xType || call.x.mode !== modeOf(x))
    return false;
  if (call.products.length !== products.length) return false;
  for (let i = 0; i < products.length; i++) if (!fitsProduct(call.products[i], products[i])) return false;
  return true;
}

const fitsProduct = (product: Product, wanted: PlacedProduct): boolean =>
  product.matrix === wanted.matrix &&
  product.activation === wanted.activation &&
  product.outType === wanted.outType &&
  product.bias.mode === modeOf(wanted.bias) &&
  product.multiply.mode === modeOf(wanted.multiply) &&
  product.residual.mode === modeOf(wanted.residual) &&
  product.out.mode === modeOf(wanted.out);
