/**
 * MatMulBnb4: codes of 4 bits that stand for the numbers of a codebook. They lie on no grid of 8 bits, so a product of integers takes two
 * (docs/msd.md, section 5): W = (high + low / 256) · scale. As floats they are looked up.
 */
import { codebooks } from '@msd/core';
import { FLOAT16, FLOAT32, floatReader, type NodeRecord, tensorBytes, UINT8 } from '@msd/onnx/model';
import { intOf, type Scope, tensorNamed } from '../edit/open-model.ts';
import type { Integers, QuantizedProduct } from './integers.ts';
import { nibbles, type Speller } from './spellings.ts';

/** What ONNX Runtime multiplies with, by the attribute `quant_type` (blockwise_quant_block_bnb4.h). */
const CODEBOOKS = {
  fp4: [0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, 0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4],
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
} as const;
const FORMATS = ['fp4', 'nf4'] as const;

/** Fewest k of a row that may share a magnitude. */
const LEAST_BLOCK = 16;

/** Finds the weights of a MatMulBnb4, or why they are left as they are. */
export function bnb4(scope: Scope, node: NodeRecord): QuantizedProduct | string {
  const [x = '', b = '', a = ''] = node.inputs;
  const [N, K, given] = [intOf(node, 'N', 0), intOf(node, 'K', 0), intOf(node, 'block_size', 0)];
  const codebook = FORMATS[intOf(node, 'quant_type', -1)];
  const [data, magnitudes] = [tensorNamed(scope, b)?.tensor, tensorNamed(scope, a)?.tensor];
  if (!data || !magnitudes || data.elemType !== UINT8) return 'its weights are not constants of the file';
  if (magnitudes.elemType !== FLOAT32 && magnitudes.elemType !== FLOAT16) return 'its magnitudes are no floats';
  if (!codebook) return `quant_type ${intOf(node, 'quant_type', -1)}`;
  if (intOf(node, 'transB', 1) !== 1) return 'B is not transposed';
  // Blocks lie one behind the other over the whole matrix: part of one row and part of the next, where they do not divide rows.
  let blockSize = given;
  while (K % blockSize !== 0) blockSize /= 2;
  if (!(blockSize >= LEAST_BLOCK)) return `blocks of ${given} cut rows of ${K} into pieces below ${LEAST_BLOCK}`;
  return {
    kind: 'MatMulBnb4',
    node,
    scope,
    name: b,
    x,
    y: node.outputs[0] ?? '',
    bias: '',
    N,
    K,
    bits: 4,
    blockSize,
    isHalf: magnitudes.elemType === FLOAT16,
    codebook,
    read() {
      const codes = tensorBytes(data);
      const largest = floatReader(magnitudes)(0, Math.ceil((N * K) / given));
      return {
        values: Int16Array.from({ length: N * K }, (_, i) => (i % 2 === 0 ? codes[i >> 1]! >> 4 : codes[i >> 1]! & 15)),
        scales: Float32Array.from(
          { length: (N * K) / blockSize },
          (_, i) => largest[Math.floor((i * blockSize) / given)]!,
        ),
        table: CODEBOOKS[codebook],
      };
    },
  };
}

/** The same product with integers of 8 bits: its first N outputs are the larger parts, the others 256 times what these leave. */
export function inTwoParts(
  product: QuantizedProduct,
  { values, scales }: Integers,
): { readonly product: QuantizedProduct; readonly integers: Integers } {
  const { N, codebook } = product;
  const [high, low] = [codebooks[codebook!], codebooks[`${codebook!}low`]];
  const both = new Int16Array(2 * values.length);
  for (const [i, code] of values.entries()) {
    both[i] = high.values[code]!;
    both[values.length + i] = low.values[code]!;
  }
  const steps = new Float32Array(2 * scales.length);
  for (const [i, scale] of scales.entries()) steps[i] = steps[scales.length + i] = scale * high.step;
  return { product: { ...product, N: 2 * N, bits: 8, isInTwoParts: true }, integers: { values: both, scales: steps } };
}

/** Standard operators: the codes look up numbers, which are multiplied by the magnitudes of their blocks. */
export function spellLookedUp(speller: Speller, { values, scales, table }: Integers): string | undefined {
  const { N, K, blockSize, x, isHalf } = speller.product;
  const { opset } = speller;
  if (opset < 13) return `operator set ${opset} is too old, 13 is not`;
  const shape = [N, K / blockSize, blockSize];
  const codes =
    opset < 21
      ? speller.tensor('codes', 'uint8', shape, Uint8Array.from(values))
      : speller.tensor('codes', 'uint4', shape, nibbles(values));
  const indices = speller.node('Cast', 'indices', [codes], { to: { int: INT32 } });
  const numbers = speller.tensor('codebook', 'float32', [16], Float32Array.from(table!));
  const looked = speller.node('Gather', 'numbers', [numbers, indices]);
  const magnitudes = speller.tensor('magnitudes', 'float32', [N, K / blockSize, 1], scales);
  const reals = speller.node('Mul', 'reals', [looked, magnitudes]);
  const rows = speller.node('Reshape', 'matrix', [reals, speller.ints('shape', [N, K])]);
  const own = isHalf ? speller.node('Cast', 'half', [rows], { to: { int: FLOAT16 } }) : rows;
  const weights = speller.node('Transpose', 'transpose', [own], { perm: { ints: [1, 0] } });
  speller.finish((output) => void speller.node('MatMul', 'MatMul', [x, weights], {}, output));
  return undefined;
}

const INT32 = 6;
