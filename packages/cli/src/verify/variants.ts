/** A quantized model beside itself with activations that stay floats. */

import { halfBitsOf } from '@msd/onnx/model';
import { Edit, type NewNode } from '../edit/edit.ts';
import type { OpenModel } from '../edit/open-model.ts';
import type { Integers, QuantizedProduct } from '../rewrite/integers.ts';

/** Float weights of a product in the graph: [K, N]. */
function floatWeights(
  edit: Edit,
  { name, scope, N, K, blockSize, isHalf }: QuantizedProduct,
  { values, scales, table }: Integers,
): string {
  const blocks = Math.ceil(K / blockSize);
  const reals = new Float32Array(K * N);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++) {
      const value = values[n * K + k]!;
      reals[k * N + n] = (table?.[value] ?? value) * scales[n * blocks + Math.floor(k / blockSize)]!;
    }
  const data = new Uint8Array((isHalf ? halfBitsOf(reals) : reals).buffer);
  return edit.add(scope, {
    name: edit.name(`${name}_floats`),
    dtype: isHalf ? 'float16' : 'float32',
    dims: [K, N],
    data,
  });
}

/** y = x · W in floats. */
function floatNodes(edit: Edit, product: QuantizedProduct): NewNode[] {
  const { x, y, bias } = product;
  const weights = floatWeights(edit, product, product.read());
  const result = bias === '' ? y : edit.name(`${y}_float_product`);
  const nodes: NewNode[] = [
    { opType: 'MatMul', name: edit.name(`${y}/floats`), inputs: [x, weights], outputs: [result] },
  ];
  if (bias !== '')
    nodes.push({ opType: 'Add', name: edit.name(`${y}/floats_bias`), inputs: [result, bias], outputs: [y] });
  return nodes;
}

/** The first `count` products as the file has them, the others with float activations. */
export function partlyFloat(model: OpenModel, products: readonly QuantizedProduct[], count: number): Edit {
  const edit = new Edit(model);
  for (const product of products.slice(count)) edit.replace(product.node, floatNodes(edit, product));
  edit.dropUnused();
  return edit;
}

/** Where a product's results are in {@link sideBySide}. */
export interface Beside {
  readonly product: QuantizedProduct;
  /** Its input, if a run can give it. */
  readonly x: string;
  /** With float activations; what follows it is fed with this. */
  readonly float: string;
  /** As the file has it, from the same input. */
  readonly quantized: string;
}

/** Every product twice, from the same float input: what each loses by itself. */
export function sideBySide(
  model: OpenModel,
  products: readonly QuantizedProduct[],
): { readonly edit: Edit; readonly beside: Beside[] } {
  const edit = new Edit(model);
  const beside = products.map((product): Beside => {
    const { node, x, y } = product;
    const quantized = edit.name(`${y}_quantized`);
    const again = { node, inputs: node.inputs, outputs: node.outputs.map((name) => (name === y ? quantized : name)) };
    edit.replace(node, [again, ...floatNodes(edit, product)]);
    return { product, x, float: y, quantized };
  });
  const { inputs, outputs } = model.root.graph;
  const given = new Set([...inputs, ...outputs].map(({ name }) => name));
  for (const { x, float, quantized, product } of beside)
    for (const name of [x, float, quantized]) {
      if (given.has(name)) continue;
      given.add(name);
      // MSD takes no model whose outputs have no type.
      edit.outputs.push({ name, dtype: product.isHalf ? 'float16' : 'float32' });
    }
  return { edit, beside };
}

/** Bytes of all weights as floats. */
export const floatBytesOf = (products: readonly QuantizedProduct[]): number =>
  products.reduce((sum, { N, K, isHalf }) => sum + N * K * (isHalf ? 2 : 4), 0);
