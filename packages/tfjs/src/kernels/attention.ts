/**
 * MsdAttention: softmax(scale · q · kᵀ + …) · v over keys that are stored as integers.
 *
 *   inputs   q, k, v f32; bias f32, mask bool, sinks f32 [heads]
 *   attrs    op: what @msd/core is asked for, with the strides of q, k, v and of the result
 *            shape: of the result, as it lies
 *            cache: keys and values are added to it; without one they live for this call, as `type`
 *            calls: who runs it. It comes along, so that pages without attention do not download it
 */
import type { AttentionOp, KvCache, KvType } from '@msd/core';
import type { TensorInfo } from '../tf.ts';
import type { Host } from './host.ts';

type Inputs = Readonly<Record<'q', TensorInfo> & Partial<Record<'k' | 'v' | 'bias' | 'mask' | 'sinks', TensorInfo>>>;

export interface AttentionTensors {
  readonly q: TensorInfo;
  readonly k: TensorInfo | undefined;
  readonly v: TensorInfo | undefined;
  readonly sinks: TensorInfo | undefined;
  readonly bias: TensorInfo | undefined;
  readonly mask: TensorInfo | undefined;
  readonly out: TensorInfo;
}

export interface AttentionKernelAttrs {
  readonly op: AttentionOp;
  readonly shape: number[];
  readonly type: KvType;
  readonly cache?: KvCache | undefined;
  readonly calls: { run(op: AttentionOp, tensors: AttentionTensors, cache: KvCache | KvType): void };
}

export function msdAttention(
  { q, k, v, bias, mask, sinks }: Inputs,
  { op, shape, type, cache, calls }: AttentionKernelAttrs,
  host: Host,
): TensorInfo {
  const read = [q, k, v, bias, mask, sinks].filter((tensor) => tensor !== undefined);
  return host.output(shape, read, (out) => calls.run(op, { q, k, v, sinks, bias, mask, out }, cache ?? type));
}
