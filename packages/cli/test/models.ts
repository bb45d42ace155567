/** Small seeded models, and what a file holds. */
import { dequantizeWeights, type FormatId, quantizeWeights } from '@msd/core';
import { random as seededRandom } from '@msd/core/numerics';
import { halfBitsOf, tensorBytes } from '@msd/onnx/model';
import { type ModelSpec, type NodeSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';
import { type OpenModel, openModel } from '../src/edit/open-model.ts';

ort.env.wasm.numThreads = 1;

export { ort };

/** Bell-shaped numbers. */
export function gaussian(count: number, seed: number): Float32Array {
  const random = seededRandom(seed);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random()));
    return radius * Math.cos(2 * Math.PI * random());
  });
}

export const floatTensor = (name: string, dims: readonly number[], data: Float32Array, isHalf = false): TensorSpec => ({
  name,
  dtype: isHalf ? 'float16' : 'float32',
  dims,
  data: isHalf ? halfBitsOf(data) : data,
});

export const transposed = (data: Float32Array, N: number, K: number): Float32Array =>
  Float32Array.from(data, (_, i) => data[(i % N) * K + Math.floor(i / N)]!);

/** x [rows, K] -> MatMul with [K, N] -> y. */
export function productModel(N: number, K: number, weights: Float32Array, isHalf = false): ModelSpec {
  const dtype = isHalf ? ('float16' as const) : ('float32' as const);
  return {
    irVersion: 8,
    opsets: { '': 17 },
    graph: {
      nodes: [{ opType: 'MatMul', name: '/layer/MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [floatTensor('w', [K, N], transposed(weights, N, K), isHalf)],
      inputs: [{ name: 'x', dtype, dims: ['rows', K] }],
      outputs: [{ name: 'y', dtype, dims: ['rows', N] }],
    },
  };
}

/** A token model: a table, a layer, a head; `head` says how the head is tied. */
export function tokenModel(head: 'copy' | 'Transpose' | 'Gemm' | 'own', words = 200, width = 96): ModelSpec {
  const table = gaussian(words * width, 3);
  const layer = gaussian(width * width, 4);
  const initializers: TensorSpec[] = [
    floatTensor('table', [words, width], table),
    floatTensor('layer', [width, width], layer),
    floatTensor('gain', [1], Float32Array.of(0.1)),
  ];
  const nodes: NodeSpec[] = [
    { opType: 'Gather', name: '/embed/Gather', inputs: ['table', 'input_ids'], outputs: ['embedded'] },
    { opType: 'MatMul', name: '/layer/MatMul', inputs: ['embedded', 'layer'], outputs: ['mixed'] },
    { opType: 'Mul', name: '/layer/Mul', inputs: ['mixed', 'gain'], outputs: ['hidden'] },
  ];
  if (head === 'Transpose')
    nodes.push(
      {
        opType: 'Transpose',
        name: '/head/Transpose',
        inputs: ['table'],
        outputs: ['turned'],
        attributes: { perm: { ints: [1, 0] } },
      },
      { opType: 'MatMul', name: '/head/MatMul', inputs: ['hidden', 'turned'], outputs: ['logits'] },
    );
  else if (head === 'Gemm')
    nodes.push({
      opType: 'Gemm',
      name: '/head/Gemm',
      inputs: ['hidden', 'table'],
      outputs: ['logits'],
      attributes: { transB: { int: 1 } },
    });
  else {
    initializers.push(
      floatTensor(
        'head',
        [width, words],
        head === 'copy' ? transposed(table, words, width) : gaussian(words * width, 5),
      ),
    );
    nodes.push({ opType: 'MatMul', name: '/head/MatMul', inputs: ['hidden', 'head'], outputs: ['logits'] });
  }
  return {
    irVersion: 8,
    opsets: { '': 17 },
    graph: {
      nodes,
      initializers,
      inputs: [{ name: 'input_ids', dtype: 'int64', dims: ['tokens'] }],
      outputs: [{ name: 'logits', dtype: 'float32', dims: ['tokens', words] }],
    },
  };
}

export type Weights = ReturnType<typeof quantizeWeights>;

/** x -> MatMulNBits (+ bias) -> y */
export function nBitsModel({ N, K, blockSize, data, scales, zeroPoints, format }: Weights, opset: number): ModelSpec {
  const bits = Number(format.slice(3));
  const blocks = Math.ceil(K / blockSize!);
  const unsigned = (codes: ArrayBufferView): Uint8Array =>
    bits === 8 ? Uint8Array.from(codes as Int8Array, (code) => code + 128) : (codes as Uint8Array);
  return {
    irVersion: 10,
    opsets: { '': opset, 'com.microsoft': 1 },
    graph: {
      nodes: [
        {
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          name: '/layer/MatMul_Q',
          inputs: ['x', 'codes', 'scales', zeroPoints ? 'zeros' : '', '', 'bias'],
          outputs: ['y'],
          attributes: { K: { int: K }, N: { int: N }, bits: { int: bits }, block_size: { int: blockSize! } },
        },
      ],
      initializers: [
        { name: 'codes', dtype: 'uint8', dims: [N, blocks, (blockSize! * bits) / 8], data: unsigned(data) },
        floatTensor('scales', [N, blocks], scales as Float32Array),
        ...(zeroPoints
          ? [
              {
                name: 'zeros',
                dtype: 'uint8' as const,
                dims: [N, Math.ceil((blocks * bits) / 8)],
                data: unsigned(zeroPoints),
              },
            ]
          : []),
        floatTensor('bias', [N], gaussian(N, 2)),
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['batch', 'rows', K] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['batch', 'rows', N] }],
    },
  };
}

export const bytesOf = (model: ModelSpec): Uint8Array => writeModel(model);

/** What plain onnxruntime-web computes. */
export async function runPlain(
  model: string | Uint8Array,
  feeds: Record<string, ort.Tensor>,
  externalData: { path: string; data: string }[] = [],
): Promise<ort.InferenceSession.OnnxValueMapType> {
  const options = { executionProviders: ['wasm'], logSeverityLevel: 3 as const, externalData };
  const session =
    typeof model === 'string'
      ? await ort.InferenceSession.create(model, options)
      : await ort.InferenceSession.create(model, options);
  const results = await session.run(feeds);
  await session.release();
  return results;
}

/** Nodes by type. */
export function countsOf(model: OpenModel): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { graph } of model.scopes)
    for (const { opType } of graph.nodes) counts[opType] = (counts[opType] ?? 0) + 1;
  return counts;
}

/** The weights of each MatMulNBits of a file, by its first output. */
export async function nBitsOf(path: string): Promise<Map<string, ReturnType<typeof quantizeWeights>>> {
  const model = await openModel(path);
  const found = new Map<string, ReturnType<typeof quantizeWeights>>();
  for (const { graph, tensors } of model.scopes)
    for (const node of graph.nodes) {
      if (node.opType !== 'MatMulNBits') continue;
      const int = (name: string): number => (node.attributes.get(name) as { readonly value: number }).value;
      const bytes = (at: number): Uint8Array<ArrayBuffer> | undefined => {
        const tensor = tensors.get(node.inputs[at] ?? '');
        return tensor && new Uint8Array(tensorBytes(tensor));
      };
      const [bits, scales] = [int('bits'), tensors.get(node.inputs[2]!)!];
      const signed = (codes: Uint8Array): Uint8Array | Int8Array =>
        bits === 8 ? Int8Array.from(codes, (code) => code - 128) : codes;
      const zeros = bytes(3);
      found.set(node.outputs[0]!, {
        format: `int${bits}` as FormatId,
        N: int('N'),
        K: int('K'),
        blockSize: int('block_size'),
        data: signed(bytes(1)!),
        scales: scales.elemType === 10 ? new Uint16Array(bytes(2)!.buffer) : new Float32Array(bytes(2)!.buffer),
        ...(zeros && { zeroPoints: signed(zeros) }),
      });
    }
  model.close();
  return found;
}

export { dequantizeWeights, quantizeWeights };
