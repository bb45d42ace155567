/**
 * What the schema of an operator fixes, whoever runs it: how many operands and results a node may have, and of what kind an attribute
 * is. ONNX Runtime refuses a node that differs, so none is taken. The test asks ONNX Runtime for every line.
 */
import { OnnxFormatError } from '../errors.ts';
import { describeNode } from '../ir/graph.ts';
import type { NodeRecord } from '../read/node.ts';

/**
 * Operands `>` results, `2-4` = two to four, `1-` = one or more; behind `;` what holds from a later operator set on. Before operator
 * set 7 nothing is known.
 */
const COUNTS: Readonly<Record<string, string>> = {
  '1 > 1':
    'Abs ArgMax ArgMin AveragePool Cast Ceil ConstantOfShape Cos DepthToSpace Elu Erf Exp Flatten Floor Gelu ' +
    'GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log LogSoftmax ' +
    'LpNormalization Mish Neg NonZero Not Reciprocal Relu Round Selu Shape Sigmoid Sign Sin Size Softmax Softplus ' +
    'Softsign SpaceToDepth Sqrt Swish Tanh Transpose com.microsoft.Gelu com.microsoft.QuickGelu',
  '1 > 3': 'DynamicQuantizeLinear',
  '1 > 1-': 'If',
  '3- > 1-; 2- > 1- from 11': 'Loop',
  '1- > 1-': 'Scan',
  '1-2 > 1': 'Trilu com.microsoft.FastGelu',
  '1- > 1': 'Concat Einsum Max Min Sum',
  '2 > 1':
    'Add And CastLike Compress CumSum Div Equal Expand Gather GatherElements GatherND Greater GreaterOrEqual Less ' +
    'LessOrEqual MatMul Mod Mul Or PRelu Pow RMSNormalization Reshape Sub Tile Xor com.microsoft.BiasGelu ' +
    'com.microsoft.FusedMatMul',
  '2 > 1-2': 'SimplifiedLayerNormalization',
  '2-3 > 1':
    'Conv ConvTranspose DequantizeLinear QuantizeLinear TensorScatter com.microsoft.DequantizeLinear ' +
    'com.microsoft.FusedGemm com.microsoft.NhwcConv com.microsoft.QuantizeLinear',
  '2-3 > 1-3': 'LayerNormalization',
  '2-4 > 1': 'ConvInteger MatMulInteger com.microsoft.FusedConv',
  '2-7 > 1-2': 'com.microsoft.Attention',
  '3 > 1':
    'InstanceNormalization Range ScatterElements ScatterND Where com.microsoft.GroupNorm com.microsoft.MatMulBnb4',
  '3-4 > 1': 'RotaryEmbedding com.microsoft.GatherBlockQuantized',
  '3-4 > 1-4': 'com.microsoft.SkipSimplifiedLayerNormalization',
  '3-5 > 1': 'com.microsoft.DynamicQuantizeMatMul',
  '3-6 > 0-2': 'GRU',
  '3-8 > 0-3': 'LSTM',
  '12 > 0-3': 'com.microsoft.DynamicQuantizeLSTM',
  '3-5 > 1-4': 'com.microsoft.SkipLayerNormalization',
  '3-6 > 1': 'com.microsoft.MatMulNBits',
  '3- > 1': 'com.microsoft.QLinearConcat',
  '4 > 1': 'com.microsoft.RotaryEmbedding',
  '4-5 > 1':
    'com.microsoft.QLinearAveragePool com.microsoft.QLinearLeakyRelu com.microsoft.QLinearReduceMean ' +
    'com.microsoft.QLinearSigmoid',
  '4-7 > 1': 'com.microsoft.MatMulIntegerToFloat',
  '5 > 1': 'com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearSoftmax',
  '5-8 > 1': 'com.microsoft.MoE',
  '5-9 > 1-2': 'com.microsoft.QAttention',
  '6-9 > 1': 'com.microsoft.QGemm',
  '6-21 > 1': 'com.microsoft.QMoE',
  '7-8 > 1': 'com.microsoft.QLinearAdd com.microsoft.QLinearMul',
  '8 > 1': 'QLinearMatMul',
  '8-9 > 1': 'QLinearConv',
  '9 > 1': 'com.microsoft.QLinearWhere',
  '9-11 > 3': 'com.microsoft.SparseAttention',
  '1-10 > 1-4': 'com.microsoft.MultiHeadAttention',
  '1-11 > 1-4': 'com.microsoft.DecoderMaskedMultiHeadAttention',
  '7-16 > 1-4': 'com.microsoft.GroupQueryAttention',
  '1 > 1; 1-3 > 1 from 11': 'Clip',
  '1 > 1; 1-2 > 1 from 13': 'ReduceSum Squeeze',
  '1 > 1; 2 > 1 from 13': 'Unsqueeze',
  '1 > 1-; 1-2 > 1- from 13': 'Split',
  '1 > 1; 1-2 > 1 from 18': 'ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare',
  '1 > 1; 3-5 > 1 from 10': 'Slice',
  '1 > 1; 2-3 > 1 from 11; 2-4 > 1 from 18': 'Pad',
  '1 > 1; 1 > 1-2 from 8': 'MaxPool',
  '1 > 1-2; 1-3 > 1-2 from 12': 'Dropout',
  '1 > 2; 2 > 2 from 10': 'TopK',
  '3 > 1; 2-3 > 1 from 11': 'Gemm',
  '5 > 1-5; 5 > 1-3 from 14': 'BatchNormalization',
  '3-6 > 1-4; 3-7 > 1-4 from 24': 'Attention',
};

interface Range {
  readonly least: number;
  readonly most: number;
}

interface Counts {
  readonly from: number;
  readonly inputs: Range;
  readonly outputs: Range;
}

const SCHEMAS: ReadonlyMap<string, readonly Counts[]> = /* @__PURE__ */ new Map(
  Object.entries(COUNTS).flatMap(([text, names]) => {
    const counts = text.split('; ').map(parseCounts);
    return names.split(' ').map((name) => [name, counts] as const);
  }),
);

/** Operators whose counts are known. */
export const KNOWN_COUNTS: ReadonlySet<string> = /* @__PURE__ */ new Set(SCHEMAS.keys());

function parseCounts(text: string): Counts {
  const [counts = '', from = '7'] = text.split(' from ');
  const [inputs = '', outputs = ''] = counts.split(' > ');
  return { from: Number(from), inputs: parseRange(inputs), outputs: parseRange(outputs) };
}

function parseRange(text: string): Range {
  const [least = '', most = least] = text.split('-');
  return { least: Number(least), most: most === '' ? Number.POSITIVE_INFINITY : Number(most) };
}

/**
 * Why a node is none of its operator, by the numbers of its operands and results; `undefined` if it may be one.
 *
 * @param name with the domain, as in the table of operators.
 * @param opset version of ONNX's own operator set.
 */
export function wrongCount(name: string, { inputs, outputs }: NodeRecord, opset: number): string | undefined {
  const counts = SCHEMAS.get(name)?.findLast(({ from }) => name.includes('.') || opset >= from);
  if (!counts) return undefined;
  return wrong('inputs', inputs.length, counts.inputs) ?? wrong('outputs', outputs.length, counts.outputs);
}

function wrong(what: string, count: number, { least, most }: Range): string | undefined {
  if (count >= least && count <= most) return undefined;
  const expected =
    least === most ? `${least}` : most === Number.POSITIVE_INFINITY ? `${least} or more` : `${least} to ${most}`;
  return `${count} ${what}, expected ${expected}`;
}

/** What attributes are, by name: no two operators that MSD takes differ (`value` and `quant_type` are left out, which do). */
const KINDS: Readonly<Record<string, string>> = {
  float:
    'activation_alpha activation_beta alpha beta epsilon mask_filter_value max min momentum scale softcap ' +
    'swiglu_limit',
  int:
    'K N accuracy_level allowzero axis bits block_size ceil_mode channels_last count_include_pad do_rotary ' +
    'expert_weight_bits end gather_axis group hidden_size input_forget interleaved is_causal is_packed_batching k ' +
    'keepdims kv_cache_bit_width kv_num_heads layout linear_before_reset local_window_size noop_with_empty_axes ' +
    'normalize_routing_weights num_heads num_outputs opset output_dtype output_qk ' +
    'past_present_share_buffer precision q_num_heads qk_matmul_output_mode qk_output quantize_axis ' +
    'rotary_embedding_dim rotary_interleaved saturate select_last_index smooth_softmax softmax_precision spatial ' +
    'start stash_type storage_order swiglu_fusion to training_mode transA transB unidirectional use_sparse_mixer ' +
    'weight_prepacked weights_prepacked',
  ints: 'axes dilations ends kernel_shape pads perm qkv_hidden_sizes shape split starts strides',
  string: 'activation_type approximate auto_pad direction k_quant_type mode v_quant_type',
  strings: 'activations',
};

const KIND_OF: ReadonlyMap<string, string> = /* @__PURE__ */ new Map(
  Object.entries(KINDS).flatMap(([kind, names]) => names.split(' ').map((name) => [name, kind] as const)),
);

/**
 * Why a node's attributes are not its operator's; `undefined` if they may be. What is not in the table is not looked at.
 *
 * @throws {@link OnnxFormatError} for one that holds something else.
 */
export function wrongKind(node: NodeRecord): string | undefined {
  for (const [name, { kind }] of node.attributes) {
    const expected = KIND_OF.get(name);
    if (expected === undefined || expected === kind) continue;
    if (kind === 'other') return `attribute '${name}', expected ${expected}, got something else`;
    throw new OnnxFormatError(`read: ${describeNode(node)}: attribute '${name}', expected ${expected}, got ${kind}.`);
  }
  return undefined;
}
