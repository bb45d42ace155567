/**
 * Which operators need which family. A family is fetched when a model has one of its operators, together with further
 * code that only such models need (parts) and the families on which it is built.
 *
 * What is fetched so imports create.ts, which it does not use and which is loaded already. Bundlers then know that what both need can lie
 * in create's chunk. Otherwise it becomes chunks of its own (Rolldown: six, 2 KB more).
 */
import { addFamily, type Family } from '../ops/index.ts';
import type { foldConstants } from '../passes/constants.ts';
import type { prepared } from '../passes/prepared.ts';
import type { selectEarly } from '../passes/select-early.ts';
import type { keepPositions } from '../plan/layout.ts';
import type { Experts } from './experts.ts';
import type { inlining } from './inlining.ts';
import type { Recurrent } from './recurrent.ts';

/** Code that only some models need. */
export interface Parts {
  /** Folds constants that are made of constants. */
  readonly foldConstants?: typeof foldConstants;
  /** Brings small tables and Casts to where they are in nobody's way. */
  readonly prepared?: typeof prepared;
  /** Selects positions before they are computed. */
  readonly selectEarly?: typeof selectEarly;
  /** Keeps images with their channels last. */
  readonly keepPositions?: typeof keepPositions;
  /** Loops, and branches that are not graphs of their own. */
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
  /**
   * Operators that need the family: its own, and those from which its chains are found. ONNX's, then ONNX Runtime's.
   */
  readonly standard?: string;
  readonly microsoft?: string;
  load(): Promise<{ readonly family: FetchedFamily }>;
}

/** Which module has which operators. */
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
      'Abs And ArgMax ArgMin CastLike Ceil Clip Compress Concat ConstantOfShape ConvTranspose Cos CumSum DepthToSpace Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor GatherElements Gelu Greater GreaterOrEqual HardSigmoid HardSwish If InstanceNormalization IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization Max Min Mish Mod Neg NonZero Not Or PRelu Pad Pow Range Reciprocal Relu Reshape Resize Round Scan ScatterElements ScatterND Selu Sign Sin Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sum Tanh TensorScatter Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor',
    microsoft:
      'BiasGelu EmbedLayerNormalization FastGelu FusedConv FusedMatMul GatherBlockQuantized Gelu GroupNorm MoE QuickGelu SparseAttention TransposeMatMul',
    load: () => import('./families/graphs.ts'),
  },
  images: {
    standard: 'AveragePool BatchNormalization Conv ConvInteger GlobalAveragePool GlobalMaxPool MaxPool QLinearConv',
    microsoft: 'QLinearAveragePool QLinearGlobalAveragePool QLinearSoftmax',
    load: () => import('./families/images.ts'),
  },
  rare: { standard: 'GatherND Log', load: () => import('./families/rare.ts') },
  recurrent: { standard: 'GRU LSTM', microsoft: 'DynamicQuantizeLSTM', load: () => import('./families/recurrent.ts') },
  experts: { microsoft: 'QMoE', load: () => import('./families/experts.ts') },
} as const satisfies Readonly<Record<string, Fetched>>;

/** Names of the operators that need a family, as in {@link OPERATORS}. */
export function namesOf({ standard, microsoft }: Fetched): string[] {
  const names = (list: string | undefined, domain: string): string[] =>
    list?.split(' ').map((name) => `${domain}${name}`) ?? [];
  return [...names(standard, ''), ...names(microsoft, 'com.microsoft.')];
}

/**
 * Fetches all families of a model at once. Before that, their operators are unknown.
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
