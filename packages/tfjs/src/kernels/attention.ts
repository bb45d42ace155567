/**
 * MsdAttention: softmax(scale · q · kᵀ + …) · v over keys that are stored as integers.
 *
 *   inputs   q, k, v f32; bias f32, mask bool, sinks f32 [heads]
 *   attrs    op: what @msd/core is asked for, with the strides of q, k, v and of the result
 *            shape: of the result, as it lies
 *            cache: keys and values are added to it; without one they live for this call, as `type`
 */
import { type AttentionOp, type KvCache, type KvType, UnsupportedError } from '@msd/core';
import type { TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';

export interface AttentionInputs {
  readonly q: TensorInfo;
  readonly k?: TensorInfo;
  readonly v?: TensorInfo;
  readonly bias?: TensorInfo;
  readonly mask?: TensorInfo;
  readonly sinks?: TensorInfo;
}

export interface AttentionKernelAttrs {
  readonly op: AttentionOp;
  readonly shape: number[];
  readonly type: KvType;
  readonly cache?: KvCache | undefined;
}

export function msdAttention(
  inputs: AttentionInputs,
  { op, shape, type, cache }: AttentionKernelAttrs,
  host: Host,
): TensorInfo {
  const { attention } = host;
  if (!attention) throw new UnsupportedError('attention: MSD has no kernels for it on this backend.');
  const { q, k, v, bias, mask, sinks } = inputs;
  return host.output(shape, Object.values(inputs) as TensorInfo[], (out) => {
    attention.run(op, { q, k, v, sinks, bias, mask, out }, cache ?? type);
  });
}
