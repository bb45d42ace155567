/** Elements of float tensors as float32, whatever the model's own type is. */
import { floatsOfHalves } from '@msd/onnx/model';
import type { Tensor } from 'onnxruntime-web';

/** A view of float32, a copy of others; of float16 engines give bits, or numbers where they have an array for it. */
export function floatsOfTensor({ type, data }: Tensor): Float32Array {
  if (type === 'float32') return data as Float32Array;
  if (type === 'float16') return floatsOfHalves(data as Uint16Array);
  return Float32Array.from(data as ArrayLike<number | bigint>, Number);
}
