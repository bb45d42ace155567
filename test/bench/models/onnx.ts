/** A chain of layers as ONNX: MatMul, DynamicQuantizeLinear + MatMulInteger, or MatMulNBits. */
import { type GraphSpec, writeModel } from '@msd/onnx/write';
import { type LayerWeights, nibbles, transpose } from './weights.ts';

type Node = GraphSpec['nodes'][number];
type Initializer = NonNullable<GraphSpec['initializers']>[number];

interface Part {
  readonly nodes: readonly Node[];
  readonly initializers: readonly Initializer[];
}

/** @returns the file's bytes; input `x` [M, K], output `y` [M, N] */
export function onnxChain(layers: readonly LayerWeights[], M: number): Uint8Array<ArrayBuffer> {
  const last = layers.length - 1;
  const parts = layers.map((layer, i) => layerPart(layer, i, i === 0 ? 'x' : `h${i - 1}`, i === last ? 'y' : `h${i}`));
  return writeModel({
    graph: {
      nodes: parts.flatMap(({ nodes }) => nodes),
      initializers: parts.flatMap(({ initializers }) => initializers),
      inputs: [{ name: 'x', dtype: 'float32', dims: [M, layers[0]!.K] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: [M, layers[last]!.N] }],
    },
  });
}

function layerPart(layer: LayerWeights, i: number, input: string, output: string): Part {
  const { id, K, N, codes, scales, floats, blockSize } = layer;
  const name = (suffix: string) => `${suffix}${i}`;
  switch (id) {
    case 'fp32':
      return {
        nodes: [{ opType: 'MatMul', inputs: [input, name('w')], outputs: [output] }],
        initializers: [{ name: name('w'), dtype: 'float32', dims: [K, N], data: transpose(floats, N, K) }],
      };
    case 'int8': // what ORT's dynamic quantization writes
      return {
        nodes: [
          { opType: 'DynamicQuantizeLinear', inputs: [input], outputs: [name('q'), name('qs'), name('qz')] },
          { opType: 'MatMulInteger', inputs: [name('q'), name('w'), name('qz')], outputs: [name('a')] },
          { opType: 'Cast', inputs: [name('a')], outputs: [name('f')], attributes: { to: { int: 1 } } },
          { opType: 'Mul', inputs: [name('qs'), name('s')], outputs: [name('qss')] },
          { opType: 'Mul', inputs: [name('f'), name('qss')], outputs: [output] },
        ],
        initializers: [
          { name: name('w'), dtype: 'int8', dims: [K, N], data: transpose(codes, N, K) },
          { name: name('s'), dtype: 'float32', dims: [N], data: scales },
        ],
      };
    case 'int4/32':
    case 'int8/32': {
      const bits = id === 'int4/32' ? 4 : 8;
      const blocks = K / blockSize!;
      return {
        nodes: [
          {
            opType: 'MatMulNBits',
            domain: 'com.microsoft',
            inputs: [input, name('w'), name('s')],
            outputs: [output],
            attributes: {
              K: { int: K },
              N: { int: N },
              bits: { int: bits },
              block_size: { int: blockSize! },
              accuracy_level: { int: 4 },
            },
          },
        ],
        initializers: [
          {
            name: name('w'),
            dtype: 'uint8',
            dims: [N, blocks, (blockSize! * bits) / 8],
            data: bits === 4 ? nibbles(codes, 8) : Uint8Array.from(codes, (code) => code + 128),
          },
          { name: name('s'), dtype: 'float32', dims: [N * blocks], data: scales },
        ],
      };
    }
    default:
      throw new RangeError(`onnxChain: no ONNX operator for ${id} weights.`);
  }
}
