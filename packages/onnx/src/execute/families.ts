/**
 * Which operators bring which family of them. A family is fetched when a model has one of its operators, together with what only such
 * models need besides (parts). Families that are built on others bring them along.
 */
import { addFamily, type Family } from '../ops/index.ts';
import type { foldConstants } from '../passes/constants.ts';
import type { selectEarly } from '../passes/select-early.ts';
import type { keepPositions } from '../plan/layout.ts';
import type { Experts } from './experts.ts';
import type { inlining } from './inlining.ts';
import type { Recurrent } from './recurrent.ts';

/** What only some models need. */
export interface Parts {
  /** Constants that are made of constants. */
  readonly foldConstants?: typeof foldConstants;
  /** Positions that are chosen before they are computed. */
  readonly selectEarly?: typeof selectEarly;
  /** Images with their channels last. */
  readonly keepPositions?: typeof keepPositions;
  /** Loops, and branches that are no graphs of their own. */
  readonly control?: (typeof inlining)['control'];
  readonly Experts?: typeof Experts;
  readonly Recurrent?: typeof Recurrent;
}

/** A family as it is fetched. */
export interface FetchedFamily extends Family {
  /** Families that it is built on. */
  readonly needs?: readonly FetchedFamily[];
  readonly parts?: Parts;
}

interface Fetched {
  /** Operators that bring the family: its own, and those that its chains are found from. ONNX's, then ONNX Runtime's. */
  readonly standard?: string;
  readonly microsoft?: string;
  load(): Promise<{ readonly family: FetchedFamily }>;
}

/** Which module has which operators. Families that are built on others bring them along. */
export const FETCHED = {
  decoder: {
    microsoft: 'GroupQueryAttention',
    load: () => import('./families/decoder.ts'),
  },
  attention: {
    standard: 'Attention RotaryEmbedding Softmax',
    microsoft: 'Attention DecoderMaskedMultiHeadAttention MultiHeadAttention QAttention RotaryEmbedding',
    load: () => import('./families/attention.ts'),
  },
  integers: {
    standard: 'DequantizeLinear DynamicQuantizeLinear MatMulInteger QuantizeLinear',
    microsoft: 'DequantizeLinear DynamicQuantizeMatMul MatMulIntegerToFloat QuantizeLinear',
    load: () => import('./families/integers.ts'),
  },
  products: {
    standard: 'Gemm MatMul QLinearMatMul',
    microsoft: 'MatMulBnb4 QGemm QLinearAdd QLinearConcat QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearWhere',
    load: () => import('./families/products.ts'),
  },
  graphs: {
    standard:
      'Abs And ArgMax ArgMin CastLike Ceil Clip Compress Concat ConstantOfShape ConvTranspose Cos CumSum DepthToSpace Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor GatherElements GatherND Gelu Greater GreaterOrEqual HardSigmoid HardSwish If InstanceNormalization IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization Max Min Mish Mod Neg NonZero Not Or PRelu Pad Pow Range Reciprocal Relu Reshape Resize Round Scan ScatterElements ScatterND Selu Sign Sin Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sum Tanh TensorScatter Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor',
    microsoft:
      'BiasGelu FastGelu FusedConv FusedMatMul GatherBlockQuantized Gelu GroupNorm MoE QuickGelu SparseAttention',
    load: () => import('./families/graphs.ts'),
  },
  images: {
    standard: 'AveragePool BatchNormalization Conv ConvInteger GlobalAveragePool GlobalMaxPool MaxPool QLinearConv',
    microsoft: 'QLinearAveragePool QLinearGlobalAveragePool QLinearSoftmax',
    load: () => import('./families/images.ts'),
  },
  recurrent: { standard: 'GRU LSTM', microsoft: 'DynamicQuantizeLSTM', load: () => import('./families/recurrent.ts') },
  experts: { microsoft: 'QMoE', load: () => import('./families/experts.ts') },
} as const satisfies Readonly<Record<string, Fetched>>;

/** Names of the operators that bring a family, as {@link OPERATORS} has them. */
export function namesOf({ standard, microsoft }: Fetched): string[] {
  const names = (list: string | undefined, domain: string): string[] =>
    list?.split(' ').map((name) => `${domain}${name}`) ?? [];
  return [...names(standard, ''), ...names(microsoft, 'com.microsoft.')];
}

/**
 * Fetches the families of a model, all at once. Before, their operators are unknown.
 *
 * @param names of operators, with their domain where that is not ONNX's own. Default: of all
 * @returns the parts that they brought
 */
export async function loadOperators(names?: ReadonlySet<string>): Promise<Parts> {
  const wanted = Object.values<Fetched>(FETCHED).filter(
    (each) => !names || namesOf(each).some((name) => names.has(name)),
  );
  const loaded = await Promise.all(wanted.map(({ load }) => load()));
  return Object.assign({}, ...loaded.map(({ family }) => added(family)));
}

function added(family: FetchedFamily): Parts {
  addFamily(family);
  return Object.assign({}, ...(family.needs ?? []).map(added), family.parts);
}
