export { BackendUnavailableError, UnsupportedError } from './errors.ts';
export type { FormatId, QuantizedWeights } from './formats/weights.ts';
