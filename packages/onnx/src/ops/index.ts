/**
 * The table of operators. Whatever is not in it is ONNX Runtime's, and nothing is known of its results. What every model has is
 * there from the start; other operators come in families, which are fetched when a model has one of them.
 */

import { family as base } from './families/base.ts';
import type { Family } from './family.ts';
import type { Operator, Pattern } from './operator.ts';

/** By name, as far as they were fetched. */
export const OPERATORS: ReadonlyMap<string, Operator> = /* @__PURE__ */ new Map(
  base.operators.map((operator) => [operator.name, operator] as const),
);

/** Chains of nodes by the operator of the node that they are found from, as far as they were fetched. */
export const PATTERNS: ReadonlyMap<string, Pattern> = /* @__PURE__ */ new Map(Object.entries(base.patterns!));

interface Fetched {
  /** Operators that bring the family: its own, and those that its chains are found from. ONNX's, then ONNX Runtime's. */
  readonly standard?: string;
  readonly microsoft?: string;
  load(): Promise<{ readonly family: Family }>;
}

/** Which module has which operators. Families that are built on others bring them along. */
export const FETCHED: Readonly<Record<string, Fetched>> = {
  decoder: {
    standard: 'RotaryEmbedding',
    microsoft: 'GroupQueryAttention RotaryEmbedding',
    load: () => import('./families/decoder.ts'),
  },
  attention: {
    standard: 'Attention Softmax',
    microsoft: 'Attention DecoderMaskedMultiHeadAttention MultiHeadAttention QAttention',
    load: () => import('./families/attention.ts'),
  },
  products: {
    standard: 'DequantizeLinear Gemm MatMul MatMulInteger QLinearMatMul QuantizeLinear',
    microsoft:
      'DequantizeLinear DynamicQuantizeMatMul MatMulBnb4 MatMulIntegerToFloat QGemm QLinearAdd QLinearConcat QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearWhere QuantizeLinear',
    load: () => import('./families/products.ts'),
  },
  graphs: {
    standard:
      'Compress Concat ConvTranspose CumSum DepthToSpace Dropout DynamicQuantizeLinear Einsum Erf Expand GatherElements GatherND If InstanceNormalization IsInf Loop LpNormalization Mish NonZero PRelu Pad Resize ScatterElements ScatterND Scan Selu Slice SpaceToDepth Split Sqrt Tanh TensorScatter Tile TopK Transpose Trilu Upsample',
    microsoft: 'FusedConv FusedMatMul GroupNorm MoE SparseAttention',
    load: () => import('./families/graphs.ts'),
  },
  images: {
    standard: 'AveragePool BatchNormalization Conv ConvInteger GlobalAveragePool GlobalMaxPool MaxPool QLinearConv',
    microsoft: 'QLinearAveragePool QLinearGlobalAveragePool QLinearSoftmax',
    load: () => import('./families/images.ts'),
  },
  recurrent: { standard: 'GRU LSTM', microsoft: 'DynamicQuantizeLSTM', load: () => import('./families/recurrent.ts') },
  experts: { microsoft: 'QMoE', load: () => import('./families/experts.ts') },
};

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
 */
export async function loadOperators(names?: ReadonlySet<string>): Promise<void> {
  const wanted = Object.values(FETCHED).filter((each) => !names || namesOf(each).some((name) => names.has(name)));
  for (const { family } of await Promise.all(wanted.map(({ load }) => load()))) add(family);
}

function add({ operators, patterns = {}, needs = [] }: Family): void {
  for (const operator of operators) (OPERATORS as Map<string, Operator>).set(operator.name, operator);
  for (const [name, pattern] of Object.entries(patterns)) (PATTERNS as Map<string, Pattern>).set(name, pattern);
  for (const family of needs) add(family);
}
