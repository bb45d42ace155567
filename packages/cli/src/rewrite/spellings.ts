/** A quantized product in other operators, with the same integers and scales. */
import { type ByteRange, halfBitsOf } from '@msd/onnx/model';
import type { NodeSpec } from '@msd/onnx/write';
import type { AddedTensor, Edit } from '../edit/edit.ts';
import { int64 } from '../quantize/spell.ts';
import type { Integers, QuantizedProduct } from './integers.ts';

const MICROSOFT = 'com.microsoft';

/** Where large tensors wait until the model is written. */
export type Store = (bytes: Uint8Array) => Uint8Array | ByteRange;

/** Adds nodes and tensors under names of a product's own. */
export class Speller {
  readonly nodes: NodeSpec[] = [];
  readonly edit: Edit;
  readonly product: QuantizedProduct;
  readonly opset: number;
  readonly #store: Store;

  constructor(edit: Edit, product: QuantizedProduct, opset: number, store: Store = (bytes) => bytes) {
    this.edit = edit;
    this.product = product;
    this.opset = opset;
    this.#store = store;
  }

  /** @param output default: a name of its own. @returns the name of its result */
  node(
    opType: string,
    what: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
    output?: string,
    domain?: string,
  ): string {
    const result = output ?? this.edit.name(`${this.product.y}_${what}`);
    this.nodes.push({
      opType,
      ...(domain && { domain }),
      name: this.edit.name(`${this.product.y}/${what}`),
      inputs,
      outputs: [result],
      attributes,
    });
    return result;
  }

  tensor(what: string, dtype: AddedTensor['dtype'], dims: readonly number[], data: ArrayBufferView): string {
    const name = this.edit.name(`${this.product.name}_${what}`);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.edit.add(this.product.scope, { name, dtype, dims, data: this.#store(bytes) });
  }

  float(what: string, value: number): string {
    return this.tensor(what, 'float32', [], Float32Array.of(value));
  }

  ints(what: string, values: readonly number[]): string {
    return this.tensor(what, 'int64', [values.length], int64(values));
  }

  /** A reduction: its axes are an operand from a version on. */
  reduce(opType: 'ReduceMax' | 'ReduceSum', what: string, x: string, axis: number, keepdims: 0 | 1): string {
    const isOperand = this.opset >= (opType === 'ReduceSum' ? 13 : 18);
    const inputs = isOperand ? [x, this.ints(`${what}_axes`, [axis])] : [x];
    return this.node(opType, what, inputs, {
      keepdims: { int: keepdims },
      ...(!isOperand && { axes: { ints: [axis] } }),
    });
  }

  /** y from what a product made without its bias. @param make adds the node that makes the named result */
  finish(make: (output: string) => void): void {
    const { bias, y, isInTwoParts } = this.product;
    if (bias === '' && !isInTwoParts) make(y);
    else {
      const product = this.edit.name(`${y}_product`);
      make(product);
      if (isInTwoParts) this.#add(product, y);
      else this.node('Add', 'bias', [product, bias], {}, y);
    }
    this.edit.replace(this.product.node, this.nodes);
  }

  /** The two halves of a product's outputs, the second one 1/256 times. */
  #add(product: string, y: string): void {
    const { N, isHalf } = this.product;
    const part = (what: string, from: number): string => {
      const range = [this.ints(`${what}_first`, [from]), this.ints(`${what}_last`, [from + N / 2])];
      return this.node('Slice', what, [product, ...range, this.ints(`${what}_axis`, [-1])]);
    };
    const small = Float32Array.of(1 / 256);
    const factor = this.tensor('share', isHalf ? 'float16' : 'float32', [], isHalf ? halfBitsOf(small) : small);
    const low = this.node('Mul', 'low_share', [part('low', N / 2), factor]);
    this.node('Add', 'parts_sum', [part('high', 0), low], {}, y);
  }
}

/** Codes from 0 on, zero point in the middle, where the integers fit. */
function unsigned(values: Int16Array, bits: number): Uint8Array | undefined {
  const half = 2 ** (bits - 1);
  return values.every((value) => value >= -half && value < half)
    ? Uint8Array.from(values, (value) => value + half)
    : undefined;
}

/** Bits that integers without zero points take. */
export const bitsFor = (values: Int16Array): 4 | 8 | undefined =>
  unsigned(values, 4) ? 4 : unsigned(values, 8) ? 8 : undefined;

/** com.microsoft.MatMulNBits: what onnxruntime, Transformers.js and mobile builds of it run quickest. */
export function spellNBits(speller: Speller, { values, scales }: Integers): string | undefined {
  const { N, K, blockSize: given, x, bits: wanted, isHalf } = speller.product;
  const isPower = given >= 16 && Number.isInteger(Math.log2(given)) && given <= 256;
  if (given !== K && !isPower) return `blocks of ${given} are no power of two from 16 to 256`;
  const blockSize = isPower ? given : (([128, 64, 32] as const).find((block) => K % block === 0) ?? 32);
  const bits = wanted === 2 ? 4 : wanted;
  const isCentred = unsigned(values, bits) !== undefined;
  const points = isCentred ? undefined : zeroPoints(values, N, K, given, bits);
  if (!isCentred && !points) return 'its integers less their zero points do not fit its bits';
  const blocks = Math.ceil(K / blockSize);
  const packed = new Uint8Array((N * blocks * blockSize * bits) / 8);
  const factors = new Float32Array(N * blocks);
  const zeros = points && new Uint8Array(N * Math.ceil((blocks * bits) / 8));
  const oldBlocks = Math.ceil(K / given);
  for (let n = 0; n < N; n++)
    for (let b = 0; b < blocks; b++) {
      const old = n * oldBlocks + Math.floor((b * blockSize) / given);
      const zero = points ? points[old]! : 2 ** (bits - 1);
      factors[n * blocks + b] = scales[old]!;
      if (zeros) put(zeros, n * Math.ceil((blocks * bits) / 8), b, bits, zero);
      for (let i = 0; i < blockSize; i++) {
        const k = b * blockSize + i;
        put(packed, (n * blocks * blockSize * bits) / 8, k, bits, (k < K ? values[n * K + k]! : 0) + zero);
      }
    }
  const inputs = [
    x,
    speller.tensor(`Q${bits}`, 'uint8', [N, blocks, (blockSize * bits) / 8], packed),
    speller.tensor('scales', isHalf ? 'float16' : 'float32', [N, blocks], isHalf ? halfBitsOf(factors) : factors),
    ...(zeros ? [speller.tensor('zero_points', 'uint8', [N, Math.ceil((blocks * bits) / 8)], zeros)] : []),
  ];
  const attributes = { K: { int: K }, N: { int: N }, bits: { int: bits }, block_size: { int: blockSize } };
  speller.finish((output) => void speller.node('MatMulNBits', `Q${bits}`, inputs, attributes, output, MICROSOFT));
  return undefined;
}

function put(bytes: Uint8Array, row: number, i: number, bits: number, code: number): void {
  bytes[row + ((i * bits) >> 3)]! |= code << ((i * bits) & 7);
}

/** A zero point [N, blocks] for each block, from its least integer; `undefined` where one does not fit the bits. */
export function zeroPoints(
  values: Int16Array,
  N: number,
  K: number,
  block: number,
  bits: number,
): Uint8Array | undefined {
  const blocks = Math.ceil(K / block);
  const points = new Uint8Array(N * blocks);
  for (let n = 0; n < N; n++)
    for (let b = 0; b < blocks; b++) {
      const some = values.subarray(n * K + b * block, n * K + Math.min(K, (b + 1) * block));
      const least = some.reduce((a, c) => Math.min(a, c), 0);
      const most = some.reduce((a, c) => Math.max(a, c), 0);
      if (most - least >= 2 ** bits) return undefined;
      points[n * blocks + b] = -least;
    }
  return points;
}

/** DequantizeLinear and MatMul: standard operators alone; engines fuse them as they can. */
export function spellQdq(speller: Speller, { values, scales }: Integers): string | undefined {
  const { N, K, blockSize, x, isHalf, bits: wanted } = speller.product;
  const { opset } = speller;
  const bits = wanted < 8 && bitsFor(values) === 4 && opset >= 21 ? 4 : 8;
  const points = unsigned(values, bits) ? undefined : zeroPoints(values, N, K, blockSize, bits);
  if (!unsigned(values, bits) && !points) return 'its integers less their zero points do not fit 8 bits';
  if (opset < 13) return `operator set ${opset} has no DequantizeLinear with an axis, 13 has`;
  const isWhole = blockSize >= K;
  if (!isWhole && opset < 21 && K % blockSize !== 0)
    return `rows of ${K} are no whole blocks of ${blockSize}, which takes operator set 21`;
  const isHalfScale = isHalf && opset >= 19;
  const factors = isHalfScale ? halfBitsOf(scales) : scales;
  const blocks = Math.ceil(K / blockSize);
  // A scale for each row is all that versions before 21 know: blocks are rows there.
  const inRows = !isWhole && opset < 21;
  const dims = inRows ? [N * blocks, blockSize] : [N, K];
  const scaleDims = isWhole || inRows ? [N * blocks] : [N, blocks];
  const data = points
    ? speller.tensor('uint8', 'uint8', dims, pointed(values, points, K, blockSize))
    : speller.tensor(
        `int${bits}`,
        bits === 8 ? 'int8' : 'int4',
        dims,
        bits === 8 ? Int8Array.from(values) : nibbles(values),
      );
  let weights = speller.node(
    'DequantizeLinear',
    'dequantize',
    [
      data,
      speller.tensor('scales', isHalfScale ? 'float16' : 'float32', scaleDims, factors),
      ...(points ? [speller.tensor('zero_points', 'uint8', scaleDims, points)] : []),
    ],
    isWhole || inRows ? { axis: { int: 0 } } : { axis: { int: 1 }, block_size: { int: blockSize } },
  );
  if (inRows) weights = speller.node('Reshape', 'reshape', [weights, speller.ints('shape', [N, K])]);
  if (isHalf && !isHalfScale) weights = speller.node('Cast', 'cast', [weights], { to: { int: 10 } });
  weights = speller.node('Transpose', 'transpose', [weights], { perm: { ints: [1, 0] } });
  speller.finish((output) => void speller.node('MatMul', 'MatMul', [x, weights], {}, output));
  return undefined;
}

/** Codes of integers [N, K] and a zero point for each block of a row. */
export function pointed(values: Int16Array, points: Uint8Array, K: number, block: number): Uint8Array {
  const blocks = Math.ceil(K / block);
  const pointAt = (i: number): number => points[Math.floor(i / K) * blocks + Math.floor((i % K) / block)]!;
  return Uint8Array.from(values, (value, i) => value + pointAt(i));
}

/** Two to a byte, the first one low. */
export function nibbles(values: Int16Array): Uint8Array {
  const out = new Uint8Array(Math.ceil(values.length / 2));
  for (const [i, value] of values.entries()) out[i >> 1]! |= (value & 15) << (4 * (i & 1));
  return out;
}
