/** `@msd/tfjs`: quantized weights in TensorFlow.js, integers from download to kernel. The public API. */
export { DisposedError, ModelFormatError } from './errors.ts';
export { gather, sparseSegmentMean, sparseSegmentSum } from './gather.ts';
export { type Activation, type MatMulOptions, matMul } from './mat-mul.ts';
export type { ArithmeticOptions, RegisterOptions } from './options.ts';
export { type QuantizeTensorOptions, quantize } from './quantize.ts';
export { QuantizedTensor, quantizedTensor } from './quantized-tensor.ts';
export { register, unregister } from './register.ts';
export type { MatrixSpec, QuantizedSpec, TableSpec } from './spec.ts';
export type { TfNamespace } from './tf.ts';
