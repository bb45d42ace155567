/**
 * What MSD takes of an operator and what not, for docs/ops.md; an operator that is not here has no limits. It stands here and
 * not beside the operator, because pages would download it.
 */
const TEXTS: Readonly<Record<string, string>> = {
  'com.microsoft.MatMulNBits':
    'constant weights of 2, 4 or 8 bits, f32 or float16 scales, zero points packed, as floats or none, blocks of 16 and more, g_idx (4 and 8 bits, without packed zero points)',
  MatMulInteger:
    'constant weights of 8 bits, per tensor or per column; A of DynamicQuantizeLinear, Cast and Mul by both scales behind it: the product is one of floats; or A with a constant zero point, Cast and Mul or Div behind it',
  'com.microsoft.DynamicQuantizeMatMul': 'constant weights of 8 bits, per tensor or per column',
  'com.microsoft.MatMulIntegerToFloat':
    'constant weights of 8 bits, per tensor or per column; A of DynamicQuantizeLinear',
  'com.microsoft.MatMulBnb4':
    'constant weights, NF4 (off by at most 2^-16 of a block) or FP4 (exact); blocks that are part of two rows if 16 divides rows',
  QLinearMatMul:
    'constant weights of 8 bits, per tensor or per column; codes may differ by one where the result lies between two',
  'com.microsoft.QGemm':
    'constant weights of 8 bits, per tensor or per column; codes may differ by one where the result lies between two; A not transposed',
  'com.microsoft.QMoE':
    'constant weights of 2, 4 or 8 bits, scales of blocks or rows, zero points of blocks; relu, gelu, silu, identity, or swiglu in turns (swiglu_fusion 1); only chosen experts are multiplied; no third product or sparse mixer',
  LSTM: 'constant integer weights behind DequantizeLinear, or floats with `quantize`; one or both directions, lengths of sequences, an initial state; no peepholes, clip, or other activations, no layout 1',
  GRU: 'constant integer weights behind DequantizeLinear, or floats with `quantize`; one or both directions, lengths of sequences, an initial state; no clip, or other activations, no layout 1',
  'com.microsoft.DynamicQuantizeLSTM':
    'constant weights of int8 or uint8, activations stay floats unless `exact`; one or both directions, lengths of sequences, an initial state; no peepholes, clip, or other activations',
  MatMul: 'f32; constant weights behind DequantizeLinear are multiplied as integers',
  Gemm: 'f32 and integers like MatMul, alpha and beta 1 (integers: any), A not transposed, a transposed B constant',
  Conv: 'at most 64 groups, one or two spatial dimensions, constant weights; or a group for each channel, however many',
  ConvInteger:
    'at most 64 groups, one or two spatial dimensions, constant weights of 8 bits; X of DynamicQuantizeLinear, Cast and Mul by both scales behind it: the product is one of floats; or X with a constant zero point, Cast and Mul or Div behind it',
  QLinearConv:
    'at most 64 groups, one or two spatial dimensions, constant weights of 8 bits, or a group for each channel, however many; codes may differ by one where the result lies between two',
  'AveragePool MaxPool': 'one or two spatial dimensions, no indices',
  BatchNormalization: 'not in training',
  'com.microsoft.GroupQueryAttention':
    'f32, float16, keys and values in int8, too; no scores as a result, no norms inside of packed queries and keys',
  'com.microsoft.MultiHeadAttention': 'f32, float16; no scores as a result, no buffer that past and present share',
  'com.microsoft.DecoderMaskedMultiHeadAttention':
    'f32, float16, a past in a buffer of its full size; no beams that share it, no cross-attention, no scores as a result',
  'com.microsoft.Attention': 'f32, float16; no do_rotary, no buffer that past and present share',
  'com.microsoft.QAttention':
    'constant weights of 8 bits, per tensor or per column; codes by one constant scale, or of DynamicQuantizeLinear',
  Attention: 'f32, float16; scores as a result not beside a softcap or more than one mask',
  'LayerNormalization RMSNormalization SimplifiedLayerNormalization': 'stash_type 1',
  'QuantizeLinear com.microsoft.QuantizeLinear':
    'constant scales, one or one for each channel of an axis, codes of 8 or 16 bits',
  'DequantizeLinear com.microsoft.DequantizeLinear':
    'constant scales, one or one for each channel of an axis, codes of 8 or 16 bits, of int32 with one scale; of constants everything',
  'com.microsoft.QLinearAdd com.microsoft.QLinearMul com.microsoft.QLinearSigmoid com.microsoft.QLinearLeakyRelu com.microsoft.QLinearConcat com.microsoft.QLinearWhere':
    'constant scales and zero points, one each',
  'com.microsoft.QLinearAveragePool':
    'constant scales and zero points, one each; one or two spatial dimensions, channels first',
  'com.microsoft.QLinearGlobalAveragePool': 'constant scales and zero points, one each; channels first',
  'com.microsoft.QLinearSoftmax': 'constant scales and zero points, one each; as Softmax',
  'ReduceSum ReduceProd ReduceMax ReduceMin ReduceMean ReduceL1 ReduceL2 ReduceSumSquare':
    'constant axes that are neighbours',
  Softmax: 'along the last axis; up to version 12 along any',
  LogSoftmax: 'as Softmax',
  'com.microsoft.RotaryEmbedding': 'scale 1, no packed batches',
  Gather:
    'rows of a constant table of f32 or float16 are read from the file: it is not copied. So are rows of int8 and uint8 with DequantizeLinear behind them, one scale for all',
  'com.microsoft.GatherBlockQuantized':
    'a constant table of rows, 2, 4 or 8 bits, f32 or float16 scales; rows are read from the file, or from the packed matrix of a product that has the same codes',
  GatherND: 'indices that JavaScript has',
  If: 'branches with products. If inputs or shape arithmetic decide, each way through them is planned as a graph of its own. Tables to choose from, of cos and sin: attention reads their rows',
  Loop: 'bodies with products',
  Scan: 'bodies with products; from operator set 9 on',
};

/** By name of the operator. */
export const LIMITS: ReadonlyMap<string, string> = new Map(
  Object.entries(TEXTS).flatMap(([names, text]) => names.split(' ').map((name) => [name, text] as const)),
);
