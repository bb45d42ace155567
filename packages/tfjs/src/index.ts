/** `@msd/tfjs`: quantized weights in TensorFlow.js, integers from download to kernel. The public API. */
export { type Accelerated, type AccelerateOptions, accelerate } from './accelerate.ts';
export { DisposedError, ModelFormatError } from './errors.ts';
export { gather, sparseSegmentMean, sparseSegmentSum } from './gather.ts';
export { graphModelHandler, loadGraphModel, type MsdHandler } from './graph-model/load.ts';
export { reportOf } from './graph-model/model.ts';
export type { ModelOptions } from './graph-model/options.ts';
export { layersModelHandler, loadLayersModel } from './layers-model/load.ts';
export { type Activation, type MatMulOptions, matMul } from './mat-mul.ts';
export type { ArithmeticOptions, RegisterOptions } from './options.ts';
export { type QuantizeTensorOptions, quantize, quantizeAsync } from './quantize.ts';
export { QuantizedTensor } from './quantized-tensor.ts';
export { register, unregister } from './register.ts';
export { formatReport, type ModelReport, type NodeReport } from './report.ts';
export { quantizedTensor } from './saved.ts';
export type { MatrixSpec, QuantizedSpec, TableSpec } from './spec.ts';
export { ready, type Status, status } from './status.ts';
export type { TfNamespace } from './tf.ts';
