/** The smallest model: what a side takes to start is measured with it. */
import { writeModel } from '@msd/onnx/write';
import { BLOCK_SIZE } from '../models/decoder.ts';

/** Something that a provider computes itself: y = x for onnxruntime-web, a product for MSD. */
export function tinyModel(provider: 'msd' | 'wasm'): Uint8Array {
  const [N, K] = [16, BLOCK_SIZE];
  const value = (name: string) => ({ name, dtype: 'float32' as const, dims: [1, K] });
  const product = {
    opType: 'MatMulNBits',
    domain: 'com.microsoft',
    inputs: ['x', 'w', 'scales'],
    outputs: ['y'],
    attributes: { N: { int: N }, K: { int: K }, bits: { int: 4 }, block_size: { int: BLOCK_SIZE } },
  };
  const initializers = [
    { name: 'w', dtype: 'uint8' as const, dims: [N, 1, K / 2], data: new Uint8Array((N * K) / 2) },
    { name: 'scales', dtype: 'float32' as const, dims: [N, 1], data: new Float32Array(N) },
  ];
  const graph = { inputs: [value('x')], outputs: [{ name: 'y', dtype: 'float32' as const }] };
  return provider === 'wasm'
    ? writeModel({ graph: { ...graph, nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }] } })
    : writeModel({ graph: { ...graph, nodes: [product], initializers } });
}
