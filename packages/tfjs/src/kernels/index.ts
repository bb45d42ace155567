/** The kernels by name. */
import type { TensorInfo } from '../tf.ts';
import { msdAttention } from './attention.ts';
import { msdConv2D, msdDepthwiseConv2D } from './convolution.ts';
import { msdDequantize, msdGather, msdSparseSegment } from './gather.ts';
import type { Host } from './host.ts';
import { msdLoop } from './loop.ts';
import { msdMatMul } from './mat-mul.ts';
import { msdGates, msdRecurrent } from './recurrent.ts';

export const MAT_MUL = 'MsdMatMul';
export const GATHER = 'MsdGather';
export const SPARSE_SEGMENT = 'MsdSparseSegment';
export const DEQUANTIZE = 'MsdDequantize';
export const ATTENTION = 'MsdAttention';
export const RECURRENT = 'MsdRecurrent';
export const CONV_2D = 'MsdConv2D';
export const DEPTHWISE = 'MsdDepthwiseConv2D';
export const GATES = 'MsdGates';
export const LOOP = 'MsdLoop';

export const kernels: Readonly<Record<string, (inputs: never, attrs: never, host: Host) => TensorInfo | TensorInfo[]>> =
  {
    [MAT_MUL]: msdMatMul,
    [GATHER]: msdGather,
    [SPARSE_SEGMENT]: msdSparseSegment,
    [DEQUANTIZE]: msdDequantize,
    [ATTENTION]: msdAttention,
    [RECURRENT]: msdRecurrent,
    [CONV_2D]: msdConv2D,
    [DEPTHWISE]: msdDepthwiseConv2D,
    [GATES]: msdGates,
    [LOOP]: msdLoop,
  };
