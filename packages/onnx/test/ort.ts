/** onnxruntime-web with MSD registered, one thread: what every test file with sessions imports. */
import * as ort from 'onnxruntime-web';
import { register } from '../src/register.ts';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';
register(ort);

export { ort };

/** Creates a session on one provider. */
export function session(
  model: Uint8Array | string,
  provider: 'msd' | 'wasm' | { readonly name: 'msd'; readonly [option: string]: unknown } = 'msd',
  options: ort.InferenceSession.SessionOptions = {},
): Promise<ort.InferenceSession> {
  const executionProviders = [provider] as unknown as ort.InferenceSession.ExecutionProviderConfig[];
  const full = { logSeverityLevel: 3 as const, ...options, executionProviders };
  return typeof model === 'string'
    ? ort.InferenceSession.create(model, full)
    : ort.InferenceSession.create(model, full);
}

/** Float data of a tensor. */
export function floats(tensor: ort.Tensor | undefined): Float32Array {
  return tensor?.data as Float32Array;
}

/** A float32 tensor. */
export function tensor(data: Float32Array, dims: readonly number[]): ort.Tensor {
  return new ort.Tensor('float32', data, dims);
}
