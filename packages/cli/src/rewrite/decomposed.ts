/**
 * Decompose -> gemm -> recombine in standard operators, for engines that MSD does not run in:
 *
 *   S[m,g]  = max |x[m, g]| / limit                    a scale for each row and 256 k
 *   q       = round(x · 1/S),  q = 254·d1 + d2         one int8 digit, or two
 *   a[b]    = 254 · (d1[b] · W[b]) + d2[b] · W[b]      MatMulInteger for each block b of weights, exact in int32
 *   y       = Σ_g S[m,g] · Σ_b scale[n,b] · a[b]
 *
 * The integers are those of docs/msd.md, so the result is MSD's to the last roundings of the sums.
 */
import { FLOAT16, FLOAT32, INT8 } from '@msd/onnx/model';
import type { Integers } from './integers.ts';
import { bitsFor, nibbles, pointed, type Speller, zeroPoints } from './spellings.ts';

/** k that share a scale of x. */
const GROUP = 256;
/** Below this a row is 0: its reciprocal would overflow. */
const TINY = 2 ** -100;

/** @returns why the product stays as it is */
export function spellDecomposed(speller: Speller, { values, scales }: Integers, components: 1 | 2): string | undefined {
  const { N, K, blockSize: given, isHalf } = speller.product;
  if (speller.opset < 11) return `operator set ${speller.opset} has no Round, 11 has`;
  const isWhole = given >= K;
  const block = isWhole ? GROUP : Math.min(given, GROUP);
  if (GROUP % block !== 0 || (!isWhole && given % block !== 0)) return `${given} k of a block do not divide ${GROUP}`;
  const groups = Math.ceil(K / GROUP);
  const blocks = (groups * GROUP) / block;
  const weights = weightsOf(speller, values, block, blocks);
  if (!weights) return 'its integers less their zero points do not fit 8 bits';
  const x = isHalf ? speller.node('Cast', 'float', [speller.product.x], { to: { int: FLOAT32 } }) : speller.product.x;
  const { digits, S } = decompose(speller, x, groups, components);
  const sums = digits.map((digit, p) => {
    const inBlocks = speller.node('Reshape', `blocks_${p}`, [digit, speller.ints(`blocks_${p}`, [-1, blocks, block])]);
    const first = speller.node('Transpose', `rows_${p}`, [inBlocks], { perm: { ints: [1, 0, 2] } });
    return speller.node('MatMulInteger', `sums_${p}`, [first, ...weights]);
  });
  const base = speller.tensor('base', 'int32', [], Int32Array.of(254));
  const exact = sums.reduce((high, low, p) =>
    speller.node('Add', `digits_${p}`, [speller.node('Mul', `high_${p}`, [high, base]), low]),
  );
  const floats = speller.node('Cast', 'sums_float', [exact], { to: { int: FLOAT32 } });
  const scaleTensor = speller.tensor(
    'scales',
    'float32',
    isWhole ? [N] : [blocks, 1, N],
    isWhole ? scales : byBlocks(scales, N, Math.ceil(K / given), blocks, given / block),
  );
  const inGroups = (what: string, of: string): string =>
    blocks === groups
      ? of
      : speller.reduce(
          'ReduceSum',
          what,
          speller.node('Reshape', `${what}_shape`, [of, speller.ints(what, [groups, GROUP / block, -1, N])]),
          1,
          0,
        );
  const scaled = isWhole ? floats : inGroups('groups', speller.node('Mul', 'scaled', [floats, scaleTensor]));
  const turned = speller.node('Transpose', 'scales_of_x', [S], { perm: { ints: [1, 0, 2] } });
  const parts = speller.node('Mul', 'parts', [scaled, turned]);
  const total = speller.reduce('ReduceSum', 'sum', parts, 0, 0);
  const rows = isWhole ? speller.node('Mul', 'scaled', [total, scaleTensor]) : total;
  const half = isHalf ? speller.node('Cast', 'half', [rows], { to: { int: FLOAT16 } }) : rows;
  const shape = outputShape(speller, N);
  speller.finish((output) => void speller.node('Reshape', 'result', [half, shape], {}, output));
  return undefined;
}

/**
 * Inputs of MatMulInteger from the weights on: int8 [blocks, block, N], of 4 bits in the file where the operator set has such a type.
 * Where the integers do not fit, uint8 with zero points [blocks, 1, N].
 */
function weightsOf(speller: Speller, values: Int16Array, block: number, blocks: number): string[] | undefined {
  const { N, K } = speller.product;
  const dims = [blocks, block, N];
  const ordered = <A extends Int16Array | Uint8Array>(from: A, out: A): A => {
    for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[k * N + n] = from[n * K + k]!;
    return out;
  };
  const bits = bitsFor(values);
  if (bits === undefined) {
    const points = zeroPoints(values, N, K, block, 8);
    if (!points) return undefined;
    const codes = ordered(pointed(values, points, K, block), new Uint8Array(blocks * block * N));
    const own = Math.ceil(K / block);
    const turned = new Uint8Array(blocks * N); // blocks past K meet zeros
    for (let n = 0; n < N; n++) for (let b = 0; b < own; b++) turned[b * N + n] = points[n * own + b]!;
    const zero = speller.tensor('zero_of_x', 'int8', [], Int8Array.of(0));
    return [
      speller.tensor('uint8', 'uint8', dims, codes),
      zero,
      speller.tensor('zero_points', 'uint8', [blocks, 1, N], turned),
    ];
  }
  const integers = ordered(values, new Int16Array(blocks * block * N));
  if (speller.opset < 21 || bits !== 4) return [speller.tensor('int8', 'int8', dims, Int8Array.from(integers))];
  const packed = speller.tensor('int4', 'int4', dims, nibbles(integers));
  return [speller.node('Cast', 'weights', [packed], { to: { int: INT8 } })];
}

/** Scales [N, blocks] in the order of block and column; a longer block repeats its own. */
function byBlocks(scales: Float32Array, N: number, old: number, blocks: number, repeat: number): Float32Array {
  const out = new Float32Array(blocks * N);
  for (let b = 0; b < blocks; b++)
    for (let n = 0; n < N; n++)
      out[b * N + n] = Math.floor(b / repeat) < old ? scales[n * old + Math.floor(b / repeat)]! : 0;
  return out;
}

/** x as int8 digits [rows, groups, 256], the most significant first, and S [rows, groups, 1]. */
function decompose(speller: Speller, x: string, groups: number, components: 1 | 2): { digits: string[]; S: string } {
  const { K } = speller.product;
  let rows = speller.node('Reshape', 'rows', [x, speller.ints('rows', [-1, K])]);
  if (groups * GROUP > K)
    rows = speller.node('Pad', 'padded', [rows, speller.ints('pads', [0, 0, 0, groups * GROUP - K])]);
  const grouped = speller.node('Reshape', 'grouped', [rows, speller.ints('grouped', [-1, groups, GROUP])]);
  const largest = speller.reduce('ReduceMax', 'largest', speller.node('Abs', 'magnitudes', [grouped]), 2, 1);
  const limit = components === 2 ? 127 * 254 : 127;
  const safe = speller.node('Max', 'safe', [largest, speller.float('tiny', TINY)]);
  const S = speller.node('Div', 'S', [safe, speller.float('limit', limit)]);
  const steps = speller.node('Mul', 'steps', [grouped, speller.node('Reciprocal', 'inverse', [S])]);
  const rounded = speller.node('Round', 'rounded', [steps]);
  const [low, high] = [speller.float('low', -limit), speller.float('high', limit)];
  const q = speller.node('Clip', 'q', [rounded, low, high]);
  const int8 = (what: string, of: string): string => speller.node('Cast', what, [of], { to: { int: INT8 } });
  if (components === 1) return { digits: [int8('d1', q)], S };
  const base = speller.float('base_float', 254);
  const shifted = speller.node('Add', 'shifted', [q, speller.float('half_base', 127)]);
  const first = speller.node('Floor', 'first', [speller.node('Div', 'quotient', [shifted, base])]);
  const second = speller.node('Sub', 'second', [q, speller.node('Mul', 'first_part', [first, base])]);
  return { digits: [int8('d1', first), int8('d2', second)], S };
}

/** The sizes of x, with N for K. */
function outputShape(speller: Speller, N: number): string {
  const sizes = speller.node('Shape', 'sizes', [speller.product.x]);
  const lead = speller.node('Slice', 'lead', [sizes, speller.ints('first', [0]), speller.ints('last', [-1])]);
  return speller.node('Concat', 'sizes_of_y', [lead, speller.ints('N', [N])], { axis: { int: 0 } });
}
