/**
 * `@msd/onnx/model`: files of models as records, and back. Tensors stay where they are until somebody reads them, so that a file
 * may be larger than memory. For tools: a page needs none of it.
 */
export { floatsOfFp16 as floatsOfHalves, fp16Bits as halfBitsOf } from '@msd/core';
export {
  dataTypeBits,
  dataTypeCode,
  dataTypeName,
  FLOAT16,
  FLOAT32,
  INT8,
  INT64,
  UINT8,
} from './data-types.ts';
export { OnnxFormatError, ReadError } from './errors.ts';
export { siblingOf } from './read/locate.ts';
export { type GraphRecord, type ModelRecord, readModel, readSubgraph } from './read/model.ts';
export type { Attribute, NodeRecord } from './read/node.ts';
export { openExternal, openSource } from './read/open.ts';
export { type ByteRange, type ByteSource, bytesSource, readRange } from './read/source.ts';
export { adviceOnStatus } from './read/status.ts';
export {
  elementCount,
  floatReader,
  type TensorRef,
  type TensorStorage,
  tensorByteLength,
  tensorBytes,
  tensorRange,
} from './read/tensor.ts';
export type { Dim, ValueInfo, ValueType } from './read/types.ts';
export { type FloatMatrix, floatRows, type ReadFloats } from './weights/floats.ts';
export { numbersReader, type ReadNumbers } from './weights/numbers.ts';
export { matches as matchesPattern } from './weights/quantize-option.ts';
export { type Field, fieldsOf } from './write/fields.ts';
export { Message, type Part } from './write/message.ts';
export { nodeMessage, valueMessage } from './write/model.ts';
