/** A weight [K, parts · n] that is kept as a matrix for each part, since a layer multiplies with some of them only. */
import { type QuantizedSpec, realShape } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { StoredValues } from '../weights/source.ts';
import type { MatrixView } from '../weights/view.ts';

/** Shape of the weight that a spec stands for, as its layer has it. */
export function weightShape(spec: QuantizedSpec): number[] {
  if (spec.kind === 'table' || spec.batchShape.length === 0) return realShape(spec);
  return [spec.K, spec.batchShape[0]! * spec.N];
}

/** [K, parts · n] -> [parts, K, n], whatever the values are stored as. */
export function apart(stored: StoredValues, { batchShape: [parts = 1], K, N }: MatrixView): StoredValues {
  if (parts === 1) return stored;
  const { values } = stored;
  const out = values.slice();
  for (let part = 0; part < parts; part++)
    for (let k = 0; k < K; k++) {
      const from = (k * parts + part) * N;
      out.set(values.subarray(from, from + N), (part * K + k) * N);
    }
  return { ...stored, values: out } as StoredValues;
}

/** The way back, of a tensor. */
export function together(real: Tensor): Tensor {
  const { tf } = requireRegistration('packed weights');
  return real.rank === 3 ? tf.transpose(real, [1, 0, 2]) : real;
}
