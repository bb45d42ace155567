/** Quantized products of a model, whichever way they are spelt, as integers with scales: what can be spelt anew. */
import {
  FLOAT16,
  FLOAT32,
  floatReader,
  INT8,
  INT64,
  type NodeRecord,
  numbersReader,
  type TensorRef,
  tensorBytes,
  UINT8,
} from '@msd/onnx/model';
import {
  floatOf,
  type Held,
  homeOf,
  intOf,
  intsOf,
  type OpenModel,
  type Scope,
  tensorNamed,
} from '../edit/open-model.ts';
import { bnb4 } from './codebooks.ts';

/** Integers [N, K] less their zero points, or codes, and a scale for each block of a row. */
export interface Integers {
  readonly values: Int16Array;
  /** [N, ceil(K / blockSize)] */
  readonly scales: Float32Array;
  /** Of codes: the number that each stands for. */
  readonly table?: readonly number[];
}

/** y = x · Wᵀ (+ bias) with quantized weights of the file. */
export interface QuantizedProduct {
  readonly kind: 'MatMulNBits' | 'DequantizeLinear' | 'MatMulInteger' | 'MatMulBnb4';
  /** The node that makes y; those before it that nobody else needs go with it. */
  readonly node: NodeRecord;
  readonly scope: Scope;
  /** Of the weights. */
  readonly name: string;
  readonly x: string;
  readonly y: string;
  /** '' = none. */
  readonly bias: string;
  readonly N: number;
  readonly K: number;
  readonly bits: 2 | 4 | 8;
  /** K: one scale for a whole row. */
  readonly blockSize: number;
  /** Have x and y float16? */
  readonly isHalf: boolean;
  /** Its integers are codes of it. */
  readonly codebook?: 'nf4' | 'fp4';
  /** N outputs are half of the sums, the others have to be added to them, 1/256 of each. */
  readonly isInTwoParts?: boolean;
  read(): Integers;
}

/** A node of such a kind, and why it is left as it is. */
export interface RefusedProduct {
  readonly node: NodeRecord;
  readonly reason: string;
}

/** Finds them, in the order of the file. */
export function findProducts(model: OpenModel): {
  readonly products: QuantizedProduct[];
  readonly refused: RefusedProduct[];
} {
  const products: QuantizedProduct[] = [];
  const refused: RefusedProduct[] = [];
  for (const scope of model.scopes)
    for (const node of scope.graph.nodes) {
      const found = FINDERS[node.opType]?.(scope, node);
      if (typeof found === 'string') refused.push({ node, reason: found });
      else if (found) products.push(found);
    }
  return { products, refused };
}

type Finder = (scope: Scope, node: NodeRecord) => QuantizedProduct | string | undefined;

const FINDERS: Readonly<Record<string, Finder>> = {
  MatMulNBits: nBits,
  MatMul: dequantized,
  Gemm: dequantized,
  MatMulInteger: dynamic,
  QLinearMatMul: () => 'its activations are rounded by scales of the file',
  MatMulBnb4: bnb4,
};

const tensorOf = (scope: Scope, name: string | undefined): TensorRef | undefined =>
  tensorNamed(scope, name ?? '')?.tensor;

/** All elements of a tensor. */
const numbers = (tensor: TensorRef): ArrayLike<number> =>
  numbersReader(tensor)!(
    0,
    tensor.dims.reduce((product, dim) => product * dim, 1),
  );

function nBits(scope: Scope, node: NodeRecord): QuantizedProduct | string {
  const [x = '', b = '', s = '', z = '', g = '', bias = ''] = node.inputs;
  const [N, K, bits, blockSize] = [
    intOf(node, 'N', 0),
    intOf(node, 'K', 0),
    intOf(node, 'bits', 4),
    intOf(node, 'block_size', 0),
  ];
  const [data, scales, zeros] = [tensorOf(scope, b), tensorOf(scope, s), tensorOf(scope, z)];
  if (!data || !scales || (z !== '' && !zeros)) return 'its weights are not constants of the file';
  if (g !== '') return 'it has g_idx';
  if (![2, 4, 8].includes(bits)) return `${bits} bits`;
  if (zeros && zeros.elemType !== UINT8) return 'its zero points are floats';
  const blocks = Math.ceil(K / blockSize);
  return {
    kind: 'MatMulNBits',
    node,
    scope,
    name: b,
    x,
    y: node.outputs[0] ?? '',
    bias,
    N,
    K,
    bits: bits as 2 | 4 | 8,
    blockSize,
    isHalf: scales.elemType === FLOAT16,
    read() {
      const [codes, points] = [tensorBytes(data), zeros && tensorBytes(zeros)];
      const rowBytes = (blocks * blockSize * bits) / 8;
      const zeroBytes = Math.ceil((blocks * bits) / 8);
      const codeAt = (bytes: Uint8Array, row: number, i: number): number =>
        (bytes[row + ((i * bits) >> 3)]! >> ((i * bits) & 7)) & (2 ** bits - 1);
      const values = new Int16Array(N * K);
      for (let n = 0; n < N; n++)
        for (let k = 0; k < K; k++) {
          const zero = points ? codeAt(points, n * zeroBytes, Math.floor(k / blockSize)) : 2 ** (bits - 1);
          values[n * K + k] = codeAt(codes, n * rowBytes, k) - zero;
        }
      return { values, scales: Float32Array.from(floatReader(scales)(0, N * blocks)) };
    },
  };
}

/** DequantizeLinear of constants, turned or not, and a product of floats behind it. */
function dequantized(scope: Scope, node: NodeRecord): QuantizedProduct | string | undefined {
  if (node.domain !== '') return undefined;
  const [x = '', , c = ''] = node.inputs;
  let [home, name, isTurned] = [scope, node.inputs[1] ?? '', false];
  let maker: NodeRecord | undefined;
  let shape: readonly number[] | undefined;
  for (;;) {
    const at = homeOf(home, name);
    maker = at?.makers.get(name);
    if (!at || !maker) return undefined;
    home = at;
    if (maker.opType === 'DequantizeLinear') break;
    if (maker.opType === 'Reshape' && !shape) {
      const to = tensorOf(home, maker.inputs[1]);
      if (to?.elemType !== INT64 || to.dims.join() !== '2') return undefined;
      shape = Array.from(new BigInt64Array(new Uint8Array(tensorBytes(to)).buffer), Number);
    } else if (maker.opType === 'Transpose' && !shape && intsOf(maker, 'perm')?.join() === '1,0') isTurned = !isTurned;
    else return undefined;
    name = maker.inputs[0] ?? '';
  }
  const isGemm = node.opType === 'Gemm';
  if (isGemm && (intOf(node, 'transA', 0) !== 0 || floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1))
    return 'Gemm with transA, alpha or beta';
  if (isGemm && intOf(node, 'transB', 0) !== 0) isTurned = !isTurned;
  const held = tensorNamed(home, maker.inputs[0] ?? '');
  const [scales, zeros] = [tensorOf(home, maker.inputs[1]), tensorOf(home, maker.inputs[2])];
  if (!held || !scales) return undefined;
  return matrixBehind(held, { maker, scales, zeros, isTurned, shape }, { scope, node, x, bias: c });
}

interface Behind {
  readonly maker: NodeRecord;
  readonly scales: TensorRef;
  readonly zeros: TensorRef | undefined;
  readonly isTurned: boolean;
  /** Of the matrix, where the file has a row for each block of it. */
  readonly shape: readonly number[] | undefined;
}

function matrixBehind(
  { tensor, name }: Held,
  { maker, scales, zeros, isTurned, shape }: Behind,
  of: { scope: Scope; node: NodeRecord; x: string; bias: string },
): QuantizedProduct | string {
  const { scope, node, x, bias } = of;
  const bits = BITS_OF.get(tensor.elemType);
  if (!bits) return 'its weights have an element type that has no form here';
  if (tensor.dims.length !== 2) return `its weights have shape [${tensor.dims.join(', ')}]`;
  if (scales.elemType !== FLOAT32 && scales.elemType !== FLOAT16) return 'its scales are no floats';
  const [rows = 0, columns = 0] = shape ?? tensor.dims;
  const [N, K] = isTurned ? [rows, columns] : [columns, rows];
  const given = intOf(maker, 'block_size', 0);
  const axis = (intOf(maker, 'axis', 1) + 2) % 2;
  const isAlongK = axis === (isTurned ? 1 : 0);
  const block = tensor.dims[1]!;
  if (
    shape &&
    !(isTurned && axis === 0 && given === 0 && K % block === 0 && rows * columns === tensor.dims[0]! * block)
  )
    return 'its weights are reshaped';
  const isWhole = scales.dims.every((dim) => dim === 1);
  if (given > 0 && !isAlongK) return 'its blocks lie along N';
  if (!isWhole && given === 0 && isAlongK) return 'its scales differ along K';
  const blockSize = shape ? block : given > 0 ? given : K;
  const blocks = Math.ceil(K / blockSize);
  /** Where the scale of (n, block) is. */
  const scaleAt = (n: number, block: number): number =>
    isWhole ? 0 : given === 0 || isTurned ? n * blocks + block : block * N + n;
  return {
    kind: 'DequantizeLinear',
    node,
    scope,
    name,
    x,
    y: node.outputs[0] ?? '',
    bias,
    N,
    K,
    bits,
    blockSize,
    isHalf: (intOf(maker, 'output_dtype', 0) || scales.elemType) === FLOAT16,
    read() {
      const [codes, factors, points] = [numbers(tensor), numbers(scales), zeros && numbers(zeros)];
      const values = new Int16Array(N * K);
      const out = new Float32Array(N * blocks);
      for (let n = 0; n < N; n++) {
        for (let b = 0; b < blocks; b++) out[n * blocks + b] = factors[scaleAt(n, b)]!;
        for (let k = 0; k < K; k++) {
          const zero = points ? points[points.length === 1 ? 0 : scaleAt(n, Math.floor(k / blockSize))]! : 0;
          values[n * K + k] = codes[isTurned ? n * K + k : k * N + n]! - zero;
        }
      }
      return { values, scales: out };
    },
  };
}

const BITS_OF: ReadonlyMap<number, 2 | 4 | 8> = new Map([
  [UINT8, 8],
  [INT8, 8],
  [21, 4],
  [22, 4],
  [25, 2],
  [26, 2],
]);

/** DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul by both scales. */
function dynamic(scope: Scope, node: NodeRecord): QuantizedProduct | string {
  const [a = '', b = '', , z = ''] = node.inputs;
  const rounding = homeOf(scope, a)?.makers.get(a);
  if (rounding?.opType !== 'DynamicQuantizeLinear') return 'no DynamicQuantizeLinear is in front of it';
  const held = tensorNamed(scope, b);
  if (held?.tensor.dims.length !== 2) return 'its weights are not a matrix of the file';
  const zeros = tensorOf(scope, z);
  if (z !== '' && !zeros) return 'its zero points are not constants of the file';
  const cast = soleReader(scope, node.outputs[0] ?? '');
  const times = cast?.opType === 'Cast' ? soleReader(scope, cast.outputs[0]!) : undefined;
  if (!cast || times?.opType !== 'Mul') return 'no Cast and Mul are behind it';
  const other = times.inputs.find((name) => name !== cast.outputs[0]) ?? '';
  const product = homeOf(scope, other)?.makers.get(other);
  const factor = product?.opType === 'Mul' ? product.inputs.find((name) => name !== rounding.outputs[1]) : undefined;
  const scales = product?.inputs.includes(rounding.outputs[1] ?? '') ? tensorOf(scope, factor) : undefined;
  if (!scales || scales.elemType !== FLOAT32) return 'its scales are not constants of the file';
  const { tensor, name } = held;
  const [K = 0, N = 0] = tensor.dims;
  const x = rounding.inputs[0] ?? '';
  return {
    kind: 'MatMulInteger',
    node: times,
    scope,
    name,
    x,
    y: times.outputs[0] ?? '',
    bias: '',
    N,
    K,
    bits: 8,
    blockSize: K,
    isHalf: false,
    read() {
      const [codes, factors, points] = [numbers(tensor), numbers(scales), zeros && numbers(zeros)];
      const each = (of: ArrayLike<number> | undefined, n: number): number => (of ? of[of.length === 1 ? 0 : n]! : 0);
      const values = new Int16Array(N * K);
      for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) values[n * K + k] = codes[k * N + n]! - each(points, n);
      return { values, scales: Float32Array.from({ length: N }, (_, n) => each(factors, n)) };
    },
  };
}

function soleReader({ graph }: Scope, name: string): NodeRecord | undefined {
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(name));
  return readers.length === 1 && !graph.outputs.some((output) => output.name === name) ? readers[0] : undefined;
}
