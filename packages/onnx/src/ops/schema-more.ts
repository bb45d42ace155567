/** Schemas of all operators that come with the family of graphs, or with none: as schema.ts has them. */
import type { Schemas } from './schema.ts';

const COUNTS: Readonly<Record<string, string>> = {
  '1 > 1':
    'Abs ArgMax ArgMin AveragePool Ceil ConstantOfShape Cos DepthToSpace Elu Erf Exp Flatten Floor Gelu ' +
    'GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish IsInf IsNaN LeakyRelu Log LogSoftmax ' +
    'LpNormalization Mish Neg NonZero Not Reciprocal Relu Round Selu Sign Sin Softmax Softplus Softsign ' +
    'SpaceToDepth Sqrt Swish Tanh Transpose com.microsoft.Gelu com.microsoft.QuickGelu',
  '1 > 1-': 'If',
  '3- > 1-; 2- > 1- from 11': 'Loop',
  '1- > 1-': 'Scan',
  '3-6 > 0-2': 'GRU',
  '1-2 > 1': 'Trilu com.microsoft.FastGelu',
  '1- > 1': 'Concat Einsum Max Min Sum',
  '2 > 1':
    'And CastLike Compress CumSum Equal Expand GatherElements GatherND Greater GreaterOrEqual Less ' +
    'LessOrEqual MatMul Mod Or PRelu Pow Reshape Tile Xor com.microsoft.BiasGelu ' +
    'com.microsoft.FusedMatMul',
  '2-3 > 1': 'Conv ConvTranspose TensorScatter ' + 'com.microsoft.FusedGemm com.microsoft.NhwcConv',
  '2-4 > 1': 'ConvInteger com.microsoft.FusedConv',
  '2-7 > 1-2': 'com.microsoft.Attention',
  '3 > 1':
    'InstanceNormalization Range ScatterElements ScatterND Where com.microsoft.GroupNorm ' + 'com.microsoft.MatMulBnb4',
  '3-4 > 1': 'RotaryEmbedding com.microsoft.GatherBlockQuantized',
  '3-8 > 0-3': 'LSTM',
  '12 > 0-3': 'com.microsoft.DynamicQuantizeLSTM',
  '3- > 1': 'com.microsoft.QLinearConcat',
  '4 > 1': 'com.microsoft.RotaryEmbedding',
  '4-5 > 1':
    'com.microsoft.QLinearAveragePool com.microsoft.QLinearLeakyRelu com.microsoft.QLinearReduceMean ' +
    'com.microsoft.QLinearSigmoid',
  '5 > 1': 'com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearSoftmax',
  '5-8 > 1': 'com.microsoft.MoE',
  '5-9 > 1-2': 'com.microsoft.QAttention',
  '6-9 > 1': 'com.microsoft.QGemm',
  '7-8 > 1': 'com.microsoft.QLinearAdd com.microsoft.QLinearMul',
  '8 > 1': 'QLinearMatMul',
  '8-9 > 1': 'QLinearConv',
  '9 > 1': 'com.microsoft.QLinearWhere',
  '9-11 > 3': 'com.microsoft.SparseAttention',
  '1-10 > 1-4': 'com.microsoft.MultiHeadAttention',
  '1-11 > 1-4': 'com.microsoft.DecoderMaskedMultiHeadAttention',
  '1 > 1; 1-3 > 1 from 11': 'Clip',
  '1 > 1; 1-2 > 1 from 13': 'Squeeze',
  '1 > 1; 2 > 1 from 13': 'Unsqueeze',
  '1 > 1-; 1-2 > 1- from 13': 'Split',
  '1 > 1; 3-5 > 1 from 10': 'Slice',
  '1 > 1; 2-3 > 1 from 11; 2-4 > 1 from 18': 'Pad',
  '1 > 1; 1 > 1-2 from 8': 'MaxPool',
  '1 > 1-2; 1-3 > 1-2 from 12': 'Dropout',
  '1 > 2; 2 > 2 from 10': 'TopK',
  '3 > 1; 2-3 > 1 from 11': 'Gemm',
  '5 > 1-5; 5 > 1-3 from 14': 'BatchNormalization',
  '3-6 > 1-4; 3-7 > 1-4 from 24': 'Attention',
};

const KINDS: Readonly<Record<string, string>> = {
  float: 'alpha beta mask_filter_value max min momentum',
  int:
    'allowzero ceil_mode channels_last count_include_pad gather_axis group hidden_size input_forget ' +
    'interleaved is_causal is_packed_batching layout linear_before_reset num_outputs opset output_qk ' +
    'past_present_share_buffer q_num_heads qk_matmul_output_mode quantize_axis ' +
    'rotary_embedding_dim select_last_index softmax_precision spatial storage_order training_mode transA ' +
    'transB unidirectional',
  ints: 'dilations ends kernel_shape pads perm qkv_hidden_sizes shape split starts strides',
  string: 'approximate auto_pad direction mode',
  strings: 'activations',
};

export const moreSchemas: Schemas = { counts: COUNTS, kinds: KINDS };
