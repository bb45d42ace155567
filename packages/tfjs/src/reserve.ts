/** Working memory that a model's products take, before its tensors come. */
import { hostOf } from './kernels/hosts.ts';
import { resolveArithmetic } from './options.ts';
import type { QuantizedTensor } from './quantized-tensor.ts';
import type { MatrixSpec } from './spec.ts';
import { requireRegistration } from './state.ts';

/** @param all packed weights of a model that has just been loaded */
export function reserveFor(all: Iterable<QuantizedTensor>): void {
  const where = 'load';
  const { tf, options } = requireRegistration(where);
  const host = hostOf(tf.backend(), tf.getBackend());
  let widest: QuantizedTensor | undefined;
  for (const one of all)
    if (one.spec.kind === 'matrix' && one.spec.K > ((widest?.spec as MatrixSpec | undefined)?.K ?? 0)) widest = one;
  if (widest) host?.reserve?.(widest.packed, widest.spec as MatrixSpec, resolveArithmetic({}, options, where));
}
