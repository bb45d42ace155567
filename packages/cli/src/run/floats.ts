/** Elements of float tensors as float32, whatever the model's own type is. */
import { floatsOfHalves } from '@msd/onnx/model';
import type { Tensor } from 'onnxruntime-web';

/** A view of float32, a copy of float16, which engines that have an array for it give as numbers. */
export function floatsOfTensor({ type, data }: Tensor): Float32Array {
  return type === 'float32' ? (data as Float32Array) : floatsOfHalves(data as Uint16Array);
}
